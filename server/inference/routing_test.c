/* routing_test.c - the candidate gets its share of the calls and no more, and none once it was found worse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "metrics/metrics.h"
#include "served.h"
#include "testing.h"

#include <inttypes.h>

static struct served *s;

static int setup(void **state)
{
    testing_setup(state);
    for (uint64_t v = 1; v <= 3; v++)
        testing_publish("sentiment", "sentiment", "negative,positive", 2, v);
    testing_promote("sentiment", 1);
    CHECK_OK(store_set_pointer(testing_dir, "sentiment", STORE_CANDIDATE, 2));
    served_start(&s, &(struct served_config){.dir = testing_dir, .poll_ms = 10});
    return 0;
}

static int teardown(void **state)
{
    served_stop(s);
    return testing_teardown(state);
}

static struct served_model *routed(const char *key)
{
    const struct served_query q = {.task = "sentiment", .key = key};
    struct served_model *m;

    CHECK_OK(served_acquire(s, &q, &m));
    return m;
}

static uint64_t routed_version(const char *key)
{
    struct served_model *m = routed(key);
    uint64_t version = m->version;

    served_release(m);
    return version;
}

static struct served_state state_of(const char *version)
{
    const struct served_query q = {.task = "sentiment", .version = version};
    struct served_model *m;

    CHECK_OK(served_acquire(s, &q, &m));
    const struct served_state now = served_state(m);
    served_release(m);
    return now;
}

/* Sets the share and waits until it is in force. */
static void set_canary(double percent)
{
    struct model_parameters p = model_parameters_default();
    int64_t end = clock_after_ms(20000);

    p.canary_percent = percent;
    CHECK_OK(store_set_parameters(testing_dir, "sentiment", &p));
    while (state_of("production").parameters.canary_percent != percent && clock_now() < end)
        clock_sleep_ms(1);
    assert_true(state_of("production").parameters.canary_percent == percent);
}

static int share(int n)
{
    int n_candidate = 0;

    for (int i = 0; i < n; i++)
        n_candidate += routed_version(NULL) == 2;
    return n_candidate;
}

static void test_the_candidate_gets_its_share(void **state)
{
    (void)state;
    assert_int_equal(share(1000), 0);
    set_canary(10);
    assert_in_range(share(20000), 2000 - 5 * 43, 2000 + 5 * 43); /* 5 standard deviations */
    set_canary(0.5);
    assert_in_range(share(20000), 100 - 50, 100 + 50);
    set_canary(100);
    assert_int_equal(share(1000), 1000);
    set_canary(0);
    assert_int_equal(share(1000), 0);
}

static void test_a_key_goes_the_same_way(void **state)
{
    (void)state;
    char key[32];
    int n_candidate = 0;

    set_canary(20);
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "request-%d", i);
        uint64_t version = routed_version(key);
        n_candidate += version == 2;
        assert_int_equal(routed_version(key), version);
    }
    assert_in_range(n_candidate, 1000 - 5 * 29, 1000 + 5 * 29);
}

static void test_calls_that_name_a_version_are_not_routed(void **state)
{
    (void)state;
    set_canary(100);
    const struct served_query q = {.task = "sentiment", .version = "production"};
    for (int i = 0; i < 100; i++) {
        struct served_model *m;
        CHECK_OK(served_acquire(s, &q, &m));
        assert_int_equal(m->version, 1);
        served_observe(m, &q, ST_INTERNAL, 1); /* nor counted */
        served_release(m);
    }
    assert_int_equal(state_of("production").canary.arms[CANARY_PRODUCTION].calls, 0);
}

/* Routed calls as a service makes them, until the candidate is rolled back or n of them were made; returns how many. */
static int call(int n, enum code on_candidate, double seconds_on_candidate)
{
    const struct served_query q = {.task = "sentiment"};
    struct rng rng;
    int i;

    rng_init(&rng, 5);
    for (i = 0; i < n && !state_of("candidate").rolled_back; i++) {
        struct served_model *m;
        CHECK_OK(served_acquire(s, &q, &m));
        double seconds = (0.9 + 0.2 * rng_uniform(&rng)) * (m->version == 1 ? 0.001 : seconds_on_candidate);
        served_observe(m, &q, m->version == 1 ? ST_OK : on_candidate, seconds);
        served_release(m);
    }
    return i;
}

static double rolled_back_metric(void)
{
    return series_value(metric_series(metric_gauge("bloginfer_canary_rolled_back", "", "task"), "sentiment"));
}

static void test_a_candidate_that_fails_is_rolled_back(void **state)
{
    (void)state;
    set_canary(10);
    assert_in_range(call(20000, ST_INTERNAL, 0.001), CANARY_MIN_CALLS, 1000);
    const struct served_state now = state_of("candidate");
    assert_true(now.rolled_back);
    assert_int_equal(now.canary.arms[CANARY_CANDIDATE].failures, CANARY_MIN_CALLS);
    assert_non_null(strstr(now.canary.why, "fails"));
    assert_true(rolled_back_metric() == 1);
    assert_int_equal(share(2000), 0);
    assert_false(state_of("production").rolled_back);

    CHECK_OK(store_set_pointer(testing_dir, "sentiment", STORE_CANDIDATE, 3)); /* another one gets its chance */
    int64_t end = clock_after_ms(20000);
    while (routed_version(NULL) != 3 && clock_now() < end)
        clock_sleep_ms(1);
    assert_false(state_of("candidate").rolled_back);
    assert_int_equal(state_of("candidate").canary.arms[CANARY_CANDIDATE].calls, 0);
    assert_true(rolled_back_metric() == 0);
}

static void test_a_slow_candidate_is_rolled_back_until_parameters_change(void **state)
{
    (void)state;
    set_canary(20);
    assert_in_range(call(20000, ST_OK, 0.002), CANARY_MIN_TIMED, 2000);
    assert_true(state_of("candidate").rolled_back);
    assert_int_equal(share(2000), 0);
    set_canary(30);
    assert_false(state_of("candidate").rolled_back);
    assert_true(share(2000) > 0);
}

static void test_an_equal_candidate_and_bad_requests_change_nothing(void **state)
{
    (void)state;
    set_canary(20);
    assert_int_equal(call(5000, ST_OK, 0.001), 5000);
    assert_int_equal(call(5000, ST_INVALID, 0.1), 5000);
    assert_int_equal(call(5000, ST_CANCELLED, 0.1), 5000);
    const struct served_state now = state_of("candidate");
    assert_in_range(now.canary.arms[CANARY_CANDIDATE].calls, 800, 1200);
    assert_int_equal(now.canary.arms[CANARY_CANDIDATE].failures, 0);
}

static void test_what_is_no_number_is_found(void **state)
{
    (void)state;
    struct served_model *m = routed(NULL);
    float probs[] = {0.5f, 0.5f, NAN, 1, 0, INFINITY};

    CHECK_OK(served_check(m, probs, 1));
    CHECK_CODE(ST_INTERNAL, served_check(m, probs, 2));
    CHECK_CODE(ST_INTERNAL, served_check(m, probs + 4, 1));
    served_release(m);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_candidate_gets_its_share),
        TEST(test_a_key_goes_the_same_way),
        TEST(test_calls_that_name_a_version_are_not_routed),
        TEST(test_a_candidate_that_fails_is_rolled_back),
        TEST(test_a_slow_candidate_is_rolled_back_until_parameters_change),
        TEST(test_an_equal_candidate_and_bad_requests_change_nothing),
        TEST(test_what_is_no_number_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
