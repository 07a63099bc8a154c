/* transaction_test.c - all or nothing, and what is tried again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pg/testing.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct pg_testing server;
static struct pg_pool *pool;
static struct arena arena;
static struct pg db;

static int start(void **state)
{
    (void)state;
    pg_testing_start(&server);
    pool = pg_testing_pool(&server, NULL, 4);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    pg_close(pool);
    pg_testing_stop(&server);
    return 0;
}

static int begin(void **state)
{
    (void)state;
    arena_init(&arena, 8 << 20);
    db = pg_call(pool, clock_after_ms(60000), &arena);
    pg_testing_run(&server, NULL, "DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL)");
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static void assert_status(struct status st, enum code code)
{
    if (st.code != code)
        fail_msg("%s instead of %s: \"%s\"", code_name(st.code), code_name(code), st.msg);
}

#define assert_ok(st) assert_status((st), ST_OK)

static const struct pg_statement insert = {"insert_t", "INSERT INTO t VALUES ($1, $2)"};
static const struct pg_statement update = {"update_t", "UPDATE t SET n = n + $2 WHERE id = $1"};
static const struct pg_statement total = {"total_t", "SELECT coalesce(sum(n), 0)::bigint, count(*) FROM t"};
static const struct pg_statement sleeping = {"sleeping_t", "SELECT count(*) FROM pg_sleep($1)"};

/* Of a call of its own, outside of any transaction. */
static int64_t total_now(void)
{
    struct pg other = pg_call(pool, clock_after_ms(60000), &arena);
    struct pg_result r;

    assert_ok(pg_query(&other, &r, &total));
    return pg_int(&r, 0, 0);
}

static struct status insert_two(struct pg *tx, void *ctx)
{
    struct status st = pg_query(tx, NULL, &insert, PG_INT(1), PG_INT(10));

    if (!st.code)
        st = pg_query(tx, NULL, &insert, PG_INT(2), PG_INT(20));
    assert_int_equal(total_now(), 0);
    return st.code ? st : *(struct status *)ctx;
}

static void test_all_of_it_or_nothing(void **state)
{
    struct status result = status_errorf(ST_DENIED, "not today");

    (void)state;
    assert_status(pg_transaction(&db, PG_READ_COMMITTED, insert_two, &result), ST_DENIED);
    assert_int_equal(total_now(), 0);
    result = status_ok();
    assert_ok(pg_transaction(&db, PG_READ_COMMITTED, insert_two, &result));
    assert_int_equal(total_now(), 30);
}

static struct status insert_same_twice(struct pg *tx, void *ctx)
{
    bool *look_away = ctx;
    struct status st = pg_query(tx, NULL, &insert, PG_INT(1), PG_INT(10));

    assert_ok(st);
    st = pg_query(tx, NULL, &insert, PG_INT(1), PG_INT(10));
    assert_status(st, ST_EXISTS);
    assert_string_equal(tx->constraint, "t_pkey");
    return *look_away ? status_ok() : st;
}

static void test_a_failed_statement_fails_the_whole(void **state)
{
    bool look_away = false;

    (void)state;
    assert_status(pg_transaction(&db, PG_READ_COMMITTED, insert_same_twice, &look_away), ST_EXISTS);
    assert_string_equal(db.constraint, "t_pkey");
    assert_false(db.unsure);
    look_away = true; /* COMMIT would be answered by ROLLBACK: that must not pass for success */
    assert_status(pg_transaction(&db, PG_READ_COMMITTED, insert_same_twice, &look_away), ST_INTERNAL);
    assert_int_equal(total_now(), 0);
}

static struct status outer(struct pg *tx, void *ctx)
{
    struct status ok = status_ok(), st = pg_query(tx, NULL, &insert, PG_INT(3), PG_INT(5));

    return st.code ? st : pg_transaction(tx, PG_READ_COMMITTED, ctx ? insert_same_twice : insert_two, ctx ? ctx : &ok);
}

