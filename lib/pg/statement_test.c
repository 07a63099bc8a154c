/* statement_test.c - values and rows of each type, errors and their names, deadlines, large reads; on a real server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "metrics/metrics.h"
#include "pg/testing.h"

#include <math.h>
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
    pool = pg_testing_pool(&server, NULL, 2);
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
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static void sql(const char *text)
{
    pg_testing_run(&server, NULL, text);
}

static void assert_status(struct status st, enum code code)
{
    if (st.code != code)
        fail_msg("%s instead of %s: \"%s\"", code_name(st.code), code_name(code), st.msg);
}

#define assert_ok(st) assert_status((st), ST_OK)

/* ---- types ---- */

static void test_each_type_comes_back(void **state)
{
    static const struct pg_statement all = {
        "all_types",
        "SELECT $1::bigint, $2::int, $3::smallint, $4::float8, $5::real, $6::bool, $7::timestamptz, $8::text, "
        "$9::bytea, $10::uuid, $11::jsonb, $12::varchar, $13::json, 'n'::name, 'c'::\"char\", 'bp'::char(4)"};
    static const char uuid[] = "6ecd8c99-4036-403d-bf84-cf8400f67836";
    const int64_t time = INT64_C(1700000000) * CLOCK_SECOND + 123456000;
    struct pg_result r;

    (void)state;
    assert_ok(pg_query(&db, &r, &all, PG_INT(INT64_MIN), PG_INT(-7), PG_INT(32767), PG_FLOAT(0.1), PG_FLOAT(-1.5),
                       PG_BOOL(true), PG_TIME(time), PG_TEXT("杠精 \"'\\"), PG_BYTES("a\0b\xff", 4), PG_TEXT(uuid),
                       PG_TEXT("{\"a\": [1, 2]}"), PG_TEXT_N("abcdef", 3), PG_TEXT("[1]")));
    assert_int_equal(r.n_rows, 1);
    assert_int_equal(r.n_columns, 16);
    assert_true(pg_int(&r, 0, 0) == INT64_MIN);
    assert_int_equal(pg_int(&r, 0, 1), -7);
    assert_int_equal(pg_int(&r, 0, 2), 32767);
    assert_true(pg_float(&r, 0, 3) == 0.1);
    assert_true(pg_float(&r, 0, 4) == -1.5);
    assert_true(pg_bool(&r, 0, 5));
    assert_true(pg_time(&r, 0, 6) == time);
    assert_string_equal(pg_text(&r, 0, 7), "杠精 \"'\\");
    assert_int_equal(pg_bytes(&r, 0, 8).size, 4);
    assert_memory_equal(pg_bytes(&r, 0, 8).data, "a\0b\xff", 4);
    assert_string_equal(pg_text(&r, 0, 9), uuid);
    assert_string_equal(pg_text(&r, 0, 10), "{\"a\": [1, 2]}");
    assert_string_equal(pg_text(&r, 0, 11), "abc");
    assert_string_equal(pg_text(&r, 0, 12), "[1]");
    assert_string_equal(pg_text(&r, 0, 13), "n");
    assert_string_equal(pg_text(&r, 0, 14), "c");
    assert_string_equal(pg_text(&r, 0, 15), "bp  ");
    for (int i = 0; i < r.n_columns; i++)
        assert_false(pg_is_null(&r, 0, i));
}

static void test_null_of_each_type(void **state)
{
    static const struct pg_statement nulls = {"nulls",
                                              "SELECT $1::bigint, $2::float8, $3::bool, $4::timestamptz, $5::text, "
                                              "$6::bytea, $7::uuid, $8::jsonb"};
    struct pg_result r;

    (void)state;
    assert_ok(pg_query(&db, &r, &nulls, PG_NULL, PG_NULL, PG_NULL, PG_NULL, PG_TEXT(NULL), PG_BYTES(NULL, 0), PG_NULL,
                       PG_NULL));
    for (int i = 0; i < r.n_columns; i++)
        assert_true(pg_is_null(&r, 0, i));
    assert_int_equal(pg_int(&r, 0, 0), 0);
    assert_true(pg_float(&r, 0, 1) == 0);
    assert_false(pg_bool(&r, 0, 2));
    assert_int_equal(pg_time(&r, 0, 3), 0);
    assert_string_equal(pg_text(&r, 0, 4), "");
    assert_null(pg_bytes(&r, 0, 5).data);
    assert_string_equal(pg_text(&r, 0, 6), "");
    assert_string_equal(pg_text(&r, 0, 7), "");
}

