/* redis_test.c - the promises of redis.h, against a real server that is killed, frozen, locked and started again. */
#include "redis/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define PASSWORD "correct horse"
#define PATIENCE 20000 /* ms, for what should take a few */

static struct redis_testing *server;

#define call(r, arena, reply, ...) redis_call(r, arena, clock_after_ms(PATIENCE), reply, __VA_ARGS__)

static void ok(struct status st)
{
    if (st.code)
        fail_msg("%s: %s", code_name(st.code), st.msg);
}

static void expect_code(enum code code, struct status st)
{
    if (st.code != code)
        fail_msg("not %s but %s: %s", code_name(code), code_name(st.code), st.msg);
}

/* The number that a command answers; the pool's callers in threads, too. */
static struct status number_of(struct redis *r, int64_t *out, int64_t deadline, const char *verb, const char *key)
{
    struct redis_reply *reply = NULL;
    struct arena arena;

    arena_init(&arena, 4096);
    struct status st = redis_call(r, &arena, deadline, &reply, redis_s(verb), redis_s(key));
    if (!st.code && out)
        *out = reply->kind == REDIS_INT ? reply->number : atoll(reply->text);
    arena_fini(&arena);
    return st;
}

static struct status ping(struct redis *r, int64_t timeout_ms)
{
    struct redis_reply *reply;
    struct arena arena;

    arena_init(&arena, 4096);
    struct status st = redis_call(r, &arena, clock_after_ms(timeout_ms), &reply, redis_s("PING"));
    arena_fini(&arena);
    return st;
}

static void await_code(struct redis *r, enum code code)
{
    int64_t until = clock_after_ms(PATIENCE);
    struct status st;

    while ((st = ping(r, PATIENCE)).code != code && clock_now() < until)
        clock_sleep_ms(1);
    expect_code(code, st);
}

/* ---- commands ---- */

static void test_any_byte_goes_there_and_back(void **state)
{
    static const char value[] = "\0\r\n$3\r\n\xff";
    struct redis *r = redis_testing_open(server);
    struct redis_reply *reply;
    struct arena arena;

    (void)state;
    arena_init(&arena, 1 << 20);
    ok(call(r, &arena, &reply, redis_s("SET"), redis_b("k\0\n", 3), redis_b(value, sizeof value)));
    assert_string_equal(reply->text, "OK");
    ok(call(r, &arena, &reply, redis_s("GET"), redis_b("k\0\n", 3)));
    assert_int_equal(reply->n, sizeof value);
    assert_memory_equal(reply->text, value, sizeof value);
    ok(call(r, &arena, &reply, redis_s("SET"), redis_s("empty"), redis_b(NULL, 0)));
    ok(call(r, &arena, &reply, redis_s("GET"), redis_s("empty")));
    assert_int_equal(reply->kind, REDIS_TEXT);
    assert_int_equal(reply->n, 0);
    ok(call(r, &arena, &reply, redis_s("GET"), redis_s("none")));
    assert_int_equal(reply->kind, REDIS_NIL);
    ok(call(r, &arena, &reply, redis_s("INCRBY"), redis_s("n"), redis_i(INT64_MIN)));
    assert_int_equal(reply->kind, REDIS_INT);
    assert_true(reply->number == INT64_MIN);
    arena_fini(&arena);
    redis_close(r);
}

static void test_an_error_of_the_server_has_its_code(void **state)
{
    struct redis *r = redis_testing_open(server);
    struct redis_reply *reply;
    struct arena arena;

    (void)state;
    arena_init(&arena, 1 << 20);
    expect_code(ST_INTERNAL, call(r, &arena, &reply, redis_s("NONSENSE")));
    ok(call(r, &arena, &reply, redis_s("SET"), redis_s("text"), redis_s("a")));
    struct status st = call(r, &arena, &reply, redis_s("LPUSH"), redis_s("text"), redis_s("b"));
    expect_code(ST_INTERNAL, st);
    assert_non_null(strstr(st.msg, "WRONGTYPE"));
    ok(call(r, &arena, &reply, redis_s("CONFIG"), redis_s("SET"), redis_s("maxmemory"), redis_s("1")));
    expect_code(ST_EXHAUSTED, call(r, &arena, &reply, redis_s("SET"), redis_s("text"), redis_s("b")));
    ok(call(r, &arena, &reply, redis_s("CONFIG"), redis_s("SET"), redis_s("maxmemory"), redis_s("0")));
    arena_fini(&arena);
    redis_close(r);
}

