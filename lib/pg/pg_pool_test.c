/* pg_pool_test.c - who gets a connection, and what becomes of calls when the server stops, dies and comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "metrics/metrics.h"
#include "pg/testing.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct pg_testing server;

static int start(void **state)
{
    (void)state;
    pg_testing_start(&server);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    pg_testing_stop(&server);
    return 0;
}

static void assert_status(struct status st, enum code code)
{
    if (st.code != code)
        fail_msg("%s instead of %s: \"%s\"", code_name(st.code), code_name(code), st.msg);
}

#define assert_ok(st) assert_status((st), ST_OK)

static const struct pg_statement one = {"one", "SELECT 1"};

static struct status ask(struct pg_pool *pool, int64_t timeout_ms, const struct pg_statement *statement)
{
    struct arena arena;

    arena_init(&arena, 1 << 20);
    struct pg db = pg_call(pool, clock_after_ms(timeout_ms), &arena);
    struct status st = pg_query(&db, NULL, statement);
    arena_fini(&arena);
    return st;
}

/* The value of a line of the metrics page. */
static double metric(const char *line)
{
    struct buf page = BUF_INIT(4 << 20);
    char begin[80];

    snprintf(begin, sizeof begin, "\n%s", line); /* not the line that explains it */
    metrics_render(&page);
    const char *at = strstr(page.data, begin);
    double value = at ? strtod(at + strlen(begin), NULL) : -1;
    buf_fini(&page);
    return value;
}

/* ---- opening ---- */

static void test_a_wrong_url_is_refused_without_a_word_of_it(void **state)
{
    static const char *const bad[] = {"", "postgresql://user:s3cret%zz@host/db", "password=s3cret nonsense=1",
                                      "password='s3cret", "mysql:s3cret"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct pg_pool *pool = NULL;
        struct status st = pg_open(&pool, &(struct pg_config){.url = bad[i], .program = "test", .n_connections = 1});

        assert_status(st, ST_INVALID);
        assert_null(strstr(st.msg, "s3cret"));
        assert_null(pool);
    }
}

static void test_the_number_of_connections_is_checked(void **state)
{
    struct pg_pool *pool;

    (void)state;
    assert_status(pg_open(&pool, &(struct pg_config){server.url, "test", 0}), ST_INVALID);
    assert_status(pg_open(&pool, &(struct pg_config){server.url, "test", PG_MAX_CONNECTIONS + 1}), ST_INVALID);
    pg_close(NULL);
}

static void test_the_server_may_be_away_when_a_pool_is_opened(void **state)
{
    struct pg_pool *pool;

    (void)state;
    assert_ok(pg_open(&pool, &(struct pg_config){"host=/nonexistent password=s3cret", "test", 2}));
    int64_t begin = clock_now();
    struct status st = ask(pool, 120000, &one);
    assert_status(st, ST_UNAVAILABLE);
    assert_null(strstr(st.msg, "s3cret"));
    assert_true(clock_now() - begin < 60 * CLOCK_SECOND); /* long before the deadline */
    pg_close(pool);
}

static void test_a_server_that_swallows_everything(void **state)
{
    struct pg_pool *pool;

    (void)state;
    pool = pg_testing_pool(&server, NULL, 1);
    pg_testing_freeze(&server, true);
    struct status st = ask(pool, 100, &one); /* the socket accepts, nobody answers */
    pg_testing_freeze(&server, false);
    assert_true(st.code == ST_EXHAUSTED || st.code == ST_UNAVAILABLE);
    assert_ok(ask(pool, 60000, &one));
    pg_close(pool);
}

static void test_closing_does_not_wait_for_an_attempt_to_connect(void **state)
{
    struct pg_pool *pool = pg_testing_pool(&server, NULL, 1);

    (void)state;
    pg_testing_freeze(&server, true);
    assert_true(ask(pool, 20, &one).code);
    pg_close(pool); /* while the attempt hangs */
    pg_testing_freeze(&server, false);
}

/* ---- exhaustion ---- */

struct holder {
    struct pg_pool *pool;
    pthread_t thread;
    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t changed;
    bool holds, may_go;
    struct status st;
};