static void test_empty_is_not_null(void **state)
{
    static const struct pg_statement empty = {"empty", "SELECT $1::text, $2::bytea, $3::text"};
    struct pg_result r;

    (void)state;
    assert_ok(pg_query(&db, &r, &empty, PG_TEXT(""), PG_BYTES("", 0), PG_TEXT_N("x", 0)));
    for (int i = 0; i < 3; i++) {
        assert_false(pg_is_null(&r, 0, i));
        assert_int_equal(pg_bytes(&r, 0, i).size, 0);
    }
}

static void test_numbers_at_their_ends(void **state)
{
    static const struct pg_statement ends = {"ends", "SELECT $1::bigint, $2::int, $3::float8, $4::float8, $5::float8"};
    struct pg_result r;

    (void)state;
    assert_ok(pg_query(&db, &r, &ends, PG_INT(INT64_MAX), PG_INT(INT32_MIN), PG_FLOAT(1e308),
                       PG_FLOAT((double)INFINITY), PG_FLOAT((double)NAN)));
    assert_true(pg_int(&r, 0, 0) == INT64_MAX);
    assert_true(pg_int(&r, 0, 1) == INT32_MIN);
    assert_true(pg_float(&r, 0, 2) == 1e308);
    assert_true(isinf(pg_float(&r, 0, 3)));
    assert_true(isnan(pg_float(&r, 0, 4)));
    assert_status(pg_query(&db, &r, &ends, PG_INT(0), PG_INT(INT64_C(1) << 40), PG_FLOAT(0), PG_FLOAT(0), PG_FLOAT(0)),
                  ST_INVALID);
}

static void test_times_before_1970_and_without_end(void **state)
{
    static const struct pg_statement times = {
        "times",
        "SELECT $1::timestamptz, 'infinity'::timestamptz, '-infinity'::timestamptz, '1677-01-01 00:00Z'::timestamptz, "
        "extract(epoch FROM $2::timestamptz)::float8"};
    const int64_t before = -CLOCK_SECOND - 500000000;
    struct pg_result r;

    (void)state;
    assert_ok(pg_query(&db, &r, &times, PG_TIME(before), PG_TIME(before)));
    assert_true(pg_time(&r, 0, 0) == before);
    assert_true(pg_time(&r, 0, 1) == INT64_MAX);
    assert_true(pg_time(&r, 0, 2) == INT64_MIN);
    assert_true(pg_time(&r, 0, 3) == INT64_MIN);
    assert_true(pg_float(&r, 0, 4) == -1.5);
}

static void test_a_type_that_is_not_read_is_named(void **state)
{
    static const struct pg_statement numeric = {"select_numeric", "SELECT 1::bigint, 1.5::numeric"};
    struct pg_result r;
    struct status st = pg_query(&db, &r, &numeric);

    (void)state;
    assert_status(st, ST_INTERNAL);
    assert_non_null(strstr(st.msg, "select_numeric: column 1"));
}

