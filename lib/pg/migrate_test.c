/* migrate_test.c - from an empty database to the newest schema: once, in order, whoever else does the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pg/testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct pg_testing server;

#define MIGRATION(name, text)                                                                                          \
    {                                                                                                                  \
        (name), (text), (text) + sizeof(text) - 1                                                                      \
    }

static const struct pg_migration list[] = {
    MIGRATION("books", "CREATE TABLE books (id int PRIMARY KEY); CREATE INDEX ON books (id);"),
    MIGRATION("titles", "ALTER TABLE books ADD COLUMN title text NOT NULL DEFAULT '';"),
    MIGRATION("first", "INSERT INTO books VALUES (1, 'first')"),
};
#define N COUNT_OF(list)

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

static int begin(void **state)
{
    static const char drop[] = "DROP DATABASE IF EXISTS m WITH (FORCE)";

    (void)state;
    pg_testing_run(&server, NULL, drop);
    pg_testing_run(&server, NULL, "CREATE DATABASE m");
    return 0;
}

static struct status migrate(const struct pg_migration *migrations, size_t n)
{
    struct pg_pool *pool = pg_testing_pool(&server, "m", 1);
    struct arena arena;

    arena_init(&arena, 1 << 20);
    struct pg db = pg_call(pool, clock_after_ms(60000), &arena);
    struct status st = pg_migrate(&db, migrations, n);
    arena_fini(&arena);
    pg_close(pool);
    return st;
}

/* "1 books\n2 titles\n"; free() it. */
static char *versions(void)
{
    static const struct pg_statement all = {
        "versions", "SELECT coalesce(string_agg(version || ' ' || name || E'\\n', '' ORDER BY version), '') FROM "
                    "schema_migrations WHERE length(sha256) = 64 AND applied_at <= now()"};
    struct pg_pool *pool = pg_testing_pool(&server, "m", 1);
    struct pg_result r;
    struct arena arena;

    arena_init(&arena, 1 << 20);
    struct pg db = pg_call(pool, clock_after_ms(60000), &arena);
    assert_ok(pg_query(&db, &r, &all));
    char *text = xstrdup(pg_text(&r, 0, 0));
    arena_fini(&arena);
    pg_close(pool);
    return text;
}

static void assert_versions(const char *expected)
{
    char *text = versions();

    assert_string_equal(text, expected);
    free(text);
}

static void test_an_empty_database_gets_all(void **state)
{
    (void)state;
    assert_ok(migrate(list, N));
    assert_versions("1 books\n2 titles\n3 first\n");
    pg_testing_run(&server, "m", "INSERT INTO books VALUES (2, 'second')");
}

static void test_again_nothing_happens(void **state)
{
    (void)state;
    assert_ok(migrate(list, N));
    assert_ok(migrate(list, N));
    assert_versions("1 books\n2 titles\n3 first\n");
}

static void test_later_ones_are_added(void **state)
{
    (void)state;
    assert_ok(migrate(list, 1));
    assert_versions("1 books\n");
    assert_ok(migrate(list, N));
    assert_versions("1 books\n2 titles\n3 first\n");
}

static void test_none_at_all(void **state)
{
    (void)state;
    assert_ok(migrate(list, 0));
    assert_versions("");
}

static void test_a_changed_text_is_refused_by_name(void **state)
{
    const struct pg_migration changed[] = {list[0], MIGRATION("titles", "ALTER TABLE books ADD COLUMN title text"),
                                           list[2]};

    (void)state;
    assert_ok(migrate(list, 2));
    struct status st = migrate(changed, N);
    assert_status(st, ST_PRECONDITION);
    assert_non_null(strstr(st.msg, "migration 2 \"titles\""));
    assert_versions("1 books\n2 titles\n"); /* the third was not applied either */
}

static void test_a_newer_database_is_refused(void **state)
{
    (void)state;
    assert_ok(migrate(list, N));
    struct status st = migrate(list, 2);
    assert_status(st, ST_PRECONDITION);
    assert_non_null(strstr(st.msg, "newer"));
    assert_non_null(strstr(st.msg, "3 \"first\""));
}

static void test_a_gap_is_refused(void **state)
{
    (void)state;
    assert_ok(migrate(list, 2));
    pg_testing_run(&server, "m", "DELETE FROM schema_migrations WHERE version = 1");
    assert_status(migrate(list, N), ST_PRECONDITION);
}

static void test_one_that_fails_leaves_nothing(void **state)
{
    const struct pg_migration broken[] = {list[0], MIGRATION("half", "CREATE TABLE half (n int); SELECT 1 / 0;"),
                                          list[1]};
    const struct pg_migration mended[] = {list[0], MIGRATION("half", "CREATE TABLE half (n int)"), list[1]};

    (void)state;
    struct status st = migrate(broken, N);
    assert_status(st, ST_INVALID);
    assert_non_null(strstr(st.msg, "migration 2 \"half\""));
    assert_versions("1 books\n");
    assert_ok(migrate(mended, N));
    assert_versions("1 books\n2 half\n3 titles\n");
}

static void test_one_that_ends_its_transaction_is_refused(void **state)
{
    const struct pg_migration bad[] = {MIGRATION("commits", "CREATE TABLE c (n int); COMMIT;")};

    (void)state;
    assert_status(migrate(bad, 1), ST_INTERNAL);
    assert_versions("");
}

/* Processes, as two replicas that start. */
static void test_several_processes_at_once(void **state)
{
    static const struct pg_migration slow[] = {
        MIGRATION("slow", "CREATE TABLE once (n int); SELECT pg_sleep(0.3)"),
        MIGRATION("once", "INSERT INTO once VALUES (1)"),
    };
    pid_t pids[4];
    int status;

    (void)state;
    fflush(NULL);
    for (size_t i = 0; i < COUNT_OF(pids); i++) {
        pids[i] = fork();
        if (!pids[i])
            _exit((int)migrate(slow, COUNT_OF(slow)).code);
        assert_true(pids[i] > 0);
    }
    for (size_t i = 0; i < COUNT_OF(pids); i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    assert_versions("1 slow\n2 once\n");
    pg_testing_run(&server, "m", "SELECT 1 / (CASE (SELECT count(*) FROM once) WHEN 1 THEN 1 ELSE 0 END)");
}

#define TEST(f) cmocka_unit_test_setup(f, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_empty_database_gets_all),
        TEST(test_again_nothing_happens),
        TEST(test_later_ones_are_added),
        TEST(test_none_at_all),
        TEST(test_a_changed_text_is_refused_by_name),
        TEST(test_a_newer_database_is_refused),
        TEST(test_a_gap_is_refused),
        TEST(test_one_that_fails_leaves_nothing),
        TEST(test_one_that_ends_its_transaction_is_refused),
        TEST(test_several_processes_at_once),
    };

    if (!pg_testing_installed())
        return 0;
    return cmocka_run_group_tests(tests, start, stop);
}
