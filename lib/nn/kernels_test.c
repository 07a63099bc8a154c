/* kernels_test.c - every variant that this CPU can run, against libm and plain loops. */
#include "nn/kernels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const isas[] = {"portable", "avx2", "avx512"};

/* The next variant from *i on, or NULL. */
static const struct nn_kernels *next_variant(size_t *i)
{
    const struct nn_kernels *k = NULL;

    while (*i < COUNT_OF(isas) && !(k = nn_kernels_find(isas[(*i)++])))
        ;
    return k;
}

/* Error in units of the last place of the exact value. */
static double ulp(float value, double exact)
{
    float f = fabsf((float)exact);

    return fabs((double)value - exact) / ((double)nextafterf(f, INFINITY) - (double)f);
}

static void check_activation(void (*kernel)(float *, size_t), double (*exact)(double), double limit, double scale)
{
    enum { N = 4099 };
    float x[N], y[N];

    for (size_t i = 0; i < N; i++)
        x[i] = y[i] = (float)(scale * ((double)i / (N - 1) * 2 - 1));
    kernel(y, N);
    for (size_t i = 0; i < N; i++) {
        if (ulp(y[i], exact((double)x[i])) > limit)
            fail_msg("at %.9g: %.9g instead of %.9g", (double)x[i], (double)y[i], exact((double)x[i]));
    }
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static void test_activations_against_libm(void **state)
{
    static const double scales[] = {1e-6, 1e-3, 0.1, 1, 8, 20, 75};
    const struct nn_kernels *k;

    (void)state;
    for (size_t i = 0; (k = next_variant(&i));) {
        for (size_t s = 0; s < COUNT_OF(scales); s++) {
            check_activation(k->sigmoid, sigmoid, 4, scales[s]);
            check_activation(k->tanh, tanh, 4, scales[s]);
        }
    }
}

static void test_activations_far_out(void **state)
{
    const struct nn_kernels *k;

    (void)state;
    for (size_t i = 0; (k = next_variant(&i));) {
        float s[] = {INFINITY, -INFINITY, 1e30f, -1e30f, 0, NAN}, t[6];
        memcpy(t, s, sizeof t);
        k->sigmoid(s, 6);
        k->tanh(t, 6);
        assert_true(s[0] == 1 && s[1] < 1e-34f && s[1] >= 0 && s[2] == 1 && s[3] < 1e-34f && s[4] == 0.5f);
        assert_true(t[0] == 1 && t[1] == -1 && t[2] == 1 && t[3] == -1 && t[4] == 0);
        assert_true(isnan(s[5]) && isnan(t[5])); /* must show in the loss */
    }
}

/* Every shape of tile: rows left over, columns left over. */
static void test_matmul_against_plain_loops(void **state)
{
    enum { M = 17, N = 71, K = 13 };
    const struct nn_kernels *k;
    float a[M * K], b[K * N], transposed[N * K], c[M * (N + 1)];
    float *packed = xaligned(nn_packed_size(K, N), sizeof *packed);
    struct rng rng;

    (void)state;
    rng_init(&rng, 1);
    for (size_t i = 0; i < COUNT_OF(a); i++)
        a[i] = (float)rng_normal(&rng);
    for (size_t i = 0; i < COUNT_OF(b); i++)
        transposed[i % N * K + i / N] = b[i] = (float)rng_normal(&rng);
    for (size_t i = 0; (k = next_variant(&i));) {
        for (size_t m = 1; m <= M; m++) {
            for (size_t n = 1; n <= N; n += 5) {
                if (n % 2)
                    k->matmul->pack(packed, b, N, 1, K, n);
                else
                    k->matmul->pack(packed, transposed, 1, K, K, n);
                for (size_t j = 0; j < COUNT_OF(c); j++)
                    c[j] = 77;
                k->matmul->multiply(c, N + 1, a, K, packed, m, n, K);
                for (size_t j = 0; j < COUNT_OF(c); j++) {
                    size_t row = j / (N + 1), column = j % (N + 1);
                    double sum = 0;
                    for (size_t l = 0; l < K && column < n; l++)
                        sum += (double)a[row * K + l] * (double)b[l * N + column];
                    assert_true(fabs((double)c[j] - (row < m && column < n ? sum : 77)) < 1e-5);
                }
            }
        }
    }
    free(packed);
}

static void test_dropout_is_the_same_everywhere(void **state)
{
    enum { N = 1003 };
    const struct nn_kernels *k;
    float from[N], first[N], to[N];
    size_t kept = 0;

    (void)state;
    for (size_t i = 0; i < N; i++)
        from[i] = (float)(i + 1);
    nn_kernels_portable.dropout(first, from, N, 12345, 1u << 30, 2);
    for (size_t i = 0; i < N; i++) {
        assert_true(first[i] == 0 || first[i] == 2 * from[i]);
        kept += first[i] != 0;
    }
    assert_true(kept > N * 70 / 100 && kept < N * 80 / 100); /* a quarter of 2^32 goes */
    for (size_t i = 0; (k = next_variant(&i));) {
        k->dropout(to, from, N, 12345, 1u << 30, 2);
        assert_memory_equal(to, first, sizeof to);
        memset(to, 0, sizeof to);
        k->dropout_add(to, from, N, 12345, 1u << 30, 2);
        assert_memory_equal(to, first, sizeof to);
    }
}

static void test_sum_of_squares(void **state)
{
    const struct nn_kernels *k;
    float x[37];
    double exact = 0;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(x); i++) {
        x[i] = 1e3f / (float)(i + 1);
        exact += (double)x[i] * (double)x[i];
    }
    for (size_t i = 0; (k = next_variant(&i));)
        assert_true(fabs(k->sum_squares(x, COUNT_OF(x)) / exact - 1) < 1e-12);
}

static void test_the_chosen_variant(void **state)
{
    const char *forced = getenv("BLOGINFER_NN_ISA");

    (void)state;
    assert_non_null(nn_kernels_find(nn_kernel_isa()));
    assert_null(nn_kernels_find("mmx"));
    if (forced && nn_kernels_find(forced))
        assert_string_equal(nn_kernel_isa(), forced);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations_against_libm),
        cmocka_unit_test(test_activations_far_out),
        cmocka_unit_test(test_matmul_against_plain_loops),
        cmocka_unit_test(test_dropout_is_the_same_everywhere),
        cmocka_unit_test(test_sum_of_squares),
        cmocka_unit_test(test_the_chosen_variant),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
