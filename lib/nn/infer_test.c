/* infer_test.c - every variant of the forward pass, against the portable one on the same weights. They add in different
 * orders, and in int8 a last bit may move h by a whole unit, so answers are near, not equal; the sums of bytes are exact. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nn/prepare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 40
#define TEXTS INFER_MAX_ROWS

static const struct nn_shape shapes[] = {
    {.family = NN_LSTM, .vocab = 200, .embed = 64, .hidden = 64, .classes = 2, .max_tokens = STEPS},
    {.family = NN_LSTM, .vocab = 40, .embed = 9, .hidden = 19, .classes = 2, .max_tokens = STEPS},
    {.family = NN_LSTM_PLAIN, .vocab = 40, .embed = 9, .hidden = 35, .classes = 2, .max_tokens = STEPS},
};

#define MAX_FEATURES (INFER_DIRECTIONS * 64)

struct net {
    const struct infer_kernels *kernels;
    struct infer_net net;
    char *memory;
};

static struct net net_of(const struct nn_shape *s, const float *params, enum nn_precision precision, enum isa isa)
{
    struct net net = {.kernels = infer_kernels_find(isa)};
    struct prepare_block block = {NULL, 0};

    prepare_place(&net.net, &block, s, precision);
    block = (struct prepare_block){net.memory = xaligned(block.used, 1), 0};
    prepare_place(&net.net, &block, s, precision);
    prepare_fill(&net.net, s, params, precision, net.kernels);
    return net;
}

/* features (TEXTS,n_directions Hp) of n texts after STEPS steps, in two pieces. */
static void run(const struct net *net, enum nn_precision precision, size_t n, float *features)
{
    size_t width = net->net.n_directions * net->net.padded;
    uint16_t ids[TEXTS][STEPS];
    float *states = xaligned(TEXTS * 3 * width, sizeof *states);
    struct infer_text texts[TEXTS];
    struct rng rng;

    rng_init(&rng, 8);
    for (size_t r = 0; r < n; r++) {
        float *c = states + 3 * r * width;
        for (size_t t = 0; t < STEPS; t++)
            ids[r][t] = (uint16_t)(1 + rng_below(&rng, 39));
        texts[r] = (struct infer_text){ids[r], STEPS, features + r * width, c, c + width};
        for (size_t j = 0; j < width; j++)
            texts[r].pool[j] = -2;
        if (precision == NN_INT8)
            memset(texts[r].h, INFER_INT8_ZERO, 2 * width);
    }
    (precision == NN_INT8 ? net->kernels->int8 : net->kernels->fp32)(&net->net, texts, n, 0, 7);
    (precision == NN_INT8 ? net->kernels->int8 : net->kernels->fp32)(&net->net, texts, n, 7, STEPS);
    free(states);
}

static void compare(const struct nn_shape *s, const float *params, enum nn_precision precision, enum isa isa,
                    double bound)
{
    float expected[TEXTS * MAX_FEATURES], features[TEXTS * MAX_FEATURES];
    struct net portable = net_of(s, params, precision, ISA_PORTABLE), net = net_of(s, params, precision, isa);
    size_t width = net.net.n_directions * net.net.padded;

    for (size_t n = 1; n <= TEXTS; n++) {
        run(&portable, precision, n, expected);
        run(&net, precision, n, features);
        for (size_t i = 0; i < n * width; i++)
            if (!(fabs((double)(features[i] - expected[i])) <= bound))
                fail_msg("%s, %zu texts: feature %zu of %zu is %.7f, not %.7f", isa_name(isa), n, i, width, features[i],
                         expected[i]);
        assert_true(fabsf(expected[0]) > 1e-3f); /* of a net that does something */
    }
    free(portable.memory);
    free(net.memory);
}

