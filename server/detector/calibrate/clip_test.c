/* clip_test.c - the ends that are chosen, on distributions whose answer is known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "clip.h"

#include <cmocka.h>

#define N 1000000

static struct clip c;
static float values[N];

static void count(void)
{
    c = (struct clip){.min = values[0], .max = values[0]};
    for (size_t i = 0; i < N; i++) {
        c.min = values[i] < c.min ? values[i] : c.min;
        c.max = values[i] > c.max ? values[i] : c.max;
    }
    clip_count(&c, values, N);
}

static void test_even_values_are_not_cut(void **state)
{
    float low, high;
    (void)state;
    for (size_t i = 0; i < N; i++)
        values[i] = (float)i / N * 6 - 1;
    count();
    clip_choose(&c, &low, &high);
    assert_true(low < -0.95f && high > 4.9f);
    assert_true(low >= c.min && high <= c.max);
}

static void test_a_lone_peak_is_cut(void **state)
{
    struct rng rng;
    float low, high;
    (void)state;
    rng_init(&rng, 1);
    for (size_t i = 0; i < N; i++)
        values[i] = (float)rng_normal(&rng);
    values[5] = 20;
    count();
    clip_choose(&c, &low, &high);
    assert_true(high > 3 && high < 10);
    assert_true(low < -2.5f && low >= c.min);
}

static void test_a_constant_is_its_own_range(void **state)
{
    float low, high;
    (void)state;
    for (size_t i = 0; i < N; i++)
        values[i] = 0.5f;
    count();
    clip_choose(&c, &low, &high);
    assert_true(low == 0.5f && high == 0.5f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_even_values_are_not_cut),
        cmocka_unit_test(test_a_lone_peak_is_cut),
        cmocka_unit_test(test_a_constant_is_its_own_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
