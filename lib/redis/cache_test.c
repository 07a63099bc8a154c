/* cache_test.c - who makes a value, who gets it, and that nobody gets one that was made before it was dropped. Two caches
 * with a pool each are what two processes are. */
#include "redis/cache.h"
#include "redis/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE 20000
#define THREADS  16
#define TTL_MS   600000
#define MAX      4096

static struct redis_testing *server; /* durable: a restart does not empty it */
static struct redis *here, *there;

static void ok(struct status st)
{
    if (st.code)
        fail_msg("%s: %s", code_name(st.code), st.msg);
}

static struct cache *cache_of(struct redis *r, const char *name, int64_t version, int64_t ttl_ms)
{
    struct cache_config config = {r, name, version, ttl_ms, 5000, MAX};

    return cache_new(&config);
}

static int64_t ask(const char *verb, const char *key)
{
    struct redis_reply *reply = NULL;
    struct arena arena;

    arena_init(&arena, 1 << 16);
    ok(redis_call(there, &arena, clock_after_ms(PATIENCE), &reply, redis_s(verb), redis_s(key)));
    int64_t n = reply->kind == REDIS_INT ? reply->number : -1;
    if (reply->kind == REDIS_TEXT && strstr(reply->text, "cmdstat_get:calls="))
        n = atoll(strstr(reply->text, "cmdstat_get:calls=") + strlen("cmdstat_get:calls="));
    arena_fini(&arena);
    return n;
}

static void await_server(void)
{
    while (redis_ready(here, clock_after_ms(PATIENCE)).code || redis_ready(there, clock_after_ms(PATIENCE)).code)
        clock_sleep_ms(1);
}

/* What the values are made from, and how; the truth is the "database". */
struct maker {
    atomic_int truth, n_calls, n_now, most_now;
    atomic_int hold;  /* the fill waits, after it has read the truth, while this is not 0 */
    enum code code;   /* what it answers */
    size_t size;      /* so many bytes; 0: the truth as text */
    int64_t deadline; /* that it was given */
};

static struct status make(void *ctx, struct arena *arena, int64_t deadline, const void **value, size_t *size)
{
    struct maker *m = ctx;
    int now = atomic_fetch_add(&m->n_now, 1) + 1;
    char *text = m->size ? arena_zalloc(arena, 1, m->size) : arena_printf(arena, "%d", atomic_load(&m->truth));

    m->deadline = deadline;
    atomic_fetch_add(&m->n_calls, 1);
    if (now > atomic_load(&m->most_now))
        atomic_store(&m->most_now, now);
    while (atomic_load(&m->hold))
        clock_sleep_ms(1);
    *value = text;
    *size = m->size ? m->size : strlen(text);
    atomic_fetch_sub(&m->n_now, 1);
    return m->code ? status_errorf(m->code, "cannot make it") : status_ok();
}

/* The value as a number; a code as a negative one. */
static int get_by(struct cache *c, const char *key, struct maker *m, int64_t timeout_ms)
{
    const void *value = NULL;
    struct arena arena;
    size_t size = 0;

    arena_init(&arena, 1 << 16);
    struct status st = cache_get(c, &arena, clock_after_ms(timeout_ms), key, strlen(key), make, m, &value, &size);
    char *text = xstrndup(st.code ? "" : value, size);
    int n = st.code ? -(int)st.code : atoi(text);
    free(text);
    arena_fini(&arena);
    return n;
}

static int get(struct cache *c, const char *key, struct maker *m)
{
    return get_by(c, key, m, PATIENCE);
}

static void drop(struct cache *c, const char *key)
{
    cache_drop(c, clock_after_ms(PATIENCE), key, strlen(key));
}

struct getter {
    struct cache *cache;
    const char *key;
    struct maker *maker;
    int64_t timeout_ms;
    int got;
    pthread_t thread;
};

static void *get_one(void *arg)
{
    struct getter *g = arg;

    g->got = get_by(g->cache, g->key, g->maker, g->timeout_ms);
    return NULL;
}

static void start(struct getter *g, struct cache *c, const char *key, struct maker *m)
{
    *g = (struct getter){c, key, m, PATIENCE, 0, 0};
    pthread_create(&g->thread, NULL, get_one, g);
}

