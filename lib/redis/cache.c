/* cache.c - see cache.h. A key of Redis holds 'V' and the value, or 'L' and the lease of those that make it now.
 *
 * Why what a waiter gets is never older than its call: it shares a flight only if that began after it came, or if the
 * value was stored after it came, which the lease allows only when nothing was dropped since the value began to be made. */
#include "redis/cache.h"

#include "metrics/metrics.h"
#include "redis/flight.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define LEASE_BYTES  16
#define LEASE_MS     60000 /* a value that took longer is not kept */
#define MAX_OWED     1024
#define SMALL_ARENA  16384
#define MAX_NAME     64
#define MAX_FULL_KEY (CACHE_MAX_KEY + MAX_NAME + 32)

extern const char cache_lease_lua[], cache_lease_lua_end[], cache_store_lua[], cache_store_lua_end[];

struct owed_key {
    size_t size;
    char bytes[MAX_FULL_KEY];
};

struct cache {
    struct cache_config config;
    struct redis_script lease, store;
    struct flights flights;
    struct series *hits, *fills, *shared, *errors, *bypassed;
    atomic_bool indebted; /* something is owed, or the cache is not to be used: look under mu */
    atomic_uint n_debts;  /* so many drops ever had to be owed; wraps */
    pthread_mutex_t mu;   /* guards all below */
    struct rng rng;
    struct vec owed; /* struct owed_key: drops that Redis has not heard of */
    bool paying;
    int64_t shut_until; /* more was owed than can be remembered */
};

/* One call of cache_get(). */
struct query {
    struct cache *cache;
    struct arena *arena;
    int64_t deadline;
    struct redis_arg key; /* the whole one */
    cache_fill *fill;
    void *ctx;
    const void *value;
    size_t size;
};

struct cache *cache_new(const struct cache_config *config)
{
    struct cache *c = xcalloc(1, sizeof *c);
    struct metric *m =
        metric_counter("bloginfer_cache_requests_total",
                       "Values asked for: found (hit), made (fill), made by another thread (shared), made "
                       "without Redis (bypass), not made (error).",
                       "cache,outcome");

    assert(strlen(config->name) < MAX_NAME && config->ttl_ms >= 10 && config->redis_ms >= 1);
    c->config = *config;
    c->hits = metric_series(m, config->name, "hit");
    c->fills = metric_series(m, config->name, "fill");
    c->shared = metric_series(m, config->name, "shared");
    c->bypassed = metric_series(m, config->name, "bypass");
    c->errors = metric_series(m, config->name, "error");
    redis_script_init(&c->lease, cache_lease_lua, (size_t)(cache_lease_lua_end - cache_lease_lua));
    redis_script_init(&c->store, cache_store_lua, (size_t)(cache_store_lua_end - cache_store_lua));
    flights_init(&c->flights);
    pthread_mutex_init(&c->mu, NULL);
    rng_init(&c->rng, (uint64_t)clock_now());
    c->owed = (struct vec)VEC_INIT(sizeof(struct owed_key), MAX_OWED);
    return c;
}

void cache_free(struct cache *c)
{
    if (!c)
        return;
    flights_fini(&c->flights);
    vec_fini(&c->owed);
    pthread_mutex_destroy(&c->mu);
    free(c);
}

static struct redis_arg full_key(const struct cache *c, char *bytes, const void *key, size_t size)
{
    int n = snprintf(bytes, MAX_FULL_KEY, "cache:%s:%lld:", c->config.name, (long long)c->config.version);

    if (size)
        memcpy(bytes + n, key, size);
    return redis_b(bytes, (size_t)n + size);
}

static int64_t redis_deadline(const struct cache *c, int64_t deadline)
{
    int64_t own = clock_after_ms(c->config.redis_ms);

    return own < deadline ? own : deadline;
}

/* ---- drops that are owed ---- */

static struct status drop_now(const struct cache *c, int64_t deadline, const struct owed_key *keys, size_t n)
{
    struct redis_arg *args = xcalloc(n + 1, sizeof *args);
    struct redis_reply *reply;
    struct arena arena;

    arena_init(&arena, SMALL_ARENA);
    args[0] = redis_s("DEL");
    for (size_t i = 0; i < n; i++)
        args[i + 1] = redis_b(keys[i].bytes, keys[i].size);
    struct status st = redis_command(c->config.redis, &arena, redis_deadline(c, deadline), &reply, args, n + 1);
    arena_fini(&arena);
    free(args);
    return st;
}