static void test_a_pipeline_answers_in_order(void **state)
{
    struct redis *r = redis_testing_open(server);
    struct redis_arg set[] = {redis_s("SET"), redis_s("p"), redis_i(41)}, wrong[] = {redis_s("NONSENSE")},
                     incr[] = {redis_s("INCR"), redis_s("p")}, get[] = {redis_s("GET"), redis_s("p")};
    struct redis_commands commands[] = {{set, 3}, {wrong, 1}, {incr, 2}, {get, 2}};
    struct redis_reply *replies;
    struct arena arena;

    (void)state;
    arena_init(&arena, 1 << 20);
    ok(redis_pipeline(r, &arena, clock_after_ms(PATIENCE), &replies, commands, COUNT_OF(commands)));
    assert_string_equal(replies[0].text, "OK");
    expect_code(ST_INTERNAL, redis_reply_status(&replies[1]));
    assert_int_equal(replies[2].number, 42);
    assert_string_equal(replies[3].text, "42");
    arena_fini(&arena);
    redis_close(r);
}

/* Larger than every buffer of a socket, both ways at once. */
static void test_a_large_pipeline_passes(void **state)
{
    enum { N = 200, SIZE = 100000 };
    struct redis *r = redis_testing_open(server);
    struct redis_commands commands[N];
    struct redis_reply *replies;
    struct redis_arg echo[2];
    struct arena arena;
    char *value = xmalloc(SIZE);

    (void)state;
    memset(value, 'v', SIZE);
    arena_init(&arena, (size_t)N * (SIZE + 100));
    echo[0] = redis_s("ECHO");
    echo[1] = redis_b(value, SIZE);
    for (int i = 0; i < N; i++)
        commands[i] = (struct redis_commands){echo, 2};
    ok(redis_pipeline(r, &arena, clock_after_ms(PATIENCE), &replies, commands, N));
    for (int i = 0; i < N; i++)
        assert_memory_equal(replies[i].text, value, SIZE);
    arena_fini(&arena);
    free(value);
    redis_close(r);
}

static void test_a_script_is_known_again_after_a_flush(void **state)
{
    static const char text[] = "return {KEYS[1], ARGV[1] + 1, redis.call('INCR', KEYS[2])}";
    struct redis *r = redis_testing_open(server);
    struct redis_arg keys[] = {redis_s("a"), redis_s("runs")}, args[] = {redis_i(6)};
    struct redis_script script;
    struct redis_reply *reply;
    struct arena arena;

    (void)state;
    arena_init(&arena, 1 << 20);
    redis_script_init(&script, text, strlen(text));
    for (int64_t i = 1; i <= 4; i++) {
        ok(redis_eval(r, &arena, clock_after_ms(PATIENCE), &reply, &script, keys, 2, args, 1));
        assert_string_equal(reply->items[0].text, "a");
        assert_int_equal(reply->items[1].number, 7);
        assert_int_equal(reply->items[2].number, i); /* once each time, not twice */
        if (i == 2)
            ok(call(r, &arena, &reply, redis_s("SCRIPT"), redis_s("FLUSH")));
    }
    redis_script_init(&script, "return nonsense(", 16);
    expect_code(ST_INTERNAL, redis_eval(r, &arena, clock_after_ms(PATIENCE), &reply, &script, NULL, 0, NULL, 0));
    arena_fini(&arena);
    redis_close(r);
}