static struct status hold(struct pg *db, void *ctx)
{
    struct holder *h = ctx;
    struct status st = pg_query(db, NULL, &one);

    pthread_mutex_lock(&h->mu);
    h->holds = true;
    pthread_cond_broadcast(&h->changed);
    while (!h->may_go)
        pthread_cond_wait(&h->changed, &h->mu);
    pthread_mutex_unlock(&h->mu);
    return st;
}

static void *run_holder(void *arg)
{
    struct holder *h = arg;
    struct arena arena;

    arena_init(&arena, 1 << 20);
    struct pg db = pg_call(h->pool, clock_after_ms(60000), &arena);
    h->st = pg_transaction(&db, PG_READ_COMMITTED, hold, h);
    arena_fini(&arena);
    return NULL;
}

/* Returns when the connection is held. */
static void holder_start(struct holder *h, struct pg_pool *pool)
{
    *h = (struct holder){.pool = pool};
    pthread_mutex_init(&h->mu, NULL);
    pthread_cond_init(&h->changed, NULL);
    h->thread = thread_start("holder", 0, run_holder, h);
    pthread_mutex_lock(&h->mu);
    while (!h->holds)
        pthread_cond_wait(&h->changed, &h->mu);
    pthread_mutex_unlock(&h->mu);
}

static void holder_let_go(struct holder *h)
{
    pthread_mutex_lock(&h->mu);
    h->may_go = true;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->mu);
}

static void test_without_a_free_connection_the_deadline_counts(void **state)
{
    struct pg_pool *pool = pg_testing_pool(&server, NULL, 2);
    struct holder a, b;

    (void)state;
    holder_start(&a, pool);
    holder_start(&b, pool);
    assert_int_equal(metric("bloginfer_pg_connections_in_use "), 2);
    double waits = metric("bloginfer_pg_waits_total ");
    assert_status(ask(pool, 50, &one), ST_EXHAUSTED);
    assert_true(metric("bloginfer_pg_waits_total ") > waits);
    holder_let_go(&a);
    assert_ok(ask(pool, 60000, &one));
    holder_let_go(&b);
    pthread_join(a.thread, NULL);
    pthread_join(b.thread, NULL);
    assert_ok(a.st);
    assert_ok(b.st);
    pg_close(pool);
    assert_int_equal(metric("bloginfer_pg_connections "), 0);
}

struct crowd {
    struct pg_pool *pool;
    atomic_int n_ok, n_failed;
};

static void *ask_often(void *arg)
{
    static const struct pg_statement sessions = {
        "sessions",
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test' AND backend_type = 'client backend'"};
    struct crowd *crowd = arg;
    struct arena arena;
    struct pg_result r;

    arena_init(&arena, 1 << 20);
    for (int i = 0; i < 50; i++) {
        struct pg db = pg_call(crowd->pool, clock_after_ms(60000), &arena);
        struct status st = pg_query(&db, &r, &sessions);

        if (!st.code && pg_int(&r, 0, 0) <= 3)
            atomic_fetch_add(&crowd->n_ok, 1);
        else
            atomic_fetch_add(&crowd->n_failed, 1);
        arena_reset(&arena);
    }
    arena_fini(&arena);
    return NULL;
}

static void test_many_threads_share_few_connections(void **state)
{
    struct crowd crowd = {.pool = pg_testing_pool(&server, NULL, 3)};
    pthread_t threads[16];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        threads[i] = thread_start("crowd", 0, ask_often, &crowd);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&crowd.n_failed), 0);
    assert_int_equal(atomic_load(&crowd.n_ok), 16 * 50);
    pg_close(crowd.pool);
}

/* ---- restarts ---- */