static bool is_owed_locked(const struct cache *c, const struct owed_key *key)
{
    for (size_t i = 0; i < c->owed.n; i++) {
        const struct owed_key *o = VEC_AT(&c->owed, struct owed_key, i);

        if (o->size == key->size && !memcmp(o->bytes, key->bytes, key->size))
            return true;
    }
    return false;
}

/* What was stored, or will be by who has a lease already, has expired by then. */
static void shut_locked(struct cache *c)
{
    int64_t ms = LEASE_MS + c->config.ttl_ms;

    log_warn("cache_shut", log_s("cache", c->config.name), log_i("ms", ms));
    c->owed.n = 0;
    c->shut_until = clock_after_ms(ms);
}

static void owe_locked(struct cache *c, const struct owed_key *keys, size_t n)
{
    for (size_t i = 0; i < n && clock_now() >= c->shut_until; i++) {
        struct owed_key *o = is_owed_locked(c, &keys[i]) ? NULL : vec_push(&c->owed);

        if (o)
            *o = keys[i];
        else if (c->owed.n == MAX_OWED)
            shut_locked(c);
    }
    atomic_fetch_add(&c->n_debts, 1);
    atomic_store(&c->indebted, true);
}

static void owe(struct cache *c, const struct owed_key *keys, size_t n)
{
    pthread_mutex_lock(&c->mu);
    owe_locked(c, keys, n);
    pthread_mutex_unlock(&c->mu);
}

/* Whether this caller is to carry out what is owed: its own then, in *mine. */
static bool take_debts(struct cache *c, struct vec *mine, bool *usable)
{
    bool payer = false;

    pthread_mutex_lock(&c->mu);
    *usable = !c->owed.n && !c->paying && clock_now() >= c->shut_until;
    if (c->owed.n && !c->paying) {
        payer = c->paying = true;
        *mine = c->owed;
        c->owed = (struct vec)VEC_INIT(sizeof(struct owed_key), MAX_OWED);
    }
    if (*usable)
        atomic_store(&c->indebted, false);
    pthread_mutex_unlock(&c->mu);
    return payer;
}

/* Whether what Redis holds may be shown, after what is owed was carried out. One caller does that; others pass by. */
static bool usable(struct cache *c, int64_t deadline)
{
    struct vec mine = {NULL};
    bool yes = true;

    if (!atomic_load(&c->indebted))
        return true;
    if (take_debts(c, &mine, &yes)) {
        struct status st = drop_now(c, deadline, mine.data, mine.n);

        pthread_mutex_lock(&c->mu);
        c->paying = false;
        if (st.code)
            owe_locked(c, mine.data, mine.n);
        yes = !c->owed.n && clock_now() >= c->shut_until;
        pthread_mutex_unlock(&c->mu);
        vec_fini(&mine);
    }
    return yes;
}

void cache_drop(struct cache *c, int64_t deadline, const void *key, size_t key_size)
{
    struct owed_key k;

    if (key_size > CACHE_MAX_KEY)
        return; /* cache_get() keeps none of these */
    k.size = full_key(c, k.bytes, key, key_size).size;
    if (drop_now(c, deadline, &k, 1).code)
        owe(c, &k, 1);
}

/* ---- values ---- */

/* True: it is a value, which the query has now. */
static bool take_value(struct query *q, const struct redis_reply *reply)
{
    if (reply->kind != REDIS_TEXT || !reply->n || *reply->text != 'V')
        return false;
    q->value = reply->text + 1;
    q->size = reply->n - 1;
    series_add(q->cache->hits, 1);
    return true;
}

/* *away: Redis did not say. */
static bool look_up(struct query *q, bool *away)
{
    struct cache *c = q->cache;
    struct redis_reply *reply;

    *away = !usable(c, q->deadline) ||
            redis_call(c->config.redis, q->arena, redis_deadline(c, q->deadline), &reply, redis_s("GET"), q->key).code;
    return !*away && take_value(q, reply);
}