static int finish(struct getter *g)
{
    pthread_join(g->thread, NULL);
    return g->got;
}

static void await(atomic_int *value, int want)
{
    int64_t until = clock_after_ms(PATIENCE);

    while (atomic_load(value) < want && clock_now() < until)
        clock_sleep_ms(1);
    assert_true(atomic_load(value) >= want);
}

/* Until so many have asked Redis for their key in vain: the next they do is to wait for whoever makes it. */
static void await_gets(int64_t since, int64_t n)
{
    while (ask("INFO", "commandstats") < since + n)
        clock_sleep_ms(1);
}

/* ---- values ---- */

static void test_made_once_and_then_found(void **state)
{
    struct cache *a = cache_of(here, "once", 1, TTL_MS), *b = cache_of(there, "once", 1, TTL_MS);
    struct maker m = {.truth = 7};

    (void)state;
    assert_int_equal(get(a, "k", &m), 7);
    m.truth = 8;
    assert_int_equal(get(a, "k", &m), 7);
    assert_int_equal(get(b, "k", &m), 7);
    assert_int_equal(m.n_calls, 1);
    assert_int_equal(get(a, "l", &m), 8);
    assert_int_equal(get(a, "", &m), 8);
    assert_int_equal(m.n_calls, 3);
    cache_free(a);
    cache_free(b);
}

static struct status make_bytes(void *ctx, struct arena *arena, int64_t deadline, const void **value, size_t *size)
{
    (void)arena;
    (void)deadline;
    *value = "\0V\r\nL";
    *size = *(size_t *)ctx;
    return status_ok();
}

static void test_values_are_bytes(void **state)
{
    struct cache *c = cache_of(here, "bytes", 1, TTL_MS);
    struct arena arena;

    (void)state;
    arena_init(&arena, 1 << 16);
    for (size_t n = 0; n <= 5; n += 5) {
        for (int i = 0; i < 2; i++) {
            const void *value = NULL;
            size_t size = 99, none = 1;

            ok(cache_get(c, &arena, clock_after_ms(PATIENCE), &n, sizeof n, make_bytes, i ? &none : &n, &value, &size));
            assert_int_equal(size, n);
            assert_memory_equal(value, "\0V\r\nL", n);
        }
    }
    assert_int_equal(cache_get(c, &arena, CLOCK_NEVER, &arena, CACHE_MAX_KEY + 1, make_bytes, NULL, NULL, NULL).code,
                     ST_INVALID);
    arena_fini(&arena);
    cache_free(c);
}

static void test_names_and_versions_are_apart(void **state)
{
    struct cache *a = cache_of(here, "apart", 1, TTL_MS), *b = cache_of(here, "apart", 2, TTL_MS),
                 *c = cache_of(here, "apart2", 1, TTL_MS);
    struct maker m = {.truth = 1};

    (void)state;
    assert_int_equal(get(a, "k", &m), 1);
    m.truth = 2;
    assert_int_equal(get(b, "k", &m), 2);
    assert_int_equal(get(c, "k", &m), 2);
    assert_int_equal(get(a, "k", &m), 1);
    cache_free(a);
    cache_free(b);
    cache_free(c);
}

static void test_values_live_for_about_the_same_time(void **state)
{
    struct cache *c = cache_of(here, "ttl", 1, TTL_MS), *brief = cache_of(here, "brief", 1, 50);
    struct maker m = {.truth = 1};
    int64_t least = INT64_MAX, most = 0;

    (void)state;
    for (int i = 0; i < 40; i++) {
        char key[16], whole[64];

        snprintf(key, sizeof key, "%d", i);
        get(c, key, &m);
        snprintf(whole, sizeof whole, "cache:ttl:1:%d", i);
        int64_t ms = ask("PTTL", whole);
        least = ms < least ? ms : least;
        most = ms > most ? ms : most;
    }
    assert_in_range(least, TTL_MS - TTL_MS / 10 - PATIENCE, TTL_MS);
    assert_true(most <= TTL_MS && most - least > TTL_MS / 40);
    assert_int_equal(get(brief, "k", &m), 1);
    m.truth = 2;
    while (get(brief, "k", &m) != 2)
        clock_sleep_ms(1);
    cache_free(c);
    cache_free(brief);
}

