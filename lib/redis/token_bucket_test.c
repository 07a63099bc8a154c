/* token_bucket_test.c - exactly as many as are allowed, whoever asks, by the server's clock. */
#include "redis/testing.h"
#include "redis/token_bucket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE 20000
#define HOUR_MS  3600000
#define THREADS  8

static struct redis_testing *server;
static struct redis *redis;

static void ok(struct status st)
{
    if (st.code)
        fail_msg("%s: %s", code_name(st.code), st.msg);
}

static int64_t take(const struct token_bucket *b, const char *key, int64_t cost)
{
    struct token_take t = {b, key, strlen(key), cost};
    int64_t ms = -1;

    ok(token_bucket_take(redis, clock_after_ms(PATIENCE), &t, 1, &ms));
    return ms;
}

/* The number or text of a command's answer, as a number. */
static int64_t ask(const char *verb, const char *key, const char *value)
{
    struct redis_arg args[] = {redis_s(verb), redis_s(key), redis_s(value ? value : "")};
    struct redis_reply *reply;
    struct arena arena;

    arena_init(&arena, 4096);
    ok(redis_command(redis, &arena, clock_after_ms(PATIENCE), &reply, args, value ? 3 : 2));
    int64_t n = reply->kind == REDIS_INT ? reply->number : reply->kind == REDIS_TEXT ? atoll(reply->text) : -1;
    arena_fini(&arena);
    return n;
}

static int64_t server_us(void)
{
    struct redis_reply *reply;
    struct arena arena;

    arena_init(&arena, 4096);
    ok(redis_call(redis, &arena, clock_after_ms(PATIENCE), &reply, redis_s("TIME")));
    int64_t us = atoll(reply->items[0].text) * 1000000 + atoll(reply->items[1].text);
    arena_fini(&arena);
    return us;
}

static void test_a_full_bucket_gives_its_burst_and_no_more(void **state)
{
    struct token_bucket hourly = {"hourly", 1 / 3600.0, 5};

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_int_equal(take(&hourly, "ann", 1), 0);
    int64_t ms = take(&hourly, "ann", 1);
    assert_in_range(ms, HOUR_MS - PATIENCE, HOUR_MS);
    assert_in_range(take(&hourly, "ann", 3), 3 * HOUR_MS - PATIENCE, 3 * HOUR_MS); /* to be refused costs nothing */
    assert_int_equal(take(&hourly, "bob", 1), 0);
    struct token_bucket other = {"other", 1 / 3600.0, 5};
    assert_int_equal(take(&other, "ann", 1), 0);
}

static void test_a_cost_takes_as_many(void **state)
{
    struct token_bucket hourly = {"costs", 1 / 3600.0, 5};

    (void)state;
    assert_int_equal(take(&hourly, "ann", 4), 0);
    assert_true(take(&hourly, "ann", 2) > 0);
    assert_int_equal(take(&hourly, "ann", 1), 0);
    assert_true(take(&hourly, "ann", 1) > 0);
}

static void test_it_refills_at_its_rate_and_then_is_forgotten(void **state)
{
    struct token_bucket quick = {"quick", 20, 2}; /* 50 ms for a token */

    (void)state;
    assert_int_equal(take(&quick, "ann", 2), 0);
    int64_t since = server_us(), ms = take(&quick, "ann", 1);
    assert_in_range(ms, 0, 50);
    while (take(&quick, "ann", 1))
        clock_sleep_ms(1);
    assert_true(server_us() - since >= (ms - 1) * 1000); /* not before it was due */
    assert_in_range(ask("PTTL", "bucket:quick:ann", NULL) + 2, 0, 102);
    while (ask("EXISTS", "bucket:quick:ann", NULL))
        clock_sleep_ms(1);
}

static void test_all_buckets_or_none(void **state)
{
    struct token_bucket user = {"user", 1 / 3600.0, 2}, net = {"net", 1 / 3600.0, 3};
    struct token_take both[] = {{&user, "ann", 3, 1}, {&net, "10.0.0", 6, 1}};
    struct token_take bobs[] = {{&user, "bob", 3, 1}, {&net, "10.0.0", 6, 1}};
    int64_t ms = -1;

    (void)state;
    for (int i = 0; i < 4; i++) {
        ok(token_bucket_take(redis, clock_after_ms(PATIENCE), both, 2, &ms));
        assert_int_equal(ms > 0, i >= 2);
    }
    ok(token_bucket_take(redis, clock_after_ms(PATIENCE), bobs, 2, &ms));
    assert_int_equal(ms, 0); /* ann was refused twice, which took nothing from the network */
    ok(token_bucket_take(redis, clock_after_ms(PATIENCE), bobs, 2, &ms));
    assert_true(ms > 0);
    assert_int_equal(take(&user, "bob", 1), 0);
}