/* The value after all, or a lease in *lease: OK with neither when Redis does not say. */
static bool get_lease(struct query *q, struct redis_arg *lease)
{
    struct cache *c = q->cache;
    uint8_t random[LEASE_BYTES];
    struct redis_arg args[2] = {redis_b(random, sizeof random), redis_i(LEASE_MS)};
    struct redis_reply *reply;

    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random || !usable(c, q->deadline) ||
        redis_eval(c->config.redis, q->arena, redis_deadline(c, q->deadline), &reply, &c->lease, &q->key, 1, args, 2)
            .code)
        return false;
    if (take_value(q, reply))
        return true;
    if (reply->kind == REDIS_TEXT)
        *lease = redis_b(reply->text, reply->n);
    return false;
}

static int64_t jittered_ttl(struct cache *c)
{
    pthread_mutex_lock(&c->mu);
    int64_t less = (int64_t)rng_below(&c->rng, (uint64_t)(c->config.ttl_ms / 10) + 1);
    pthread_mutex_unlock(&c->mu);
    return c->config.ttl_ms - less;
}

/* Whether it is stored, and so was not dropped since the lease was given. */
static bool keep(struct query *q, const struct redis_arg *lease)
{
    struct cache *c = q->cache;
    struct redis_arg args[3] = {*lease, redis_b(q->value, q->size), redis_i(jittered_ttl(c))};
    struct redis_reply *reply;
    struct arena arena;
    bool kept = false;

    if (!lease->size || q->size > c->config.max_value_bytes)
        return false;
    arena_init(&arena, SMALL_ARENA);
    kept = !redis_eval(c->config.redis, &arena, redis_deadline(c, q->deadline), &reply, &c->store, &q->key, 1, args, 3)
                .code &&
           reply->kind == REDIS_INT && reply->number == 1;
    arena_fini(&arena);
    return kept;
}

static struct status pilot(struct query *q, const struct seat *seat, bool away)
{
    struct cache *c = q->cache;
    struct redis_arg lease = redis_s("");
    unsigned debts = atomic_load(&c->n_debts);
    struct status st = status_ok();
    bool fresh = false;

    if (away || !get_lease(q, &lease)) {
        st = q->fill(q->ctx, q->arena, q->deadline, &q->value, &q->size);
        series_add(st.code ? c->errors : lease.size ? c->fills : c->bypassed, 1);
        flight_close(&c->flights, seat);
        fresh = !st.code && keep(q, &lease) && atomic_load(&c->n_debts) == debts;
    }
    flight_land(&c->flights, seat, &st, q->value, q->size, fresh);
    return st;
}

/* False: it must go round once more. `later`: the flight began after the call did. */
static bool passenger(struct query *q, const struct seat *seat, bool later, struct status *st)
{
    struct landing l = flight_wait(&q->cache->flights, seat, later, q->deadline, q->arena);

    if (!l.landed) {
        *st = status_errorf(ST_DEADLINE, "another request was still making the value");
        return true;
    }
    if (l.st.code == ST_DEADLINE || l.st.code == ST_CANCELLED || (!l.st.code && !l.usable))
        return false;
    *st = l.st;
    if (!l.st.code && !l.value)
        *st = status_errorf(ST_EXHAUSTED, "a value of %zu bytes does not fit into the request's memory", l.size);
    series_add(st->code ? q->cache->errors : q->cache->shared, 1);
    q->value = l.value;
    q->size = l.size;
    return true;
}

static struct status run(struct query *q)
{
    struct status st = status_ok();

    for (bool later = false;; later = true) {
        bool away = false;

        if (look_up(q, &away))
            return st;
        struct seat seat = flight_board(&q->cache->flights, q->key.data, q->key.size);
        if (seat.pilot)
            return pilot(q, &seat, away);
        if (passenger(q, &seat, later, &st))
            return st;
    }
}

struct status cache_get(struct cache *c, struct arena *arena, int64_t deadline, const void *key, size_t key_size,
                        cache_fill *fill, void *ctx, const void **value, size_t *size)
{
    struct query q = {.cache = c, .arena = arena, .deadline = deadline, .fill = fill, .ctx = ctx};
    char bytes[MAX_FULL_KEY];

    if (key_size > CACHE_MAX_KEY)
        return status_errorf(ST_INVALID, "a cache's key of %zu bytes, over %d", key_size, CACHE_MAX_KEY);
    q.key = full_key(c, bytes, key, key_size);
    struct status st = run(&q);
    if (!st.code) {
        *value = q.value;
        *size = q.size;
    }
    return st;
}