static void test_a_value_that_is_too_large_is_passed_on_only(void **state)
{
    struct cache *c = cache_of(here, "large", 1, TTL_MS);
    struct maker m = {.size = MAX + 1};

    (void)state;
    get(c, "k", &m);
    get(c, "k", &m);
    assert_int_equal(m.n_calls, 2);
    m.size = MAX;
    get(c, "k", &m);
    get(c, "k", &m);
    assert_int_equal(m.n_calls, 3);
    cache_free(c);
}

/* ---- one flight ---- */

static void test_sixteen_ask_and_one_makes(void **state)
{
    struct cache *c = cache_of(here, "flight", 1, TTL_MS);
    struct getter getters[THREADS];

    (void)state;
    for (int round = 0; round < 20; round++) {
        struct maker m = {.truth = round, .hold = round % 2};
        char key[16];

        snprintf(key, sizeof key, "%d", round);
        for (int i = 0; i < THREADS; i++)
            start(&getters[i], c, key, &m);
        await(&m.n_calls, 1);
        atomic_store(&m.hold, 0);
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(finish(&getters[i]), round);
        assert_int_equal(m.n_calls, 1);
    }
    cache_free(c);
}

static void test_an_error_is_shared_and_not_kept(void **state)
{
    struct cache *c = cache_of(here, "error", 1, TTL_MS);
    struct maker m = {.truth = 1, .hold = 1, .code = ST_NOT_FOUND};
    struct getter getters[8];
    int64_t gets = ask("INFO", "commandstats");

    (void)state;
    for (size_t i = 0; i < COUNT_OF(getters); i++)
        start(&getters[i], c, "k", &m);
    await_gets(gets, COUNT_OF(getters) + 1); /* the first asks twice */
    atomic_store(&m.hold, 0);
    for (size_t i = 0; i < COUNT_OF(getters); i++)
        assert_int_equal(finish(&getters[i]), -ST_NOT_FOUND);
    assert_true(m.n_calls <= 2); /* one could come too late */
    m.code = ST_OK;
    assert_int_equal(get(c, "k", &m), 1);
    cache_free(c);
}

static void test_a_deadline_is_everybodys_own(void **state)
{
    struct cache *c = cache_of(here, "deadline", 1, TTL_MS);
    struct maker slow = {.hold = 1, .code = ST_DEADLINE}, quick = {.truth = 5};
    struct getter first, second;
    int64_t gets = ask("INFO", "commandstats");

    (void)state;
    start(&first, c, "k", &slow);
    await(&slow.n_calls, 1);
    assert_int_equal(get_by(c, "k", &quick, 50), -ST_DEADLINE); /* it waits for the slow one */
    assert_int_equal(quick.n_calls, 0);
    start(&second, c, "k", &quick);
    await_gets(gets, 4); /* the second's, the impatient one's, and the first's two */
    atomic_store(&slow.hold, 0);
    assert_int_equal(finish(&first), -ST_DEADLINE);
    assert_int_equal(finish(&second), 5); /* the other's time was over, not its own */
    cache_free(c);
}

/* ---- drops ---- */

static void test_a_drop_makes_the_next_one_new(void **state)
{
    struct cache *a = cache_of(here, "drop", 1, TTL_MS), *b = cache_of(there, "drop", 1, TTL_MS);
    struct maker m = {.truth = 1};

    (void)state;
    for (int i = 1; i < 20; i++) {
        m.truth = i;
        drop(i % 2 ? a : b, "k");
        assert_int_equal(get(a, "k", &m), i);
        assert_int_equal(get(b, "k", &m), i);
    }
    assert_int_equal(m.n_calls, 19);
    cache_free(a);
    cache_free(b);
}

static void drop_while_it_is_made(struct cache *maker_of, struct cache *dropper, const char *key)
{
    struct maker old = {.truth = 1, .hold = 1}, new = {.truth = 2};
    struct getter first, second;
    int64_t gets = ask("INFO", "commandstats");

    start(&first, maker_of, key, &old);
    await(&old.n_calls, 1);
    drop(dropper, key); /* the truth is 2 now, and the first has read 1 */
    start(&second, maker_of, key, &new);
    await_gets(gets, 3); /* its own, and the first's two */
    atomic_store(&old.hold, 0);
    finish(&first);
    assert_int_equal(finish(&second), 2);
    assert_int_equal(get(maker_of, key, &new), 2);
    assert_int_equal(get(dropper, key, &new), 2);
}