static void test_a_restart_while_idle_is_not_noticed(void **state)
{
    struct pg_pool *pool = pg_testing_pool(&server, NULL, 3);
    struct holder holders[3];

    (void)state;
    for (int i = 0; i < 3; i++)
        holder_start(&holders[i], pool);
    for (int i = 0; i < 3; i++) {
        holder_let_go(&holders[i]);
        pthread_join(holders[i].thread, NULL);
        assert_ok(holders[i].st);
    }
    for (int kill = 0; kill < 2; kill++) {
        if (kill)
            pg_testing_kill(&server);
        else
            pg_testing_shutdown(&server);
        pg_testing_launch(&server);
        for (int i = 0; i < 4; i++)
            assert_ok(ask(pool, 60000, &one));
    }
    pg_close(pool);
}

static void test_without_a_server_calls_fail_soon_and_come_back_with_it(void **state)
{
    struct pg_pool *pool = pg_testing_pool(&server, NULL, 2);

    (void)state;
    assert_ok(ask(pool, 60000, &one));
    pg_testing_shutdown(&server);
    double failed = metric("bloginfer_pg_connects_total{result=\"failed\"} ");
    for (int i = 0; i < 5; i++)
        assert_status(ask(pool, 600000, &one), ST_UNAVAILABLE);
    assert_true(metric("bloginfer_pg_connects_total{result=\"failed\"} ") >= failed + 5);
    pg_testing_launch(&server);
    while (ask(pool, 60000, &one).code)
        continue; /* one pause at most */
    assert_ok(ask(pool, 60000, &one));
    pg_close(pool);
}

static void test_a_session_that_is_ended_costs_nobody_a_call(void **state)
{
    struct pg_pool *pool = pg_testing_pool(&server, NULL, 1);

    (void)state;
    for (int i = 0; i < 20; i++) {
        assert_ok(ask(pool, 60000, &one));
        pg_testing_run(&server, NULL,
                       "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = 'test'");
    }
    pg_close(pool);
}

/* ---- death in the middle ---- */

static const struct pg_statement insert = {"insert_book", "INSERT INTO book VALUES ($1)"};
static const struct pg_statement has = {"has_book", "SELECT count(*) FROM book WHERE n = $1"};

static struct status insert_and_die(struct pg *db, void *ctx)
{
    struct status st = pg_query(db, NULL, &insert, PG_INT(-1));

    (void)ctx;
    assert_ok(st);
    pg_testing_kill(&server);
    st = pg_query(db, NULL, &insert, PG_INT(-2));
    assert_status(st, ST_UNAVAILABLE);
    assert_status(pg_query(db, NULL, &insert, PG_INT(-3)), ST_UNAVAILABLE);
    return status_ok(); /* whoever does not look must not commit either */
}

static void test_a_kill_in_the_middle_of_a_transaction(void **state)
{
    struct pg_pool *pool = pg_testing_pool(&server, NULL, 2);
    struct pg_result r;
    struct arena arena;

    (void)state;
    pg_testing_run(&server, NULL, "CREATE TABLE book (n bigint)");
    arena_init(&arena, 1 << 20);
    struct pg db = pg_call(pool, clock_after_ms(600000), &arena);
    assert_ok(pg_query(&db, NULL, &insert, PG_INT(1)));
    assert_status(pg_transaction(&db, PG_READ_COMMITTED, insert_and_die, NULL), ST_UNAVAILABLE);
    assert_false(db.unsure); /* no COMMIT was sent */
    pg_testing_launch(&server);
    while (pg_query(&db, &r, &has, PG_INT(1)).code)
        continue;
    assert_int_equal(pg_int(&r, 0, 0), 1);
    assert_ok(pg_query(&db, &r, &has, PG_INT(-1)));
    assert_int_equal(pg_int(&r, 0, 0), 0);
    arena_fini(&arena);
    pg_close(pool);
}

/* Writes numbers of its own one after the other; remembers what it was told of each. */
#define BOOK_MAX 200000

struct writer {
    struct pg_pool *pool;
    pthread_t thread;
    int64_t first;
    atomic_bool *stop;
    atomic_int n_ok;
    int n;
    bool ok[BOOK_MAX], unsure[BOOK_MAX];
};

static struct status write_one(struct pg *db, void *ctx)
{
    return pg_query(db, NULL, &insert, PG_INT(*(int64_t *)ctx));
}

