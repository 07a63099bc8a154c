/* shape_test.c - limits, layout and the starting point. */
#include "nn/nn.h"
#include "text/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    size_t offset;
    uint32_t min, max;
} members[] = {
    {offsetof(struct nn_shape, vocab), 2, NN_MAX_VOCAB},     {offsetof(struct nn_shape, embed), 1, NN_MAX_UNITS},
    {offsetof(struct nn_shape, hidden), 1, NN_MAX_UNITS},    {offsetof(struct nn_shape, buckets), 2, NN_MAX_BUCKETS},
    {offsetof(struct nn_shape, classes), 2, NN_MAX_CLASSES}, {offsetof(struct nn_shape, max_tokens), 1, NN_MAX_TOKENS},
};
enum { VOCAB = 1, EMBED = 2, HIDDEN = 4, BUCKETS = 8, CLASSES = 16, MAX_TOKENS = 32, ALL = 63 };

/* Which members a family needs; buckets may also be 0 where optional. */
static const struct {
    unsigned needs;
    bool buckets_optional;
    size_t n_params; /* of the preset */
} families[] = {
    [NN_LSTM] = {ALL, true, TEXT_N_IDS * 64 + 2 * (128 * 256 + 256) + 128 * 2 + 2 + (1 << 17) * 2},
    [NN_LSTM_PLAIN] = {ALL, true, TEXT_N_IDS * 128 + 256 * 512 + 512 + 128 * 2 + 2},
    [NN_TEXTCNN] = {ALL, true, TEXT_N_IDS * 64 + 9 * 64 * 100 + 300 + 300 * 2 + 2 + (1 << 17) * 2},
    [NN_LINEAR] = {BUCKETS | CLASSES | MAX_TOKENS, false, (1 << 18) * 2 + 2},
    [NN_BAG] = {EMBED | BUCKETS | CLASSES | MAX_TOKENS, false, (1 << 16) * 16 + 16 * 2 + 2},
};

static enum code code_with(enum nn_family family, size_t member, uint32_t value)
{
    struct nn_shape s = *nn_shape_preset(family);

    *(uint32_t *)((char *)&s + members[member].offset) = value;
    return nn_shape_check(&s).code;
}

static void check_member(enum nn_family family, size_t i)
{
    bool optional = families[family].buckets_optional && 1u << i == BUCKETS;

    if (!(families[family].needs & 1u << i)) {
        assert_int_equal(code_with(family, i, 0), ST_OK);
        assert_int_equal(code_with(family, i, members[i].min), ST_INVALID);
        return;
    }
    assert_int_equal(code_with(family, i, members[i].min), ST_OK);
    assert_int_equal(code_with(family, i, members[i].max), ST_OK);
    assert_int_equal(code_with(family, i, members[i].min - 1), ST_INVALID);
    assert_int_equal(code_with(family, i, members[i].max + 1), ST_INVALID);
    assert_int_equal(code_with(family, i, 0), optional ? ST_OK : ST_INVALID);
}

static void test_limits(void **state)
{
    struct nn_shape unknown = *nn_shape_preset(NN_LSTM);

    (void)state;
    for (enum nn_family family = NN_LSTM; family <= NN_BAG; family++) {
        assert_int_equal(nn_shape_check(nn_shape_preset(family)).code, ST_OK);
        for (size_t i = 0; i < COUNT_OF(members); i++)
            check_member(family, i);
    }
    unknown.family = 0;
    assert_int_equal(nn_shape_check(&unknown).code, ST_INVALID);
    unknown.family = NN_BAG + 1;
    assert_int_equal(nn_shape_check(&unknown).code, ST_INVALID);
}

static void test_names(void **state)
{
    enum nn_family parsed;

    (void)state;
    for (enum nn_family family = NN_LSTM; family <= NN_BAG; family++) {
        assert_int_equal(nn_family_parse(nn_family_name(family), &parsed).code, ST_OK);
        assert_int_equal(parsed, family);
    }
    assert_int_equal(nn_family_parse("gru", &parsed).code, ST_INVALID);
    assert_string_equal(nn_family_name(NN_BAG + 1), "unknown");
}

/* A family's tensors, named as in nn.h and without a gap. */
static void check_tensors(enum nn_family family, const char *const *names)
{
    const struct nn_shape *s = nn_shape_preset(family);
    struct nn_tensor t[NN_MAX_TENSORS];
    size_t n = nn_tensors(s, t), offset = 0;

    for (size_t i = 0; i < n; i++) {
        assert_non_null(names[i]);
        assert_string_equal(t[i].name, names[i]);
        assert_int_equal(t[i].offset, offset);
        assert_int_equal(t[i].n, (size_t)t[i].dims[0] * t[i].dims[1]);
        assert_true(t[i].sparse ==
                    (!strcmp(t[i].name, "embedding") || !strcmp(t[i].name, "bag") || !strcmp(t[i].name, "ngram")));
        offset += t[i].n;
    }
    assert_null(names[n]);
    assert_int_equal(nn_n_params(s), offset);
    assert_int_equal(offset, families[family].n_params);
}