static void test_rows_are_counted(void **state)
{
    static const struct pg_statement insert = {"insert_counted",
                                               "INSERT INTO counted SELECT generate_series($1::int, $2)"};
    static const struct pg_statement update = {"update_counted", "UPDATE counted SET n = -n WHERE n > $1"};
    static const struct pg_statement returning = {"delete_counted", "DELETE FROM counted WHERE n > $1 RETURNING n"};
    struct pg_result r;

    (void)state;
    sql("CREATE TABLE counted (n int)");
    assert_ok(pg_query(&db, &r, &insert, PG_INT(1), PG_INT(10)));
    assert_int_equal(r.n_affected, 10);
    assert_int_equal(r.n_rows, 0);
    assert_ok(pg_query(&db, &r, &update, PG_INT(7)));
    assert_int_equal(r.n_affected, 3);
    assert_ok(pg_query(&db, &r, &update, PG_INT(100)));
    assert_int_equal(r.n_affected, 0);
    assert_ok(pg_query(&db, &r, &returning, PG_INT(5)));
    assert_int_equal(r.n_affected, 2);
    assert_int_equal(r.n_rows, 2);
    assert_int_equal(pg_int(&r, 0, 0) + pg_int(&r, 1, 0), 13);
}

/* ---- hostile values ---- */

static const struct pg_statement store = {"store_hostile", "INSERT INTO hostile (name) VALUES ($1)"};
static const struct pg_statement load = {"load_hostile", "SELECT name FROM hostile WHERE name = $1"};

static void test_sql_in_a_value_stays_a_value(void **state)
{
    static const char *const hostile[] = {"'; DROP TABLE hostile; --",
                                          "\\'; DROP TABLE hostile; --",
                                          "$1",
                                          "$$;",
                                          "%s%n",
                                          "E'\\x27'",
                                          "\"",
                                          "\x01\x02\x7f",
                                          "a' OR '1'='1"};
    struct pg_result r;

    (void)state;
    sql("CREATE TABLE IF NOT EXISTS hostile (name text)");
    for (size_t i = 0; i < COUNT_OF(hostile); i++) {
        assert_ok(pg_query(&db, NULL, &store, PG_TEXT(hostile[i])));
        assert_ok(pg_query(&db, &r, &load, PG_TEXT(hostile[i])));
        assert_int_equal(r.n_rows, 1);
        assert_string_equal(pg_text(&r, 0, 0), hostile[i]);
    }
}

static void test_a_nul_is_refused(void **state)
{
    struct status st = pg_query(&db, NULL, &store, PG_TEXT_N("a\0b", 3));

    (void)state;
    assert_status(st, ST_INVALID);
    assert_non_null(strstr(st.msg, "NUL"));
    assert_false(db.unsure);
}

static void test_text_that_is_not_utf8_is_refused(void **state)
{
    static const char *const bad[] = {"\xff", "\xc0\x80", "\xed\xa0\x80", "ab\xe4\xb8", "\xf5\x80\x80\x80"};

    (void)state;
    sql("CREATE TABLE IF NOT EXISTS hostile (name text)");
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_status(pg_query(&db, NULL, &store, PG_TEXT(bad[i])), ST_INVALID);
    assert_ok(pg_query(&db, NULL, &store, PG_TEXT("after")));
}

static void test_a_megabyte_of_bytes(void **state)
{
    static const struct pg_statement echo = {"echo_bytes", "SELECT $1::bytea, octet_length($1::bytea)"};
    size_t size = 1 << 20;
    char *bytes = xmalloc(size);
    struct pg_result r;
    struct rng rng;

    (void)state;
    rng_init(&rng, 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)rng_next(&rng);
    assert_ok(pg_query(&db, &r, &echo, PG_BYTES(bytes, size)));
    assert_int_equal(pg_int(&r, 0, 1), size);
    assert_int_equal(pg_bytes(&r, 0, 0).size, size);
    assert_memory_equal(pg_bytes(&r, 0, 0).data, bytes, size);
    free(bytes);
}

static void test_values_are_bounded(void **state)
{
    static const struct pg_statement two = {"two_bytes", "SELECT octet_length($1::bytea) + octet_length($2::bytea)"};
    size_t half = PG_MAX_BYTES / 2;
    char *bytes = xcalloc(1, half + 1);
    struct pg_result r;

    (void)state;
    assert_ok(pg_query(&db, &r, &two, PG_BYTES(bytes, half), PG_BYTES(bytes, half)));
    assert_int_equal(pg_int(&r, 0, 0), PG_MAX_BYTES);
    assert_status(pg_query(&db, &r, &two, PG_BYTES(bytes, half), PG_BYTES(bytes, half + 1)), ST_INVALID);
    free(bytes);
}