static void test_a_transaction_inside_another_joins_it(void **state)
{
    bool look_away = false;

    (void)state;
    assert_ok(pg_transaction(&db, PG_READ_COMMITTED, outer, NULL));
    assert_int_equal(total_now(), 35);
    pg_testing_run(&server, NULL, "DELETE FROM t");
    assert_status(pg_transaction(&db, PG_READ_COMMITTED, outer, &look_away), ST_EXISTS);
    assert_int_equal(total_now(), 0);
}

static struct status insert_deferred(struct pg *tx, void *ctx)
{
    static const struct pg_statement deferred = {"insert_d", "INSERT INTO d VALUES (1), (1)"};

    (void)ctx;
    return pg_query(tx, NULL, &deferred);
}

static void test_an_error_of_the_commit_counts(void **state)
{
    (void)state;
    pg_testing_run(&server, NULL, "CREATE TABLE d (n int CONSTRAINT d_key UNIQUE DEFERRABLE INITIALLY DEFERRED)");
    assert_status(pg_transaction(&db, PG_READ_COMMITTED, insert_deferred, NULL), ST_EXISTS);
    assert_string_equal(db.constraint, "d_key");
    assert_false(db.unsure);
}

/* ---- again ---- */

struct raise {
    int64_t from, to; /* reads one row, writes the other */
    int n_runs;
    pthread_barrier_t *met; /* after the first reading: NULL: nobody is waited for */
};

static struct status raise_by_other(struct pg *tx, void *ctx)
{
    static const struct pg_statement get = {"get_t", "SELECT n FROM t WHERE id = $1"};
    struct raise *raise = ctx;
    struct pg_result r;
    struct status st = pg_query(tx, &r, &get, PG_INT(raise->from));

    if (++raise->n_runs == 1 && raise->met)
        pthread_barrier_wait(raise->met);
    return st.code ? st : pg_query(tx, NULL, &update, PG_INT(raise->to), PG_INT(pg_int(&r, 0, 0)));
}

static void *run_raise(void *arg)
{
    struct arena mine;

    arena_init(&mine, 1 << 20);
    struct pg other = pg_call(pool, clock_after_ms(60000), &mine);
    struct status st = pg_transaction(&other, PG_SERIALIZABLE, raise_by_other, arg);
    arena_fini(&mine);
    return (void *)(intptr_t)st.code;
}

/* Each reads what the other writes: one of them has to come after the other. */
static void test_a_serialization_failure_is_tried_again(void **state)
{
    pthread_barrier_t met;
    struct raise a = {1, 2, 0, &met}, b = {2, 1, 0, &met};
    void *code;

    (void)state;
    pg_testing_run(&server, NULL, "INSERT INTO t VALUES (1, 1), (2, 10)");
    pthread_barrier_init(&met, NULL, 2);
    pthread_t thread = thread_start("raise", 0, run_raise, &a);
    assert_ok(pg_transaction(&db, PG_SERIALIZABLE, raise_by_other, &b));
    pthread_join(thread, &code);
    assert_int_equal((intptr_t)code, ST_OK);
    assert_true(a.n_runs + b.n_runs > 2);
    int64_t sum = total_now(); /* 1, 11 and then 12, 11; or 11, 10 and then 11, 21 */
    assert_true(sum == 23 || sum == 32);
    pthread_barrier_destroy(&met);
}

struct pair {
    int64_t first, second;
    int n_runs;
    pthread_barrier_t *met;
};

static struct status lock_pair(struct pg *tx, void *ctx)
{
    struct pair *pair = ctx;
    struct status st = pg_query(tx, NULL, &update, PG_INT(pair->first), PG_INT(1));

    if (++pair->n_runs == 1)
        pthread_barrier_wait(pair->met);
    return st.code ? st : pg_query(tx, NULL, &update, PG_INT(pair->second), PG_INT(1));
}

static void *run_pair(void *arg)
{
    struct arena mine;

    arena_init(&mine, 1 << 20);
    struct pg other = pg_call(pool, clock_after_ms(60000), &mine);
    struct status st = pg_transaction(&other, PG_READ_COMMITTED, lock_pair, arg);
    arena_fini(&mine);
    return (void *)(intptr_t)st.code;
}