static void compare_all(enum nn_precision precision, double bound)
{
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        size_t n = nn_n_params(&shapes[i]);
        float *params = xaligned(n, sizeof *params);
        struct rng rng;

        rng_init(&rng, 4);
        nn_init(params, &shapes[i], 1);
        for (size_t k = 0; k < n; k++)
            params[k] += (float)(0.1 * rng_normal(&rng));
        for (enum isa isa = 0; isa < ISA_N; isa++)
            if (infer_kernels_find(isa))
                compare(&shapes[i], params, precision, isa, bound);
        free(params);
    }
}

static void test_fp32(void **state)
{
    (void)state;
    compare_all(NN_FP32, 1e-4);
}

static void test_int8(void **state)
{
    (void)state;
    compare_all(NN_INT8, 0.02);
}

/* Sums at their largest, of either sign: 16 bits must hold them, and the bytes of h are unsigned, those of w are not. */
static void test_int8_at_its_largest(void **state)
{
    static const float values[] = {0.02f, -0.02f};
    const struct nn_shape *s = &shapes[0];

    (void)state;
    for (size_t v = 0; v < COUNT_OF(values); v++) {
        struct nn_tensor t[NN_MAX_TENSORS];
        size_t n = nn_tensors(s, t);
        float *params = xaligned(nn_n_params(s), sizeof *params);

        nn_init(params, s, 1);
        for (size_t i = 0; i < n; i++) {
            bool wh = strstr(t[i].name, ".wh"), bias = strstr(t[i].name, ".b");
            for (size_t k = 0; k < t[i].n && (wh || bias); k++)
                params[t[i].offset + k] = wh ? values[v] : 3;
        }
        for (enum isa isa = 0; isa < ISA_N; isa++)
            if (infer_kernels_find(isa))
                compare(s, params, NN_INT8, isa, 0.02);
        free(params);
    }
}

/* A row of the int8 table: each gate's largest entry becomes 127, the others are rounded. */
static void check_row(const struct infer_kernels *k, const float *x, size_t padded)
{
    char row[INFER_ROW_SCALES + 4 * INFER_UNITS];
    const int8_t *entries = (const int8_t *)row + INFER_ROW_SCALES;
    float scales[4];
    int most[4] = {0};

    k->quantise_row(row, x, padded);
    memcpy(scales, row, sizeof scales);
    for (size_t i = 0; i < 4 * padded; i++) {
        size_t gate = i / k->lanes % 4;
        assert_true(fabsf((float)entries[i] * scales[gate] - x[i]) <= 0.5001f * scales[gate]);
        most[gate] = abs(entries[i]) > most[gate] ? abs(entries[i]) : most[gate];
    }
    for (size_t gate = 0; gate < 4; gate++)
        assert_int_equal(most[gate], INFER_INT8_MAX);
}

static void check_preparation(const struct infer_kernels *k)
{
    enum { N = 4 * INFER_UNITS };
    float x[N], inverse[N], range[N], sum = 0;
    int16_t table[N];

    for (size_t i = 0; i < N; i++) {
        x[i] = (float)((double)(i * 37 % N) - 31.5) / 8;
        inverse[i] = 100;
        range[i] = 1;
        sum += x[i] * x[i];
    }
    assert_true(fabsf(k->dot(x, x, N) - sum) < 1e-3f);
    k->widen(range, x, N);
    k->quantise(table, x, inverse, N);
    for (size_t i = 0; i < N; i++) {
        assert_true(range[i] == fmaxf(1, fabsf(x[i])));
        assert_true(fabsf((float)table[i] - 100 * x[i]) <= 0.5f);
    }
    check_row(k, x, INFER_UNITS);
}

static void test_preparation(void **state)
{
    (void)state;
    for (enum isa isa = 0; isa < ISA_N; isa++) {
        const struct infer_kernels *k = infer_kernels_find(isa);
        if (!k)
            continue;
        assert_string_equal(k->isa, isa_name(isa));
        check_preparation(k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fp32),
        cmocka_unit_test(test_int8),
        cmocka_unit_test(test_int8_at_its_largest),
        cmocka_unit_test(test_preparation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