static void test_rows_beyond_the_arena_are_refused(void **state)
{
    static const struct pg_statement many = {"many_rows", "SELECT repeat('x', 1000) FROM generate_series(1, 100000)"};
    static const struct pg_statement one = {"one_row", "SELECT 1"};
    struct pg_result r;

    (void)state;
    assert_status(pg_query(&db, &r, &many), ST_EXHAUSTED);
    arena_reset(&arena);
    assert_ok(pg_query(&db, &r, &one));
}

/* ---- errors ---- */

static void test_constraints_are_named(void **state)
{
    static const struct pg_statement insert = {"insert_child",
                                               "INSERT INTO child (name, parent, age) VALUES ($1, $2, $3)"};
    static const struct pg_statement remove = {"delete_parent", "DELETE FROM parent"};
    struct status st;

    (void)state;
    sql("CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1);"
        "CREATE TABLE child (name text NOT NULL CONSTRAINT child_name_key UNIQUE,"
        "  parent int CONSTRAINT child_parent_fk REFERENCES parent, age int CONSTRAINT child_age_check CHECK (age > "
        "0))");
    assert_ok(pg_query(&db, NULL, &insert, PG_TEXT("a"), PG_INT(1), PG_INT(5)));
    assert_string_equal(db.constraint, "");

    st = pg_query(&db, NULL, &insert, PG_TEXT("a"), PG_INT(1), PG_INT(5));
    assert_status(st, ST_EXISTS);
    assert_string_equal(db.constraint, "child_name_key");
    assert_false(db.unsure);
    assert_null(strstr(st.msg, "child_name_key")); /* for anybody */

    assert_status(pg_query(&db, NULL, &insert, PG_TEXT("b"), PG_INT(2), PG_INT(5)), ST_PRECONDITION);
    assert_string_equal(db.constraint, "child_parent_fk");
    assert_status(pg_query(&db, NULL, &remove), ST_PRECONDITION);
    assert_string_equal(db.constraint, "child_parent_fk");
    assert_status(pg_query(&db, NULL, &insert, PG_TEXT("b"), PG_INT(1), PG_INT(-5)), ST_INVALID);
    assert_string_equal(db.constraint, "child_age_check");
    assert_status(pg_query(&db, NULL, &insert, PG_NULL, PG_INT(1), PG_INT(5)), ST_INVALID);

    assert_ok(pg_query(&db, NULL, &insert, PG_TEXT("c"), PG_NULL, PG_NULL));
    assert_string_equal(db.constraint, "");
}

static void test_wrong_sql_is_our_error(void **state)
{
    static const struct pg_statement syntax = {"wrong_syntax", "SELEC 1"},
                                     table = {"wrong_table", "SELECT * FROM nowhere"};
    static const struct pg_statement one = {"one_value", "SELECT $1::int"}, zero = {"by_zero", "SELECT 1 / $1::int"};
    struct status st = pg_query(&db, NULL, &syntax);

    (void)state;
    assert_status(st, ST_INTERNAL);
    assert_non_null(strstr(st.msg, "wrong_syntax"));
    assert_null(strstr(st.msg, "SELEC"));
    assert_status(pg_query(&db, NULL, &table), ST_INTERNAL);
    assert_status(pg_query(&db, NULL, &one), ST_INTERNAL);
    assert_status(pg_query(&db, NULL, &one, PG_INT(1), PG_INT(2)), ST_INTERNAL);
    assert_status(pg_query(&db, NULL, &zero, PG_INT(0)), ST_INVALID);
    assert_ok(pg_query(&db, NULL, &one, PG_INT(1)));
}