static void test_what_is_dropped_while_it_is_made_is_not_kept(void **state)
{
    struct cache *a = cache_of(here, "race", 1, TTL_MS), *b = cache_of(there, "race", 1, TTL_MS);

    (void)state;
    drop_while_it_is_made(a, a, "in one process");
    drop_while_it_is_made(a, b, "in two");
    cache_free(a);
    cache_free(b);
}

static void test_a_later_value_of_another_process_stays(void **state)
{
    struct cache *a = cache_of(here, "later", 1, TTL_MS), *b = cache_of(there, "later", 1, TTL_MS);
    struct maker old = {.truth = 1, .hold = 1}, new = {.truth = 2};
    struct getter first;

    (void)state;
    start(&first, a, "k", &old);
    await(&old.n_calls, 1);
    drop(b, "k");
    assert_int_equal(get(b, "k", &new), 2);
    atomic_store(&old.hold, 0);
    finish(&first);
    assert_int_equal(get(a, "k", &new), 2);
    assert_int_equal(new.n_calls, 1);
    cache_free(a);
    cache_free(b);
}

/* Writers raise the truth and drop; a reader that begins afterwards must not see less. */
struct duel {
    struct cache *cache;
    struct maker *maker;
    atomic_int *committed; /* changed and dropped */
    atomic_bool *stop;
    pthread_mutex_t *writing;
    bool writes;
    int n_stale;
    pthread_t thread;
};

static void *fight(void *arg)
{
    struct duel *d = arg;

    while (!atomic_load(d->stop)) {
        int least = atomic_load(d->committed);

        if (!d->writes) {
            d->n_stale += get(d->cache, "k", d->maker) < least;
            continue;
        }
        pthread_mutex_lock(d->writing);
        int now = atomic_fetch_add(&d->maker->truth, 1) + 1;
        drop(d->cache, "k");
        atomic_store(d->committed, now);
        pthread_mutex_unlock(d->writing);
    }
    return NULL;
}

static int stale_reads(struct cache *a, struct cache *b, bool kill)
{
    pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;
    struct maker m = {.truth = 0};
    atomic_int committed = 0;
    atomic_bool stop = false;
    struct duel duels[10];
    int n = 0;

    for (size_t i = 0; i < COUNT_OF(duels); i++) {
        duels[i] = (struct duel){i % 2 ? a : b, &m, &committed, &stop, &writing, i < 2, 0, 0};
        pthread_create(&duels[i].thread, NULL, fight, &duels[i]);
    }
    await(&committed, 300);
    if (kill) {
        redis_testing_kill(server);
        await(&committed, atomic_load(&committed) + 50); /* these drops are owed */
        redis_testing_restart(server);
        await_server();
    }
    await(&committed, atomic_load(&committed) + 300);
    atomic_store(&stop, true);
    for (size_t i = 0; i < COUNT_OF(duels); i++) {
        pthread_join(duels[i].thread, NULL);
        n += duels[i].n_stale;
    }
    return n;
}

static void test_no_reader_is_ever_given_what_was_dropped(void **state)
{
    struct cache *a = cache_of(here, "duel", 1, TTL_MS), *b = cache_of(there, "duel", 1, TTL_MS);

    (void)state;
    assert_int_equal(stale_reads(a, b, false), 0);
    drop(a, "k");
    assert_int_equal(stale_reads(a, a, true), 0);
    cache_free(a);
    cache_free(b);
}

/* ---- without Redis ---- */