static void *run_writer(void *arg)
{
    struct writer *w = arg;
    struct arena arena;

    arena_init(&arena, 1 << 20);
    while (!atomic_load(w->stop) && w->n < BOOK_MAX) {
        struct pg db = pg_call(w->pool, clock_after_ms(60000), &arena);
        int64_t n = w->first + w->n;
        struct status st =
            w->n % 2 ? pg_query(&db, NULL, &insert, PG_INT(n)) : pg_transaction(&db, PG_READ_COMMITTED, write_one, &n);

        w->ok[w->n] = !st.code;
        w->unsure[w->n] = db.unsure;
        w->n++;
        if (!st.code)
            atomic_fetch_add(&w->n_ok, 1);
        arena_reset(&arena);
    }
    arena_fini(&arena);
    return NULL;
}

static struct status take_number(void *ctx, const struct pg_result *row)
{
    struct writer *writers = ctx;
    int64_t n = pg_int(row, 0, 0) - writers[0].first;
    struct writer *w = &writers[n / BOOK_MAX];
    int64_t i = n % BOOK_MAX;

    assert_int_equal(pg_int(row, 0, 1), 1);
    assert_true(w->ok[i] || w->unsure[i]); /* what failed for certain is not there */
    w->ok[i] = false;
    return status_ok();
}

static void await_progress(struct writer *writers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int before = atomic_load(&writers[i].n_ok);

        while (atomic_load(&writers[i].n_ok) < before + 20)
            clock_sleep_ms(1);
    }
}

static void test_kills_under_load_lose_nothing_that_was_acknowledged(void **state)
{
    static const struct pg_statement all = {"all_book", "SELECT n, count(*) FROM book WHERE n >= $1 GROUP BY n"};
    struct writer *writers = xcalloc(4, sizeof *writers);
    struct pg_pool *pool = pg_testing_pool(&server, NULL, 4);
    atomic_bool done = false;
    struct arena arena;

    (void)state;
    for (int i = 0; i < 4; i++) {
        writers[i].pool = pool;
        writers[i].first = 1000000 + (int64_t)i * BOOK_MAX;
        writers[i].stop = &done;
        writers[i].thread = thread_start("writer", 0, run_writer, &writers[i]);
    }
    for (int i = 0; i < 3; i++) {
        await_progress(writers, 4);
        if (i == 1)
            pg_testing_shutdown(&server);
        else
            pg_testing_kill(&server);
        pg_testing_launch(&server);
    }
    await_progress(writers, 4); /* all by itself */
    atomic_store(&done, true);
    for (int i = 0; i < 4; i++)
        pthread_join(writers[i].thread, NULL);
    arena_init(&arena, 1 << 20);
    struct pg db = pg_call(pool, clock_after_ms(60000), &arena);
    assert_ok(pg_each(&db, take_number, writers, &all, PG_INT(1000000)));
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < writers[i].n; k++)
            assert_false(writers[i].ok[k]); /* was acknowledged, is not there */
    arena_fini(&arena);
    pg_close(pool);
    free(writers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_wrong_url_is_refused_without_a_word_of_it),
        cmocka_unit_test(test_the_number_of_connections_is_checked),
        cmocka_unit_test(test_the_server_may_be_away_when_a_pool_is_opened),
        cmocka_unit_test(test_a_server_that_swallows_everything),
        cmocka_unit_test(test_closing_does_not_wait_for_an_attempt_to_connect),
        cmocka_unit_test(test_without_a_free_connection_the_deadline_counts),
        cmocka_unit_test(test_many_threads_share_few_connections),
        cmocka_unit_test(test_a_restart_while_idle_is_not_noticed),
        cmocka_unit_test(test_without_a_server_calls_fail_soon_and_come_back_with_it),
        cmocka_unit_test(test_a_session_that_is_ended_costs_nobody_a_call),
        cmocka_unit_test(test_a_kill_in_the_middle_of_a_transaction),
        cmocka_unit_test(test_kills_under_load_lose_nothing_that_was_acknowledged),
    };

    lifecycle_init();
    if (!pg_testing_installed())
        return 0;
    return cmocka_run_group_tests(tests, start, stop);
}