static void test_a_reply_over_the_limit_harms_nobody_else(void **state)
{
    struct redis *r = redis_testing_open(server);
    struct redis_reply *reply;
    struct arena arena;

    (void)state;
    arena_init(&arena, 8 << 20);
    ok(call(r, &arena, &reply, redis_s("SETRANGE"), redis_s("big"), redis_i(1 << 20), redis_s("x")));
    expect_code(ST_EXHAUSTED, call(r, &arena, &reply, redis_s("GET"), redis_s("big")));
    ok(call(r, &arena, &reply, redis_s("STRLEN"), redis_s("big")));
    assert_int_equal(reply->number, (1 << 20) + 1);
    ok(call(r, &arena, &reply, redis_s("GETRANGE"), redis_s("big"), redis_i(0), redis_i(1000000)));
    arena_fini(&arena);
    arena_init(&arena, 2048);
    expect_code(ST_EXHAUSTED, call(r, &arena, &reply, redis_s("GETRANGE"), redis_s("big"), redis_i(0), redis_i(4000)));
    arena_reset(&arena);
    ok(call(r, &arena, &reply, redis_s("GETRANGE"), redis_s("big"), redis_i(0), redis_i(1000)));
    arena_fini(&arena);
    redis_close(r);
}

static void test_commands_over_the_limit_are_not_sent(void **state)
{
    struct redis *r = redis_testing_open(server);
    struct redis_reply *reply;
    struct arena arena;
    char *large = xcalloc(1, 33 << 20);
    int64_t there = 1;

    (void)state;
    arena_init(&arena, 4096);
    expect_code(ST_EXHAUSTED, call(r, &arena, &reply, redis_s("SET"), redis_s("large"), redis_b(large, 33 << 20)));
    ok(number_of(r, &there, clock_after_ms(PATIENCE), "EXISTS", "large"));
    assert_int_equal(there, 0);
    arena_fini(&arena);
    free(large);
    redis_close(r);
}

/* ---- deadlines and the pool ---- */

static struct redis *open_with(int64_t connections, int64_t connect_timeout_ms)
{
    struct redis_config config = redis_testing_config(server);
    struct redis *r = NULL;

    config.connections = connections;
    config.connect_timeout_ms = connect_timeout_ms;
    ok(redis_open(&r, &config));
    return r;
}

static void test_a_deadline_ends_a_call_and_not_the_pool(void **state)
{
    struct redis *r = open_with(1, 2000);
    struct redis_reply *reply;
    struct arena arena;

    (void)state;
    arena_init(&arena, 4096);
    ok(redis_ready(r, clock_after_ms(PATIENCE)));
    expect_code(ST_DEADLINE,
                redis_call(r, &arena, clock_after_ms(50), &reply, redis_s("BLPOP"), redis_s("nothing"), redis_i(0)));
    ok(call(r, &arena, &reply, redis_s("ECHO"), redis_s("mine"))); /* and not the answer of the other */
    assert_string_equal(reply->text, "mine");
    expect_code(ST_DEADLINE,
                redis_call(r, &arena, clock_now() - 1, &reply, redis_s("SET"), redis_s("late"), redis_s("1")));
    ok(call(r, &arena, &reply, redis_s("EXISTS"), redis_s("late")));
    assert_int_equal(reply->number, 0);
    arena_fini(&arena);
    redis_close(r);
}

struct popper {
    struct redis *redis;
    struct status st;
    pthread_t thread;
};

static void *pop(void *arg)
{
    struct popper *p = arg;
    struct redis_reply *reply;
    struct arena arena;

    arena_init(&arena, 4096);
    p->st = call(p->redis, &arena, &reply, redis_s("BLPOP"), redis_s("jobs"), redis_i(0));
    arena_fini(&arena);
    return NULL;
}

static int64_t clients_blocked(struct redis *r)
{
    struct redis_reply *reply;
    struct arena arena;

    arena_init(&arena, 1 << 16);
    ok(call(r, &arena, &reply, redis_s("INFO"), redis_s("clients")));
    int64_t n = atoll(strstr(reply->text, "blocked_clients:") + strlen("blocked_clients:"));
    arena_fini(&arena);
    return n;
}