static void test_an_error_at_the_end_of_the_statement_counts(void **state)
{
    static const struct pg_statement insert = {"insert_deferred", "INSERT INTO deferred VALUES (1) RETURNING n"};
    struct pg_result r;

    (void)state;
    sql("CREATE TABLE deferred (n int CONSTRAINT deferred_key UNIQUE DEFERRABLE INITIALLY DEFERRED)");
    assert_ok(pg_query(&db, &r, &insert));
    assert_status(pg_query(&db, &r, &insert), ST_EXISTS); /* it comes after the row */
    assert_string_equal(db.constraint, "deferred_key");
}

static void test_a_changed_table_costs_no_call(void **state)
{
    static const struct pg_statement all = {"select_changing", "SELECT * FROM changing"};
    struct pg_result r;

    (void)state;
    sql("CREATE TABLE changing (a int); INSERT INTO changing VALUES (1)");
    for (int i = 0; i < 4; i++) {
        assert_ok(pg_query(&db, &r, &all));
        assert_int_equal(r.n_columns, 1 + i);
        sql("DO $$ BEGIN EXECUTE 'ALTER TABLE changing ADD COLUMN c' || (random() * 1e9)::int || ' text'; END $$");
    }
}

/* ---- deadlines ---- */

static const struct pg_statement sleeping = {"sleeping", "SELECT count(*) FROM pg_sleep($1)"};
static const struct pg_statement active = {
    "active", "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active' AND pid <> "
              "pg_backend_pid()"};

static void test_the_server_stops_at_the_deadline(void **state)
{
    struct pg_result r;

    (void)state;
    db.deadline = clock_after_ms(200);
    assert_status(pg_query(&db, NULL, &sleeping, PG_INT(100)), ST_DEADLINE);
    assert_false(db.unsure); /* it said so itself */
    db.deadline = clock_after_ms(60000);
    assert_ok(pg_query(&db, &r, &active));
    assert_int_equal(pg_int(&r, 0, 0), 0);
    assert_ok(pg_query(&db, NULL, &sleeping, PG_FLOAT(0.3))); /* no timeout is left behind */
}

static void test_a_deadline_in_the_past_asks_nobody(void **state)
{
    (void)state;
    db.deadline = clock_now() - 1;
    assert_status(pg_query(&db, NULL, &sleeping, PG_INT(0)), ST_DEADLINE);
    assert_false(db.unsure);
}

static void test_a_hung_server_costs_no_more_than_the_deadline(void **state)
{
    (void)state;
    assert_ok(pg_query(&db, NULL, &sleeping, PG_INT(0)));
    pg_testing_freeze(&server, true);
    db.deadline = clock_after_ms(300);
    struct status st = pg_query(&db, NULL, &sleeping, PG_INT(0));
    pg_testing_freeze(&server, false);
    assert_status(st, ST_DEADLINE);
    db.deadline = clock_after_ms(60000);
    assert_ok(pg_query(&db, NULL, &sleeping, PG_INT(0)));
}

static void test_tiny_deadlines_harm_no_later_call(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        db.deadline = clock_now() + i % 5 * CLOCK_MS / 2;
        struct status st = pg_query(&db, NULL, &sleeping, PG_INT(0));
        assert_true(st.code == ST_OK || st.code == ST_DEADLINE || st.code == ST_UNAVAILABLE);
        db.deadline = clock_after_ms(60000);
        assert_ok(pg_query(&db, NULL, &sleeping, PG_INT(0)));
    }
}

/* ---- many rows ---- */

struct reading {
    int64_t n, sum, stop_at;
    int64_t memory, most; /* resident bytes before, and the most above it */
};

static struct status read_row(void *ctx, const struct pg_result *row)
{
    struct reading *r = ctx;

    assert_int_equal(row->n_rows, 1);
    assert_int_equal(strlen(pg_text(row, 0, 1)), 1000);
    r->sum += pg_int(row, 0, 0);
    if (++r->n == r->stop_at)
        return status_errorf(ST_CANCELLED, "enough");
    if (r->n % 1000 == 0 && memory_used() - r->memory > r->most)
        r->most = memory_used() - r->memory;
    return status_ok();
}

