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

static const enum isa isas[] = {ISA_PORTABLE, ISA_AVX2, ISA_AVX512};

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

enum { UNITS = 4099 };

/* One step of one row of UNITS units from c = 0: the four gates of a as the cell activates them, and c and h. */
static void run_cell(const struct nn_kernels *k, float *gates, float *c, float *h)
{
    static const float zeros[4 * UNITS];
    static float tc[UNITS], pool[UNITS];
    static int32_t step_of_max[UNITS];
    const struct nn_cell s = {.n = 1,
                              .hidden = UNITS,
                              .gates = gates,
                              .b = zeros,
                              .c_prev = zeros,
                              .c = c,
                              .tc = tc,
                              .h = h,
                              .n_next = 1,
                              .h_stride = UNITS,
                              .pool = pool,
                              .step_of_max = step_of_max,
                              .pool_stride = UNITS};

    k->cell(&s);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static void check_activation(const struct nn_kernels *k, double scale)
{
    static float gates[4 * UNITS], c[UNITS], h[UNITS];

    for (size_t i = 0; i < 4 * UNITS; i++)
        gates[i] = (float)(scale * ((double)(i % UNITS) / (UNITS - 1) * 2 - 1));
    run_cell(k, gates, c, h);
    for (size_t i = 0; i < UNITS; i++) {
        double x = (double)(float)(scale * ((double)i / (UNITS - 1) * 2 - 1)), s = sigmoid(x), t = tanh(x);
        if (ulp(gates[i], s) > 4 || ulp(gates[UNITS + i], s) > 4 || ulp(gates[2 * UNITS + i], t) > 4 ||
            ulp(gates[3 * UNITS + i], s) > 4)
            fail_msg("%s at %.9g: %.9g %.9g", k->isa, x, (double)gates[i], (double)gates[2 * UNITS + i]);
        if (ulp(c[i], s * t) > 8 || ulp(h[i], s * tanh(s * t)) > 16)
            fail_msg("%s at %.9g: c %.9g h %.9g", k->isa, x, (double)c[i], (double)h[i]);
    }
}

static void test_activations_against_libm(void **state)
{
    static const double scales[] = {1e-6, 1e-3, 0.1, 1, 8, 20, 75};
    const struct nn_kernels *k;

    (void)state;
    for (size_t i = 0; (k = next_variant(&i));) {
        for (size_t s = 0; s < COUNT_OF(scales); s++)
            check_activation(k, scales[s]);
    }
}

static void test_activations_far_out(void **state)
{
    static const float far[] = {INFINITY, -INFINITY, 1e30f, -1e30f, 0, NAN};
    static float gates[4 * UNITS], c[UNITS], h[UNITS];
    const struct nn_kernels *k;

    (void)state;
    for (size_t i = 0; (k = next_variant(&i));) {
        for (size_t j = 0; j < 4 * UNITS; j++)
            gates[j] = far[j % UNITS % COUNT_OF(far)];
        run_cell(k, gates, c, h);
        const float *s = gates, *t = gates + 2 * UNITS;
        assert_true(s[0] == 1 && s[1] < 1e-34f && s[1] >= 0 && s[2] == 1 && s[3] < 1e-34f && s[4] == 0.5f);
        assert_true(t[0] == 1 && t[1] == -1 && t[2] == 1 && t[3] == -1 && t[4] == 0);
        assert_true(isnan(s[5]) && isnan(t[5]) && isnan(h[5]));
    }
}

/* Of equal values the first row counts. */
static void test_column_max(void **state)
{
    enum { ROWS = 5, N = 37 };
    float x[ROWS * N], best[N];
    const struct nn_kernels *k;
    int32_t at[N];

    (void)state;
    for (size_t i = 0; i < ROWS * N; i++)
        x[i] = (float)((i * 7 + i / N) % 5) - 9;
    for (size_t i = 0; (k = next_variant(&i));) {
        k->column_max(x, ROWS, N, best, at);
        for (size_t j = 0; j < N; j++) {
            size_t expected = 0;
            for (size_t r = 1; r < ROWS; r++)
                expected = x[r * N + j] > x[expected * N + j] ? r : expected;
            assert_int_equal(at[j], expected);
            assert_true(best[j] == x[expected * N + j]);
        }
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

/* Depths below, at and above a block; rows and columns left over; what was there stays. */
static void test_add_outer_against_plain_loops(void **state)
{
    enum { M = 9, N = 37, K = 401 };
    static const size_t depths[] = {1, 5, 192, 193, K};
    static float a[K * (M + 1)], b[K * (N + 2)], c[M * (N + 1)];
    const struct nn_kernels *k;
    struct rng rng;

    (void)state;
    rng_init(&rng, 1);
    for (size_t i = 0; i < COUNT_OF(a); i++)
        a[i] = (float)rng_normal(&rng);
    for (size_t i = 0; i < COUNT_OF(b); i++)
        b[i] = (float)rng_normal(&rng);
    for (size_t i = 0; (k = next_variant(&i));) {
        for (size_t d = 0; d < COUNT_OF(depths); d++) {
            for (size_t m = 1; m <= M; m++) {
                size_t n = m * 4 + 1;
                for (size_t j = 0; j < COUNT_OF(c); j++)
                    c[j] = 77;
                k->matmul->add_outer(c, N + 1, a, M + 1, b, N + 2, m, n, depths[d]);
                for (size_t j = 0; j < COUNT_OF(c); j++) {
                    size_t row = j / (N + 1), column = j % (N + 1);
                    double sum = 77;
                    for (size_t l = 0; l < depths[d] && row < m && column < n; l++)
                        sum += (double)a[l * (M + 1) + row] * (double)b[l * (N + 2) + column];
                    assert_true(fabs((double)c[j] - sum) < 1e-4);
                }
            }
        }
    }
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
    assert_ptr_equal(nn_kernels_find(nn_isa()), nn_kernels());
    assert_string_equal(nn_kernel_isa(), nn_kernels()->isa);
    for (enum isa isa = 0; isa < ISA_N; isa++) {
        assert_int_equal(nn_kernels_find(isa) != NULL, isa_supported(isa));
        if (forced && isa_supported(isa) && strcmp(forced, isa_name(isa)) == 0)
            assert_int_equal(nn_isa(), isa);
        if (!forced && isa_supported(isa))
            assert_true(nn_isa() >= isa);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations_against_libm),
        cmocka_unit_test(test_activations_far_out),
        cmocka_unit_test(test_column_max),
        cmocka_unit_test(test_matmul_against_plain_loops),
        cmocka_unit_test(test_add_outer_against_plain_loops),
        cmocka_unit_test(test_dropout_is_the_same_everywhere),
        cmocka_unit_test(test_sum_of_squares),
        cmocka_unit_test(test_the_chosen_variant),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