static void test_the_pool_is_bounded_and_a_wait_too(void **state)
{
    struct redis *small = open_with(3, 2000), *other = redis_testing_open(server);
    struct popper poppers[7]; /* 3 have a connection, 4 wait for one */
    int64_t n = -1;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(poppers); i++) {
        poppers[i] = (struct popper){.redis = small};
        pthread_create(&poppers[i].thread, NULL, pop, &poppers[i]);
    }
    while (clients_blocked(other) < 3)
        clock_sleep_ms(1);
    expect_code(ST_EXHAUSTED, ping(small, 50));
    assert_int_equal(clients_blocked(other), 3);
    for (size_t i = 0; i < COUNT_OF(poppers); i++) {
        struct redis_reply *reply;
        struct arena arena;

        arena_init(&arena, 4096);
        ok(call(other, &arena, &reply, redis_s("RPUSH"), redis_s("jobs"), redis_s("x")));
        arena_fini(&arena);
    }
    for (size_t i = 0; i < COUNT_OF(poppers); i++) {
        pthread_join(poppers[i].thread, NULL);
        ok(poppers[i].st);
    }
    ok(number_of(other, &n, clock_after_ms(PATIENCE), "LLEN", "jobs"));
    assert_int_equal(n, 0);
    redis_close(small);
    redis_close(other);
}

static void test_an_idle_connection_that_the_server_closed_is_found(void **state)
{
    struct redis *r = open_with(1, 2000), *other = redis_testing_open(server);
    struct redis_reply *reply;
    struct arena arena;

    (void)state;
    arena_init(&arena, 4096);
    for (int i = 0; i < 20; i++) {
        ok(ping(r, PATIENCE));
        ok(call(other, &arena, &reply, redis_s("CLIENT"), redis_s("KILL"), redis_s("TYPE"), redis_s("normal"),
                redis_s("SKIPME"), redis_s("yes")));
        assert_int_equal(reply->number, 1);
    }
    arena_fini(&arena);
    redis_close(r);
    redis_close(other);
}

/* ---- log-in ---- */

static void test_a_wrong_password_is_told_and_outlived(void **state)
{
    struct redis_config config = redis_testing_config(server);
    struct redis *right = redis_testing_open(server), *wrong = NULL;
    struct redis_reply *reply;
    struct arena arena;

    (void)state;
    arena_init(&arena, 4096);
    config.password = (char *)"battery staple";
    ok(redis_open(&wrong, &config));
    struct status st = redis_ready(wrong, clock_after_ms(PATIENCE));
    expect_code(ST_UNAVAILABLE, st);
    assert_non_null(strstr(st.msg, "WRONGPASS"));
    st = ping(wrong, PATIENCE);
    expect_code(ST_UNAVAILABLE, st);
    assert_non_null(strstr(st.msg, "WRONGPASS"));
    assert_null(strstr(st.msg, "battery"));
    ok(call(right, &arena, &reply, redis_s("CONFIG"), redis_s("SET"), redis_s("requirepass"),
            redis_s("battery staple")));
    await_code(wrong, ST_OK);
    ok(call(wrong, &arena, &reply, redis_s("CONFIG"), redis_s("SET"), redis_s("requirepass"), redis_s(PASSWORD)));
    redis_close(wrong);
    config.password = (char *)"";
    ok(redis_open(&wrong, &config));
    expect_code(ST_UNAVAILABLE, ping(wrong, PATIENCE));
    redis_close(wrong);
    arena_fini(&arena);
    redis_close(right);
}

