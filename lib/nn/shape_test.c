/* shape_test.c - limits, layout and the starting point. */
#include "nn/lstm.h"
#include "text/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void test_limits(void **state)
{
    static const struct {
        size_t offset;
        uint32_t min, max;
    } members[] = {
        {offsetof(struct nn_shape, vocab), 2, NN_MAX_VOCAB},
        {offsetof(struct nn_shape, embed), 1, NN_MAX_UNITS},
        {offsetof(struct nn_shape, hidden), 1, NN_MAX_UNITS},
        {offsetof(struct nn_shape, buckets), 2, NN_MAX_BUCKETS},
        {offsetof(struct nn_shape, classes), 2, NN_MAX_CLASSES},
        {offsetof(struct nn_shape, max_tokens), 1, NN_MAX_TOKENS},
    };

    (void)state;
    assert_int_equal(nn_shape_check(nn_shape_preset(NN_LSTM)).code, ST_OK);
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        struct nn_shape s = *nn_shape_preset(NN_LSTM);
        uint32_t *member = (uint32_t *)((char *)&s + members[i].offset);
        *member = members[i].min;
        assert_int_equal(nn_shape_check(&s).code, ST_OK);
        *member = members[i].max;
        assert_int_equal(nn_shape_check(&s).code, ST_OK);
        *member = members[i].min - 1;
        assert_int_equal(nn_shape_check(&s).code, ST_INVALID);
        *member = members[i].max + 1;
        assert_int_equal(nn_shape_check(&s).code, ST_INVALID);
    }
}

static void test_tensors_fill_the_block(void **state)
{
    static const char *const names[] = {"embedding",  "lstm.fw.wx", "lstm.fw.wh", "lstm.fw.b", "lstm.bw.wx",
                                        "lstm.bw.wh", "lstm.bw.b",  "out.w",      "out.b",     "ngram"};
    struct nn_tensor t[NN_MAX_TENSORS];
    size_t n = nn_tensors(nn_shape_preset(NN_LSTM), t), total = nn_n_params(nn_shape_preset(NN_LSTM)), offset = 0;

    (void)state;
    assert_int_equal(n, COUNT_OF(names));
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(t[i].name, names[i]);
        assert_int_equal(t[i].offset, offset);
        assert_int_equal(t[i].n, (size_t)t[i].dims[0] * t[i].dims[1]);
        offset += t[i].n;
    }
    assert_int_equal(total, offset);
    assert_int_equal(total, TEXT_N_IDS * 64 + 2 * (128 * 256 + 256) + 128 * 2 + 2 + 65536 * 2);
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
    nn_tensors(s, t);
    nn_init(params, s, 1);
    assert_true(all(params, s->embed, 0)); /* padding */
    assert_true(fabs(deviation(params + s->embed, t[NN_EMBEDDING].n - s->embed) / 0.1 - 1) < 0.01);
    check_direction(params, &t[NN_FW_WX], s->hidden);
    check_direction(params, &t[NN_BW_WX], s->hidden);
    assert_true(fabs(deviation(params + t[NN_OUT_W].offset, t[NN_OUT_W].n) / 0.05 - 1) < 0.15);
    assert_true(all(params + t[NN_OUT_B].offset, t[NN_OUT_B].n, 0));
    assert_true(all(params + t[NN_NGRAM].offset, t[NN_NGRAM].n, 0));
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
        cmocka_unit_test(test_the_starting_point),
        cmocka_unit_test(test_a_seed_is_a_starting_point),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
