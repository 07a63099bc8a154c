/* histogram_test.c - against the sorted values themselves. */
#include "histogram.h"

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#define N 20000

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void test_quantiles_are_those_of_the_sorted_values(void **state)
{
    static const double q[] = {0, 0.001, 0.5, 0.9, 0.95, 0.99, 0.9999, 1};
    struct histogram *h = xcalloc(1, sizeof *h);
    int64_t *values = xmalloc(N * sizeof *values), sum = 0;
    struct rng rng;

    (void)state;
    rng_init(&rng, 3);
    for (int i = 0; i < N; i++) {
        values[i] = (int64_t)exp(20 * rng_uniform(&rng)); /* 1 us to 8 minutes */
        histogram_add(h, values[i]);
        sum += values[i];
    }
    qsort(values, N, sizeof *values, compare);
    for (size_t i = 0; i < COUNT_OF(q); i++) {
        int rank = (int)ceil(q[i] * N);
        int64_t exact = values[rank ? rank - 1 : 0], told = histogram_quantile(h, q[i]);

        assert_true(told >= exact && (double)(told - exact) <= (double)exact / 128);
    }
    assert_int_equal(h->min_us, values[0]);
    assert_int_equal(h->max_us, values[N - 1]);
    assert_true(fabs(histogram_mean(h) - (double)sum / N) < 1e-6);
    free(values);
    free(h);
}

static void test_the_ends_of_the_range_fit(void **state)
{
    struct histogram *h = xcalloc(1, sizeof *h);

    (void)state;
    assert_int_equal(histogram_quantile(h, 0.5), 0);
    histogram_add(h, -5);
    assert_int_equal(histogram_quantile(h, 1), 0);
    histogram_add(h, 255);
    histogram_add(h, 256);
    histogram_add(h, INT64_MAX);
    assert_int_equal(histogram_quantile(h, 0.5), 255);
    assert_int_equal(histogram_quantile(h, 1), HISTOGRAM_MAX_US);
    assert_int_equal(h->n, 4);
    free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles_are_those_of_the_sorted_values),
        cmocka_unit_test(test_the_ends_of_the_range_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
