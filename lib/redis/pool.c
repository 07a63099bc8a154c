/* pool.c - see pool.h and redis.h. Connections are made by one thread, the keeper, so that no caller ever waits for a
 * server that does not answer: callers wait for a connection, for the keeper's word that the server is away, or for their
 * deadline. It goes on trying, with back-off, whether anybody asks or not; so the first call after a restart finds the
 * server again.
 *
 * Connections that the server closed while they were idle are found when they are taken, before anything is sent. */
#include "redis/pool.h"

#include "metrics/metrics.h"

#include <pthread.h>
#include <stdlib.h>

#define BACKOFF_FIRST_MS 50
#define BACKOFF_LAST_MS  5000

const struct config_option redis_options[] = {
    {"redis", CONFIG_STR, offsetof(struct redis_config, address), "127.0.0.1:6379", "HOST:PORT of Redis"},
    {"redis-user", CONFIG_STR, offsetof(struct redis_config, user), "", "its user; empty: the default one"},
    {"redis-password", CONFIG_SECRET, offsetof(struct redis_config, password), "", "that user's password"},
    {"redis-database", CONFIG_INT, offsetof(struct redis_config, database), "0", "number of its database", 0, 65535},
    {"redis-connections", CONFIG_INT, offsetof(struct redis_config, connections), "16", "connections to Redis, at most",
     1, 1024},
    {"redis-connect-timeout-ms", CONFIG_INT, offsetof(struct redis_config, connect_timeout_ms), "1000",
     "time for a connection to Redis, log-in included", 1, 60000},
    {"redis-max-reply-bytes", CONFIG_INT, offsetof(struct redis_config, max_reply_bytes), "4194304",
     "largest reply of Redis, in memory", 4096, 268435456},
};
const size_t redis_n_options = COUNT_OF(redis_options);

struct redis {
    struct conn_target target;
    size_t max;
    pthread_t keeper;
    struct rng rng;     /* the keeper's */
    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t freed, wanted;
    struct conn **idle; /* (max,), the one used last on top */
    size_t n_idle;
    size_t n_open;     /* idle, in use, or being made */
    size_t n_waiting;  /* callers */
    bool known;        /* the server has been asked once */
    bool doubtful;     /* a connection broke: a new one must show that the server is there */
    struct status why; /* it is away; OK: it is not */
    int n_failures;
    int64_t retry_at;
    bool stopping;
};

static struct {
    pthread_once_t once;
    struct series *up, *open, *busy, *waits;
    struct metric *connects;
} all = {.once = PTHREAD_ONCE_INIT};

static void make_metrics(void)
{
    all.up = metric_series(metric_gauge("bloginfer_redis_up", "Redis answers.", NULL));
    all.open = metric_series(metric_gauge("bloginfer_redis_connections", "Connections to Redis.", NULL));
    all.busy = metric_series(metric_gauge("bloginfer_redis_connections_busy", "Connections in use.", NULL));
    all.waits =
        metric_series(metric_counter("bloginfer_redis_waits_total", "Calls that had to wait for a connection.", NULL));
    all.connects = metric_counter("bloginfer_redis_connects_total", "Connections tried.", "code");
}

/* ---- the keeper ---- */

static bool connection_due_locked(const struct redis *r)
{
    if (r->n_open == r->max)
        return false;
    if (r->why.code)
        return clock_now() >= r->retry_at;
    return !r->known || r->doubtful || r->n_waiting > r->n_idle;
}

static void drop_idle_locked(struct redis *r)
{
    r->n_open -= r->n_idle;
    while (r->n_idle)
        conn_close(r->idle[--r->n_idle]);
}

static void back_locked(struct redis *r, struct conn *c)
{
    if (r->why.code)
        log_info("redis_back", log_i("failures", r->n_failures));
    r->why = status_ok();
    r->n_failures = 0;
    r->idle[r->n_idle++] = c;
    series_set(all.up, 1);
}

/* Between half and all of a time that doubles with each failure, so that many programs do not come at once. */
static int64_t backoff_ms(struct redis *r)
{
    int64_t ms = BACKOFF_FIRST_MS << (r->n_failures < 8 ? r->n_failures : 8);

    ms = ms < BACKOFF_LAST_MS ? ms : BACKOFF_LAST_MS;
    return ms / 2 + (int64_t)rng_below(&r->rng, (uint64_t)ms / 2 + 1);
}

static void away_locked(struct redis *r, const struct status *why)
{
    bool refused = why->code == ST_UNAUTHENTICATED;

    if (!r->why.code)
        LOG_AT(refused ? LOG_ERROR : LOG_WARN, "redis_away", log_s("error", why->msg));
    if (why->code == ST_DEADLINE)
        drop_idle_locked(r); /* it hangs: those would do the same */
    r->n_open--;
    r->retry_at = clock_after_ms(backoff_ms(r));
    r->n_failures++;
    r->why = *why;
    r->why.code = ST_UNAVAILABLE;
    series_set(all.up, 0);
}