static void test_tensors_fill_the_block(void **state)
{
    static const char *const lstm[] = {"embedding", "lstm.fw.wx", "lstm.fw.wh", "lstm.fw.b", "lstm.bw.wx", "lstm.bw.wh",
                                       "lstm.bw.b", "out.w",      "out.b",      "ngram",     NULL};
    static const char *const lstm_plain[] = {"embedding", "lstm.fw.wx", "lstm.fw.wh", "lstm.fw.b",
                                             "out.w",     "out.b",      NULL};
    static const char *const textcnn[] = {"embedding", "conv2.w", "conv2.b", "conv3.w", "conv3.b", "conv4.w",
                                          "conv4.b",   "out.w",   "out.b",   "ngram",   NULL};
    static const char *const linear[] = {"out.b", "ngram", NULL}, *const bag[] = {"bag", "out.w", "out.b", NULL};

    (void)state;
    check_tensors(NN_LSTM, lstm);
    check_tensors(NN_LSTM_PLAIN, lstm_plain);
    check_tensors(NN_TEXTCNN, textcnn);
    check_tensors(NN_LINEAR, linear);
    check_tensors(NN_BAG, bag);
}

static double deviation(const float *x, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum / (double)n);
}

static bool all(const float *x, size_t n, float value)
{
    for (size_t i = 0; i < n; i++) {
        if (x[i] != value)
            return false;
    }
    return true;
}

/* Each gate's (H,H) block of wh times its transpose is the identity. */
static void check_orthogonal(const float *wh, size_t H)
{
    for (size_t gate = 0; gate < 4; gate++) {
        for (size_t i = 0; i < H; i++) {
            for (size_t j = 0; j <= i; j++) {
                double sum = 0;
                for (size_t k = 0; k < H; k++)
                    sum += (double)wh[i * 4 * H + gate * H + k] * (double)wh[j * 4 * H + gate * H + k];
                assert_true(fabs(sum - (i == j)) < 1e-6);
            }
        }
    }
}

static void check_direction(const float *params, const struct nn_tensor *wx, size_t H)
{
    const float *b = params + wx[2].offset;
    double limit = sqrt(6.0 / 128);

    for (size_t i = 0; i < wx->n; i++)
        assert_true(fabs((double)params[wx->offset + i]) <= limit);
    assert_true(fabs(deviation(params + wx->offset, wx->n) / (limit / sqrt(3)) - 1) < 0.02);
    check_orthogonal(params + wx[1].offset, H);
    assert_true(all(b, H, 0) && all(b + H, H, 1) && all(b + 2 * H, 2 * H, 0));
}

static void test_the_starting_point(void **state)
{
    const struct nn_shape *s = nn_shape_preset(NN_LSTM);
    struct nn_tensor t[NN_MAX_TENSORS];
    float *params = xcalloc(nn_n_params(s), sizeof *params);

    (void)state;
    size_t n = nn_tensors(s, t);
    nn_init(params, s, 1);
    assert_true(all(params, s->embed, 0)); /* padding */
    assert_true(fabs(deviation(params + s->embed, t[0].n - s->embed) / 0.1 - 1) < 0.01);
    check_direction(params, nn_tensor_find(t, n, "lstm.fw.wx"), s->hidden);
    check_direction(params, nn_tensor_find(t, n, "lstm.bw.wx"), s->hidden);
    const struct nn_tensor *w = nn_tensor_find(t, n, "out.w"), *zero = nn_tensor_find(t, n, "out.b");
    assert_true(fabs(deviation(params + w->offset, w->n) / 0.05 - 1) < 0.15);
    assert_true(all(params + zero->offset, nn_n_params(s) - zero->offset, 0)); /* out.b and the n-grams */
    free(params);
}

/* Uniform within +-limit, all of it. */
static void check_uniform(const float *x, size_t n, double limit)
{
    for (size_t i = 0; i < n; i++)
        assert_true(fabs((double)x[i]) <= limit);
    assert_true(fabs(deviation(x, n) / (limit / sqrt(3)) - 1) < 0.02);
}

static void test_the_starting_point_of_the_others(void **state)
{
    static const char *const widths[] = {"conv2.w", "conv3.w", "conv4.w"};
    const struct nn_shape *cnn = nn_shape_preset(NN_TEXTCNN), *bag = nn_shape_preset(NN_BAG);
    const struct nn_shape *linear = nn_shape_preset(NN_LINEAR);
    struct nn_tensor t[NN_MAX_TENSORS];
    float *params = xcalloc(nn_n_params(bag), sizeof *params);
    size_t n = nn_tensors(cnn, t);

    (void)state;
    nn_init(params, cnn, 1);
    for (size_t i = 0; i < COUNT_OF(widths); i++) {
        const struct nn_tensor *w = nn_tensor_find(t, n, widths[i]);
        check_uniform(params + w->offset, w->n, sqrt(6.0 / ((double)(i + 2) * 64 + 100)));
        assert_true(all(params + w[1].offset, w[1].n, 0));
    }
    nn_init(params, bag, 1);
    check_uniform(params, (size_t)bag->buckets * bag->embed, 1.0 / bag->embed);
    nn_init(params, linear, 1);
    assert_true(all(params, nn_n_params(linear), 0));
    free(params);
}

static void test_a_seed_is_a_starting_point(void **state)
{
    size_t n = nn_n_params(nn_shape_preset(NN_LSTM));
    float *a = xcalloc(n, sizeof *a), *b = xmalloc(n * sizeof *b);

    (void)state;
    memset(b, 0xFF, n * sizeof *b);
    nn_init(a, nn_shape_preset(NN_LSTM), 7);
    nn_init(b, nn_shape_preset(NN_LSTM), 7);
    assert_memory_equal(a, b, n * sizeof *a);
    nn_init(b, nn_shape_preset(NN_LSTM), 8);
    assert_memory_not_equal(a, b, n * sizeof *a);
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_tensors_fill_the_block),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_the_starting_point),
        cmocka_unit_test(test_the_starting_point_of_the_others),
        cmocka_unit_test(test_a_seed_is_a_starting_point),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