static void test_a_user_may_what_its_list_says(void **state)
{
    struct redis_config config = redis_testing_config(server);
    struct redis *admin = redis_testing_open(server), *guest = NULL;
    struct redis_reply *reply;
    struct arena arena;

    (void)state;
    arena_init(&arena, 4096);
    ok(call(admin, &arena, &reply, redis_s("ACL"), redis_s("SETUSER"), redis_s("guest"), redis_s("on"),
            redis_s(">please"), redis_s("~g:*"), redis_s("+ping"), redis_s("+select"), redis_s("+get")));
    config.user = (char *)"guest";
    config.password = (char *)"please";
    config.database = 3;
    ok(redis_open(&guest, &config));
    ok(call(guest, &arena, &reply, redis_s("GET"), redis_s("g:1")));
    expect_code(ST_DENIED, call(guest, &arena, &reply, redis_s("GET"), redis_s("h:1")));
    expect_code(ST_DENIED, call(guest, &arena, &reply, redis_s("SET"), redis_s("g:1"), redis_s("x")));
    redis_close(guest);
    arena_fini(&arena);
    redis_close(admin);
}

static void test_databases_are_apart(void **state)
{
    struct redis_config config = redis_testing_config(server);
    struct redis *zero = redis_testing_open(server), *five = NULL;
    int64_t n = -1;

    (void)state;
    config.database = 5;
    ok(redis_open(&five, &config));
    ok(number_of(five, &n, clock_after_ms(PATIENCE), "INCR", "of-five"));
    ok(number_of(zero, &n, clock_after_ms(PATIENCE), "EXISTS", "of-five"));
    assert_int_equal(n, 0);
    redis_close(five);
    redis_close(zero);
}

static void test_an_address_is_checked(void **state)
{
    static const char *const wrong[] = {
        "",         "redis",   ":6379",   "redis:", "redis:0", "redis:65536", "redis:6379x", "redis: 6379",
        "::1:6379", "[]:6379", "redis:-1"};
    struct redis_config config = redis_testing_config(server);
    struct redis *r = NULL;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        config.address = (char *)wrong[i];
        expect_code(ST_INVALID, redis_open(&r, &config));
    }
    config.address = (char *)"[::1]:1"; /* nobody is there: that is no error of the address */
    ok(redis_open(&r, &config));
    expect_code(ST_UNAVAILABLE, redis_ready(r, clock_after_ms(PATIENCE)));
    redis_close(r);
    config.address = (char *)"no-such-host.invalid:6379";
    ok(redis_open(&r, &config));
    expect_code(ST_UNAVAILABLE, redis_ready(r, clock_after_ms(PATIENCE)));
    redis_close(r);
}

/* ---- away ---- */

static void test_while_it_is_away_calls_fail_at_once(void **state)
{
    struct redis *r = redis_testing_open(server);

    (void)state;
    redis_testing_kill(server);
    await_code(r, ST_UNAVAILABLE);
    expect_code(ST_UNAVAILABLE, redis_ready(r, clock_after_ms(PATIENCE)));
    int64_t since = clock_now();
    for (int i = 0; i < 10000; i++)
        expect_code(ST_UNAVAILABLE, ping(r, PATIENCE));
    assert_true(clock_seconds(since) < PATIENCE / 1000.0); /* one that waited would have taken all of it */
    redis_testing_restart(server);
    while (redis_ready(r, clock_after_ms(PATIENCE)).code) /* found by itself, nobody calls */
        clock_sleep_ms(1);
    ok(ping(r, PATIENCE));
    redis_close(r);
}

static void test_a_program_may_start_before_it(void **state)
{
    struct redis *r = NULL;

    (void)state;
    redis_testing_kill(server);
    r = open_with(4, 2000);
    expect_code(ST_UNAVAILABLE, ping(r, PATIENCE));
    redis_testing_restart(server);
    await_code(r, ST_OK);
    redis_close(r);
}

static void test_a_server_that_hangs_is_away(void **state)
{
    struct redis *r = open_with(4, 200);

    (void)state;
    ok(ping(r, PATIENCE));
    redis_testing_freeze(server);
    expect_code(ST_DEADLINE, ping(r, 50));
    await_code(r, ST_UNAVAILABLE); /* and not the deadline, which is 20 s away */
    redis_testing_thaw(server);
    await_code(r, ST_OK);
    redis_close(r);
}

struct counter {
    struct redis *redis;
    atomic_bool *stop;
    int64_t acked, unknown;
    atomic_int phase_acks; /* since the main thread set it to 0 */
    pthread_t thread;
};