static void test_a_clock_that_was_set_back_locks_nobody_out(void **state)
{
    struct token_bucket hourly = {"jump", 1 / 3600.0, 3};

    (void)state;
    ask("SET", "bucket:jump:ann", "9000000000000000"); /* the year 2255 */
    assert_in_range(take(&hourly, "ann", 1), 1, HOUR_MS);
    ask("SET", "bucket:jump:ann", "nonsense");
    assert_int_equal(take(&hourly, "ann", 3), 0);
}

struct taker {
    const struct token_bucket *bucket;
    atomic_int *allowed;
    int tries, until; /* as often, or until so many were allowed in all */
    pthread_t thread;
};

static void *take_often(void *arg)
{
    struct taker *t = arg;
    struct token_take one = {t->bucket, "all", 3, 1};

    for (int i = 0; i < t->tries && atomic_load(t->allowed) < t->until; i++) {
        int64_t ms = -1;

        if (token_bucket_take(redis, clock_after_ms(PATIENCE), &one, 1, &ms).code)
            return "failed";
        if (!ms)
            atomic_fetch_add(t->allowed, 1);
    }
    return NULL;
}

static int take_together(const struct token_bucket *b, int tries, int until)
{
    atomic_int allowed = 0;
    struct taker takers[THREADS];

    for (int i = 0; i < THREADS; i++) {
        takers[i] = (struct taker){b, &allowed, tries, until, 0};
        pthread_create(&takers[i].thread, NULL, take_often, &takers[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        void *failed;

        pthread_join(takers[i].thread, &failed);
        assert_null(failed);
    }
    return atomic_load(&allowed);
}

static void test_exact_under_eight_threads(void **state)
{
    struct token_bucket hourly = {"together", 1 / 3600.0, 100};

    (void)state;
    assert_int_equal(take_together(&hourly, 100, INT32_MAX), 100);
    assert_true(take(&hourly, "all", 1) > 0);
}

static void test_the_rate_holds_under_eight_threads(void **state)
{
    struct token_bucket quick = {"rate", 500, 10};
    int64_t since = server_us();
    int allowed = take_together(&quick, INT32_MAX, 150);
    double seconds = (double)(server_us() - since) / 1e6;

    (void)state;
    assert_true(allowed >= 150);
    assert_true(allowed <= 10 + 500 * seconds + 1);
}

static void test_numbers_out_of_range_are_refused(void **state)
{
    static const struct {
        double rate;
        int64_t burst, cost;
    } wrong[] = {{0, 1, 1}, {-1, 1, 1},   {1, 0, 1},         {1, 5, 6},
                 {1, 5, 0}, {1e-9, 1, 1}, {0.0 / 0.0, 1, 1}, {1, INT64_MAX, 1}};
    int64_t ms;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct token_bucket b = {"wrong", wrong[i].rate, wrong[i].burst};
        struct token_take t = {&b, "x", 1, wrong[i].cost};

        assert_int_equal(token_bucket_take(redis, clock_after_ms(PATIENCE), &t, 1, &ms).code, ST_INVALID);
    }
}

static void test_it_outlives_a_restart(void **state)
{
    struct token_bucket hourly = {"restart", 1 / 3600.0, 1};
    struct token_take t = {&hourly, "\0", 1, 1};
    int64_t ms = -1;

    (void)state;
    ok(token_bucket_take(redis, clock_after_ms(PATIENCE), &t, 1, &ms));
    redis_testing_kill(server);
    while (token_bucket_take(redis, clock_after_ms(PATIENCE), &t, 1, &ms).code != ST_UNAVAILABLE)
        clock_sleep_ms(1);
    redis_testing_restart(server);
    while (redis_ready(redis, clock_after_ms(PATIENCE)).code)
        clock_sleep_ms(1);
    ok(token_bucket_take(redis, clock_after_ms(PATIENCE), &t, 1, &ms)); /* its script is unknown there now */
    assert_int_equal(ms, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_full_bucket_gives_its_burst_and_no_more),
        cmocka_unit_test(test_a_cost_takes_as_many),
        cmocka_unit_test(test_it_refills_at_its_rate_and_then_is_forgotten),
        cmocka_unit_test(test_all_buckets_or_none),
        cmocka_unit_test(test_a_clock_that_was_set_back_locks_nobody_out),
        cmocka_unit_test(test_exact_under_eight_threads),
        cmocka_unit_test(test_the_rate_holds_under_eight_threads),
        cmocka_unit_test(test_numbers_out_of_range_are_refused),
        cmocka_unit_test(test_it_outlives_a_restart),
    };

    server = redis_testing_start(NULL, false);
    redis = redis_testing_open(server);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    redis_close(redis);
    redis_testing_stop(server);
    return failed;
}