static const struct pg_statement large = {"large", "SELECT n, repeat('x', 1000) FROM generate_series(1, $1::int) AS n"};

static void test_a_hundred_thousand_rows_in_bounded_memory(void **state)
{
    struct reading r = {.memory = memory_used()};

    (void)state;
    assert_ok(pg_each(&db, read_row, &r, &large, PG_INT(100000)));
    assert_int_equal(r.n, 100000);
    assert_true(r.sum == INT64_C(5000050000));
    assert_true(arena.used < 1 << 16);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* those keep what was freed */
    assert_true(r.most < 4 << 20);                                  /* of 100 MB */
#endif
}

static void test_a_reader_may_stop(void **state)
{
    struct reading r = {.stop_at = 10};

    (void)state;
    assert_status(pg_each(&db, read_row, &r, &large, PG_INT(10000000)), ST_CANCELLED);
    assert_int_equal(r.n, 10);
    assert_ok(pg_query(&db, NULL, &sleeping, PG_INT(0)));
}

static void test_a_row_beyond_the_arena_is_refused(void **state)
{
    static const struct pg_statement wide = {"wide", "SELECT 1, repeat('x', 10000000)"};
    struct reading r = {.n = 0};

    (void)state;
    assert_status(pg_each(&db, read_row, &r, &wide), ST_EXHAUSTED);
    assert_int_equal(r.n, 0);
}

static void test_an_error_in_the_middle_of_the_rows_counts(void **state)
{
    static const struct pg_statement broken = {"broken", "SELECT 1 / (5000 - n), repeat('x', 1000) FROM "
                                                         "generate_series(1, 10000) AS n"};
    struct reading r = {.n = 0};

    (void)state;
    assert_status(pg_each(&db, read_row, &r, &broken), ST_INVALID);
    assert_true(r.n < 5000);
}

/* ---- metrics ---- */

static void test_statements_are_counted_by_name(void **state)
{
    static const struct pg_statement counted = {"counted_by_name", "SELECT 1"};
    struct buf page = BUF_INIT(4 << 20);

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_ok(pg_query(&db, NULL, &counted));
    metrics_render(&page);
    assert_non_null(strstr(
        page.data, "bloginfer_pg_statement_duration_seconds_count{statement=\"counted_by_name\",code=\"OK\"} 3\n"));
    assert_non_null(strstr(page.data, "bloginfer_pg_connections_in_use 0\n"));
    buf_fini(&page);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each_type_comes_back),
        TEST(test_null_of_each_type),
        TEST(test_empty_is_not_null),
        TEST(test_numbers_at_their_ends),
        TEST(test_times_before_1970_and_without_end),
        TEST(test_a_type_that_is_not_read_is_named),
        TEST(test_rows_are_counted),
        TEST(test_sql_in_a_value_stays_a_value),
        TEST(test_a_nul_is_refused),
        TEST(test_text_that_is_not_utf8_is_refused),
        TEST(test_a_megabyte_of_bytes),
        TEST(test_values_are_bounded),
        TEST(test_rows_beyond_the_arena_are_refused),
        TEST(test_constraints_are_named),
        TEST(test_wrong_sql_is_our_error),
        TEST(test_an_error_at_the_end_of_the_statement_counts),
        TEST(test_a_changed_table_costs_no_call),
        TEST(test_the_server_stops_at_the_deadline),
        TEST(test_a_deadline_in_the_past_asks_nobody),
        TEST(test_a_hung_server_costs_no_more_than_the_deadline),
        TEST(test_tiny_deadlines_harm_no_later_call),
        TEST(test_a_hundred_thousand_rows_in_bounded_memory),
        TEST(test_a_reader_may_stop),
        TEST(test_a_row_beyond_the_arena_is_refused),
        TEST(test_an_error_in_the_middle_of_the_rows_counts),
        TEST(test_statements_are_counted_by_name),
    };

    if (!pg_testing_installed())
        return 0;
    return cmocka_run_group_tests(tests, start, stop);
}
