/* canary_test.c - a worse candidate is told from an equal one, on times and failures drawn at random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "canary.h"

#include <math.h>
#include <string.h>

/* What an arm's calls are like. */
struct kind {
    double failures;        /* share */
    double median_s, sigma; /* of a log-normal time */
    double stalls;          /* share that takes 50 ms more */
};

static const struct kind usual = {.failures = 0.001, .median_s = 0.0005, .sigma = 0.4, .stalls = 0.01};

static void observe(struct canary *c, enum canary_arm arm, struct rng *rng, const struct kind *k, int64_t now)
{
    double seconds = k->median_s * exp(k->sigma * rng_normal(rng)) + (rng_uniform(rng) < k->stalls ? 0.05 : 0);

    canary_observe(c, arm, rng_uniform(rng) < k->failures, seconds, now);
}

/* n calls at 100 a second, a tenth on the candidate, judged after each of those. Returns how many of the candidate's
 * calls it took until it was found worse; 0: it never was. */
static int run(uint64_t seed, int n, const struct kind *production, const struct kind *candidate,
               struct canary_report *report)
{
    struct canary *c = canary_new();
    struct rng rng;
    int n_candidate = 0, worse_after = 0;

    rng_init(&rng, seed);
    for (int i = 0; i < n && !worse_after; i++) {
        int64_t now = CLOCK_SECOND + i * (CLOCK_SECOND / 100);
        bool routed = rng_uniform(&rng) < 0.1;
        observe(c, routed ? CANARY_CANDIDATE : CANARY_PRODUCTION, &rng, routed ? candidate : production, now);
        if (!routed)
            continue;
        n_candidate++;
        *report = canary_judge(c);
        if (report->worse)
            worse_after = n_candidate;
    }
    canary_free(c);
    return worse_after;
}

static void test_an_equal_candidate_stays(void **state)
{
    (void)state;
    struct canary_report report;

    for (uint64_t seed = 1; seed <= 20; seed++) { /* an hour and a half of judgements */
        if (run(seed, 30000, &usual, &usual, &report))
            fail_msg("seed %d: %s", (int)seed, report.why);
        assert_false(report.worse);
        assert_string_equal(report.why, "");
    }
}

static void test_a_failing_candidate_goes_at_once(void **state)
{
    (void)state;
    const struct kind failing = {.failures = 1, .median_s = 0.0005}, tenth = {.failures = 0.1, .median_s = 0.0005};
    struct canary_report report;

    assert_int_equal(run(1, 100000, &usual, &failing, &report), CANARY_MIN_CALLS);
    assert_non_null(strstr(report.why, "fails"));
    assert_int_equal(report.arms[CANARY_CANDIDATE].failures, CANARY_MIN_CALLS);
    int after = run(2, 100000, &usual, &tenth, &report);
    assert_in_range(after, CANARY_MIN_CALLS, 300);
}

static void test_failures_count_without_production_beside_it(void **state)
{
    (void)state;
    struct canary *c = canary_new();

    for (int i = 1; i <= CANARY_MIN_CALLS; i++) {
        assert_false(canary_judge(c).worse);
        canary_observe(c, CANARY_CANDIDATE, true, 0.001, CLOCK_SECOND);
    }
    assert_true(canary_judge(c).worse);
    canary_reset(c, CANARY_CANDIDATE);
    assert_false(canary_judge(c).worse);
    assert_int_equal(canary_judge(c).arms[CANARY_CANDIDATE].calls, 0);
    canary_free(c);
}

static void test_a_slower_candidate_goes(void **state)
{
    (void)state;
    struct kind half_slower = usual, stalling = usual;
    struct canary_report report;

    half_slower.median_s *= 2;
    int after = run(3, 100000, &usual, &half_slower, &report);
    assert_in_range(after, CANARY_MIN_TIMED, 400);
    assert_true(report.arms[CANARY_CANDIDATE].p95_s > 1.5 * report.arms[CANARY_PRODUCTION].p95_s);
    stalling.stalls = 0.2;
    assert_in_range(run(4, 100000, &usual, &stalling, &report), CANARY_MIN_TIMED, 400);
}

static void test_a_little_slower_stays(void **state)
{
    (void)state;
    struct kind slower = usual;
    struct canary_report report;

    slower.median_s *= 1.05;
    for (uint64_t seed = 1; seed <= 5; seed++)
        assert_int_equal(run(seed, 30000, &usual, &slower, &report), 0);
}

static void test_the_window_moves_on_and_waits_for_rare_calls(void **state)
{
    (void)state;
    struct canary *c = canary_new();
    int64_t now = CLOCK_SECOND;

    for (int i = 0; i < 19; i++, now += 100 * CLOCK_SECOND) { /* rare: all of them are still there */
        canary_observe(c, CANARY_CANDIDATE, true, 0.001, now);
        canary_observe(c, CANARY_PRODUCTION, false, 0.001, now);
        assert_int_equal(canary_judge(c).arms[CANARY_CANDIDATE].calls, i + 1);
    }
    assert_false(canary_judge(c).worse);
    canary_observe(c, CANARY_CANDIDATE, true, 0.001, now);
    assert_true(canary_judge(c).worse);
    for (int i = 0; i < 10000; i++, now += CLOCK_SECOND / 50) /* frequent: the old ones have gone after a while */
        canary_observe(c, CANARY_CANDIDATE, false, 0.001, now);
    const struct canary_report report = canary_judge(c);
    assert_int_equal(report.arms[CANARY_CANDIDATE].failures, 0);
    assert_in_range(report.arms[CANARY_CANDIDATE].calls, 2400, 3100); /* 50 to 60 s of them */
    assert_true(fabs(report.arms[CANARY_CANDIDATE].mean_s - 0.001) < 1e-6);
    assert_true(fabs(report.arms[CANARY_CANDIDATE].p95_s - 0.001) < 1e-4);
    canary_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_equal_candidate_stays),
        cmocka_unit_test(test_a_failing_candidate_goes_at_once),
        cmocka_unit_test(test_failures_count_without_production_beside_it),
        cmocka_unit_test(test_a_slower_candidate_goes),
        cmocka_unit_test(test_a_little_slower_stays),
        cmocka_unit_test(test_the_window_moves_on_and_waits_for_rare_calls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