static void connect_locked(struct redis *r)
{
    struct conn *c = NULL;

    r->n_open++;
    pthread_mutex_unlock(&r->mu);
    struct status st = conn_open(&c, &r->target);
    metric_add(all.connects, 1, code_name(st.code));
    pthread_mutex_lock(&r->mu);
    if (st.code)
        away_locked(r, &st);
    else
        back_locked(r, c);
    r->known = true;
    r->doubtful = false;
    series_set(all.open, (double)r->n_open);
    pthread_cond_broadcast(&r->freed);
}

static void *keep(void *pool)
{
    struct redis *r = pool;

    pthread_mutex_lock(&r->mu);
    while (!r->stopping) {
        if (connection_due_locked(r)) {
            connect_locked(r);
        } else if (r->why.code && r->n_open < r->max) {
            struct timespec at = clock_timespec(r->retry_at);

            pthread_cond_timedwait(&r->wanted, &r->mu, &at);
        } else {
            pthread_cond_wait(&r->wanted, &r->mu);
        }
    }
    pthread_mutex_unlock(&r->mu);
    return NULL;
}

/* ---- callers ---- */

static struct status late_locked(const struct redis *r)
{
    if (r->n_open == r->max)
        return status_errorf(ST_EXHAUSTED, "all %zu connections to Redis are in use", r->max);
    return status_errorf(ST_DEADLINE, "no connection to Redis in time");
}

static struct status take_locked(struct redis *r, int64_t deadline, struct conn **out)
{
    bool waited = false;

    while (!r->n_idle) {
        struct timespec at = clock_timespec(deadline);

        if (r->why.code)
            return r->why;
        if (clock_now() >= deadline)
            return late_locked(r);
        if (!waited)
            series_add(all.waits, 1);
        waited = true;
        r->n_waiting++;
        pthread_cond_signal(&r->wanted);
        pthread_cond_timedwait(&r->freed, &r->mu, &at);
        r->n_waiting--;
    }
    *out = r->idle[--r->n_idle];
    return status_ok();
}

struct status pool_acquire(struct redis *r, int64_t deadline, struct conn **out)
{
    struct conn *c = NULL;

    for (;;) {
        pthread_mutex_lock(&r->mu);
        struct status st = take_locked(r, deadline, &c);
        pthread_mutex_unlock(&r->mu);
        if (st.code)
            return st;
        series_add(all.busy, 1);
        if (conn_alive(c))
            break;
        pool_release(r, c, POOL_BROKE);
    }
    *out = c;
    return status_ok();
}

void pool_release(struct redis *r, struct conn *c, enum pool_fate fate)
{
    if (fate != POOL_KEEP)
        conn_close(c);
    series_add(all.busy, -1);
    pthread_mutex_lock(&r->mu);
    if (fate == POOL_KEEP) {
        r->idle[r->n_idle++] = c;
        pthread_cond_signal(&r->freed);
    } else {
        r->n_open--;
        r->doubtful |= fate == POOL_BROKE;
        series_set(all.open, (double)r->n_open);
        pthread_cond_signal(&r->wanted);
    }
    pthread_mutex_unlock(&r->mu);
}

struct status redis_ready(struct redis *r, int64_t deadline)
{
    struct timespec at = clock_timespec(deadline);
    struct status st;

    pthread_mutex_lock(&r->mu);
    while (!r->known && clock_now() < deadline)
        pthread_cond_timedwait(&r->freed, &r->mu, &at);
    st = r->known ? r->why : status_errorf(ST_UNAVAILABLE, "Redis has not answered yet");
    pthread_mutex_unlock(&r->mu);
    return st;
}

struct status redis_open(struct redis **out, const struct redis_config *config)
{
    struct redis *r = xcalloc(1, sizeof *r);
    struct status st = conn_target_init(&r->target, config);

    if (st.code) {
        free(r);
        return st;
    }
    pthread_once(&all.once, make_metrics);
    r->max = (size_t)config->connections;
    r->idle = xcalloc(r->max, sizeof(struct conn *));
    rng_init(&r->rng, (uint64_t)clock_now());
    pthread_mutex_init(&r->mu, NULL);
    cond_init_monotonic(&r->freed);
    cond_init_monotonic(&r->wanted);
    r->keeper = thread_start("redis", 0, keep, r);
    *out = r;
    return st;
}

void redis_close(struct redis *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->mu);
    r->stopping = true;
    pthread_cond_signal(&r->wanted);
    pthread_mutex_unlock(&r->mu);
    pthread_join(r->keeper, NULL);
    drop_idle_locked(r);
    series_set(all.open, 0);
    conn_target_fini(&r->target);
    pthread_cond_destroy(&r->freed);
    pthread_cond_destroy(&r->wanted);
    pthread_mutex_destroy(&r->mu);
    free(r->idle);
    free(r);
}