static void *count_on(void *arg)
{
    struct counter *c = arg;

    while (!atomic_load(c->stop)) {
        struct status st = number_of(c->redis, NULL, clock_after_ms(PATIENCE), "INCR", "books");

        c->acked += !st.code;
        c->unknown += st.code == ST_UNAVAILABLE && strstr(st.msg, "broke");
        if (!st.code)
            atomic_fetch_add(&c->phase_acks, 1);
        else if (st.code != ST_UNAVAILABLE)
            break; /* which await_progress() will miss */
        else
            clock_sleep_ms(1);
    }
    return NULL;
}

static void await_progress(struct counter *counters, size_t n)
{
    int64_t until = clock_after_ms(3 * PATIENCE);

    for (size_t i = 0; i < n; i++)
        atomic_store(&counters[i].phase_acks, 0);
    for (size_t i = 0; i < n; i++)
        while (atomic_load(&counters[i].phase_acks) < 3 && clock_now() < until)
            clock_sleep_ms(1);
    assert_true(clock_now() < until);
}

static void test_kills_under_load_lose_nothing_that_was_acknowledged(void **state)
{
    struct redis_testing *durable = *state;
    struct redis *r = redis_testing_open(durable);
    struct counter counters[8];
    atomic_bool stop = false;
    int64_t acked = 0, unknown = 0, books = 0;

    for (size_t i = 0; i < COUNT_OF(counters); i++) {
        counters[i] = (struct counter){.redis = r, .stop = &stop};
        pthread_create(&counters[i].thread, NULL, count_on, &counters[i]);
    }
    for (int i = 0; i < 3; i++) {
        await_progress(counters, COUNT_OF(counters));
        redis_testing_kill(durable);
        redis_testing_restart(durable);
    }
    await_progress(counters, COUNT_OF(counters));
    atomic_store(&stop, true);
    for (size_t i = 0; i < COUNT_OF(counters); i++) {
        pthread_join(counters[i].thread, NULL);
        acked += counters[i].acked;
        unknown += counters[i].unknown;
    }
    ok(number_of(r, &books, clock_after_ms(PATIENCE), "GET", "books"));
    if (books < acked || books > acked + unknown)
        fail_msg("%lld counted, %lld acknowledged, %lld unknown", (long long)books, (long long)acked,
                 (long long)unknown);
    redis_close(r);
}

int main(void)
{
    struct redis_testing *durable = redis_testing_start(NULL, true);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_byte_goes_there_and_back),
        cmocka_unit_test(test_an_error_of_the_server_has_its_code),
        cmocka_unit_test(test_a_pipeline_answers_in_order),
        cmocka_unit_test(test_a_large_pipeline_passes),
        cmocka_unit_test(test_a_script_is_known_again_after_a_flush),
        cmocka_unit_test(test_a_reply_over_the_limit_harms_nobody_else),
        cmocka_unit_test(test_commands_over_the_limit_are_not_sent),
        cmocka_unit_test(test_a_deadline_ends_a_call_and_not_the_pool),
        cmocka_unit_test(test_the_pool_is_bounded_and_a_wait_too),
        cmocka_unit_test(test_an_idle_connection_that_the_server_closed_is_found),
        cmocka_unit_test(test_a_wrong_password_is_told_and_outlived),
        cmocka_unit_test(test_a_user_may_what_its_list_says),
        cmocka_unit_test(test_databases_are_apart),
        cmocka_unit_test(test_an_address_is_checked),
        cmocka_unit_test(test_while_it_is_away_calls_fail_at_once),
        cmocka_unit_test(test_a_program_may_start_before_it),
        cmocka_unit_test(test_a_server_that_hangs_is_away),
        cmocka_unit_test_prestate(test_kills_under_load_lose_nothing_that_was_acknowledged, durable),
    };

    server = redis_testing_start(PASSWORD, false);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    redis_testing_stop(server);
    redis_testing_stop(durable);
    return failed;
}