static void test_without_redis_it_is_a_call_of_the_function(void **state)
{
    struct cache *c = cache_of(here, "away", 1, TTL_MS);
    struct maker m = {.truth = 1}, failing = {.code = ST_NOT_FOUND};
    struct getter getters[THREADS];

    (void)state;
    redis_testing_kill(server);
    assert_int_equal(get(c, "k", &m), 1);
    m.truth = 2;
    assert_int_equal(get(c, "k", &m), 2);
    assert_int_equal(get(c, "k", &failing), -ST_NOT_FOUND);
    for (int i = 0; i < THREADS; i++)
        start(&getters[i], c, "k", &m);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(finish(&getters[i]), 2);
    assert_int_equal(m.most_now, 1); /* and never two at once */
    redis_testing_restart(server);
    await_server();
    get(c, "k", &m);
    int calls = m.n_calls;
    get(c, "k", &m);
    assert_int_equal(m.n_calls, calls);
    cache_free(c);
}

static void test_a_redis_that_hangs_leaves_time_for_the_function(void **state)
{
    struct cache_config config = {here, "hang", 1, TTL_MS, 100, MAX};
    struct cache *c = cache_new(&config);
    struct maker m = {.truth = 3};

    (void)state;
    redis_testing_freeze(server);
    assert_int_equal(get(c, "k", &m), 3);
    assert_true(m.deadline > clock_now());
    redis_testing_thaw(server);
    await_server();
    cache_free(c);
}

static void test_a_drop_that_redis_missed_is_made_up_for(void **state)
{
    struct cache *a = cache_of(here, "owed", 1, TTL_MS), *b = cache_of(there, "owed", 1, TTL_MS);
    struct maker m = {.truth = 1};

    (void)state;
    assert_int_equal(get(a, "k", &m), 1);
    redis_testing_kill(server);
    m.truth = 2;
    for (int i = 0; i < 5000; i++)
        drop(a, "k");
    assert_int_equal(get(a, "k", &m), 2);
    redis_testing_restart(server);
    await_server();
    assert_int_equal(ask("EXISTS", "cache:owed:1:k"), 1); /* the old one is still there */
    assert_int_equal(get(a, "k", &m), 2);
    assert_int_equal(get(b, "k", &m), 2);
    int calls = m.n_calls;
    assert_int_equal(get(a, "k", &m), 2); /* and the cache works again */
    assert_int_equal(m.n_calls, calls);
    cache_free(a);
    cache_free(b);
}

static void test_more_drops_than_can_be_remembered_shut_the_cache(void **state)
{
    struct cache *c = cache_of(here, "shut", 1, TTL_MS);
    struct maker m = {.truth = 1};

    (void)state;
    assert_int_equal(get(c, "0", &m), 1);
    redis_testing_kill(server);
    m.truth = 2;
    for (int i = 0; i < 2000; i++) {
        char key[16];

        snprintf(key, sizeof key, "%d", i);
        drop(c, key);
    }
    redis_testing_restart(server);
    await_server();
    assert_int_equal(get(c, "0", &m), 2);
    m.truth = 3;
    assert_int_equal(get(c, "0", &m), 3);
    cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_made_once_and_then_found),
        cmocka_unit_test(test_values_are_bytes),
        cmocka_unit_test(test_names_and_versions_are_apart),
        cmocka_unit_test(test_values_live_for_about_the_same_time),
        cmocka_unit_test(test_a_value_that_is_too_large_is_passed_on_only),
        cmocka_unit_test(test_sixteen_ask_and_one_makes),
        cmocka_unit_test(test_an_error_is_shared_and_not_kept),
        cmocka_unit_test(test_a_deadline_is_everybodys_own),
        cmocka_unit_test(test_a_drop_makes_the_next_one_new),
        cmocka_unit_test(test_what_is_dropped_while_it_is_made_is_not_kept),
        cmocka_unit_test(test_a_later_value_of_another_process_stays),
        cmocka_unit_test(test_no_reader_is_ever_given_what_was_dropped),
        cmocka_unit_test(test_without_redis_it_is_a_call_of_the_function),
        cmocka_unit_test(test_a_redis_that_hangs_leaves_time_for_the_function),
        cmocka_unit_test(test_a_drop_that_redis_missed_is_made_up_for),
        cmocka_unit_test(test_more_drops_than_can_be_remembered_shut_the_cache),
    };

    server = redis_testing_start(NULL, true);
    here = redis_testing_open(server);
    there = redis_testing_open(server);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    redis_close(here);
    redis_close(there);
    redis_testing_stop(server);
    return failed;
}