static void test_a_deadlock_is_tried_again(void **state)
{
    pthread_barrier_t met;
    struct pair a = {1, 2, 0, &met}, b = {2, 1, 0, &met};
    void *code;

    (void)state;
    pg_testing_run(&server, NULL, "INSERT INTO t VALUES (1, 0), (2, 0)");
    pthread_barrier_init(&met, NULL, 2);
    pthread_t thread = thread_start("pair", 0, run_pair, &a);
    assert_ok(pg_transaction(&db, PG_READ_COMMITTED, lock_pair, &b));
    pthread_join(thread, &code);
    assert_int_equal((intptr_t)code, ST_OK);
    assert_int_equal(a.n_runs + b.n_runs, 3);
    assert_int_equal(total_now(), 4);
    pthread_barrier_destroy(&met);
}

static struct status always_aborted(struct pg *tx, void *ctx)
{
    struct status st = pg_query(tx, NULL, &update, PG_INT(1), PG_INT(1));

    ++*(int *)ctx;
    return st.code ? st : status_errorf(ST_ABORTED, "again");
}

static void test_it_is_tried_three_times_at_most(void **state)
{
    int n_runs = 0;

    (void)state;
    pg_testing_run(&server, NULL, "INSERT INTO t VALUES (1, 0)");
    assert_status(pg_transaction(&db, PG_READ_COMMITTED, always_aborted, &n_runs), ST_ABORTED);
    assert_int_equal(n_runs, 3);
    assert_int_equal(total_now(), 0);
}

/* ---- deadlines ---- */

static struct status sleep_long(struct pg *tx, void *ctx)
{
    struct status st = pg_query(tx, NULL, &insert, PG_INT(1), PG_INT(1));

    (void)ctx;
    return st.code ? st : pg_query(tx, NULL, &sleeping, PG_INT(100));
}

static void test_the_deadline_is_that_of_the_whole(void **state)
{
    struct pg_result r;

    (void)state;
    db.deadline = clock_after_ms(300);
    struct status st = pg_transaction(&db, PG_READ_COMMITTED, sleep_long, NULL);
    assert_status(st, ST_DEADLINE);
    assert_int_equal(total_now(), 0);
    assert_status(pg_transaction(&db, PG_READ_COMMITTED, sleep_long, NULL), ST_DEADLINE);
    db.deadline = clock_after_ms(60000);
    for (int i = 0; i < 8; i++) /* nobody is left with a timeout, or a lock */
        assert_ok(pg_query(&db, &r, &sleeping, PG_FLOAT(0.05)));
    assert_ok(pg_query(&db, NULL, &insert, PG_INT(1), PG_INT(1)));
}

static struct status read_inside(void *ctx, const struct pg_result *row)
{
    *(int64_t *)ctx += pg_int(row, 0, 0);
    return status_ok();
}

static struct status write_and_read(struct pg *tx, void *ctx)
{
    static const struct pg_statement all = {"all_t", "SELECT n FROM t"};
    struct status st = pg_query(tx, NULL, &insert, PG_INT(1), PG_INT(42));

    return st.code ? st : pg_each(tx, read_inside, ctx, &all);
}

static void test_rows_are_read_inside_a_transaction(void **state)
{
    int64_t sum = 0;

    (void)state;
    assert_ok(pg_transaction(&db, PG_READ_COMMITTED, write_and_read, &sum));
    assert_int_equal(sum, 42);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_of_it_or_nothing),
        TEST(test_a_failed_statement_fails_the_whole),
        TEST(test_a_transaction_inside_another_joins_it),
        TEST(test_an_error_of_the_commit_counts),
        TEST(test_a_serialization_failure_is_tried_again),
        TEST(test_a_deadlock_is_tried_again),
        TEST(test_it_is_tried_three_times_at_most),
        TEST(test_the_deadline_is_that_of_the_whole),
        TEST(test_rows_are_read_inside_a_transaction),
    };

    if (!pg_testing_installed())
        return 0;
    return cmocka_run_group_tests(tests, start, stop);
}
