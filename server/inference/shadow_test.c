/* shadow_test.c - the candidate is compared on its share of the texts, and calls do not wait for that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "metrics/metrics.h"
#include "served.h"
#include "testing.h"

static struct served *s;

static int setup(void **state)
{
    testing_setup(state);
    for (uint64_t v = 1; v <= 3; v++)
        testing_publish("sentiment", "sentiment", "negative,positive", 2, v);
    testing_promote("sentiment", 1);
    CHECK_OK(store_set_pointer(testing_dir, "sentiment", STORE_CANDIDATE, 3));
    return 0;
}

static int teardown(void **state)
{
    served_stop(s);
    return testing_teardown(state);
}

static void start(double percent, double threshold)
{
    struct model_parameters p = model_parameters_default();

    p.shadow_percent = percent;
    p.threshold = threshold;
    CHECK_OK(store_set_parameters(testing_dir, "sentiment", &p));
    served_start(&s, &(struct served_config){.dir = testing_dir, .poll_ms = 10});
}

/* A call of n texts as the service makes it. */
static void call(const char *version, size_t n)
{
    const struct served_query q = {.task = "sentiment", .version = version};
    float probs[2 * 40];
    char *texts[40];
    struct served_model *m;

    for (size_t i = 0; i < n; i++) {
        texts[i] = (char *)(i % 2 ? "一条很长的评论，一条很长的评论" : "短");
        probs[2 * i + 1] = testing_prob(1);
        probs[2 * i] = 1 - probs[2 * i + 1];
    }
    CHECK_OK(served_acquire(s, &q, &m));
    served_shadow(m, &q, texts, n, probs);
    served_release(m);
}

static struct served_comparison compared(void)
{
    struct served_model *m;

    CHECK_OK(served_acquire(s, &(struct served_query){.task = "sentiment", .version = "candidate"}, &m));
    const struct served_state now = served_state(m);
    served_release(m);
    return now.shadow;
}

/* Waits until so many texts were compared. */
static struct served_comparison await(uint64_t texts)
{
    int64_t end = clock_after_ms(20000);

    while (compared().texts < texts) {
        if (clock_now() > end)
            fail_msg("%d texts were compared", (int)compared().texts);
        clock_sleep_ms(1);
    }
    return compared();
}

static void test_answers_are_compared(void **state)
{
    (void)state;
    start(100, 0.5);
    call("", 1);
    call("", 40);
    const struct served_comparison c = await(41);
    assert_int_equal(c.texts, 41);
    assert_int_equal(c.agreed, 41); /* both are positive */
    assert_int_equal(c.failed, 0);
    assert_true(fabs(c.largest_difference - (double)(testing_prob(3) - testing_prob(1))) < 1e-4);
}

static void test_other_labels_are_counted(void **state)
{
    (void)state;
    start(100, 0.55); /* between the two */
    call("", 10);
    const struct served_comparison c = await(10);
    assert_int_equal(c.agreed, 0);
    assert_int_equal(c.failed, 0);
}

static void test_only_its_share_of_routed_calls(void **state)
{
    (void)state;
    start(25, 0.5);
    for (int i = 0; i < 4000; i++)
        call("", 1);
    for (int i = 0; i < 1000; i++)
        call("1", 1); /* asked for by number */
    struct metric *texts = metric_counter("bloginfer_shadow_texts_total", "", "task,result");
    int64_t end = clock_after_ms(20000);
    double n = 0;
    while (n < 1000 - 5 * 27 && clock_now() < end) {
        clock_sleep_ms(20);
        n = (double)compared().texts;
    }
    assert_in_range(compared().texts + (uint64_t)series_value(metric_series(texts, "sentiment", "dropped")),
                    1000 - 5 * 27, 1000 + 5 * 27);
}

static void test_too_much_is_dropped_and_a_stop_drops_the_rest(void **state)
{
    (void)state;
    struct metric *texts = metric_counter("bloginfer_shadow_texts_total", "", "task,result");
    struct series *dropped = metric_series(texts, "sentiment", "dropped");
    double before = series_value(dropped);
    const struct served_query q = {.task = "sentiment"};
    const float probs[] = {0.5f, 0.5f};
    char *large = xmalloc(1 << 20);
    struct served_model *m;

    memset(large, 'x', (1 << 20) - 1);
    large[(1 << 20) - 1] = '\0';
    start(100, 0.5);
    CHECK_OK(served_acquire(s, &q, &m));
    int64_t begin = clock_now();
    for (int i = 0; i < 100; i++)
        served_shadow(m, &q, &large, 1, probs);
    assert_true(clock_seconds(begin) < 10); /* and none of them was waited for */
    assert_true(series_value(dropped) > before);
    served_release(m);
    free(large);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_answers_are_compared),
        TEST(test_other_labels_are_counted),
        TEST(test_only_its_share_of_routed_calls),
        TEST(test_too_much_is_dropped_and_a_stop_drops_the_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
