/* predictor_test.c - a predictor answers as nn_predict() does, for any shape and batch; and can be stopped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nn/predictor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ROWS 33

static const struct nn_shape shapes[] = {
    {.family = NN_LSTM, .vocab = 300, .embed = 64, .hidden = 64, .buckets = 512, .classes = 2, .max_tokens = 60},
    {.family = NN_LSTM, .vocab = 40, .embed = 9, .hidden = 19, .buckets = 64, .classes = 3, .max_tokens = 25},
    {.family = NN_LSTM, .vocab = 2, .embed = 1, .hidden = 1, .buckets = 2, .classes = 2, .max_tokens = 1},
};

struct texts {
    struct nn_example rows[MAX_ROWS];
};

static void texts_init(struct texts *t, const struct nn_shape *s, struct rng *rng)
{
    for (size_t i = 0; i < MAX_ROWS; i++) {
        uint32_t n_ids = i ? 1 + (uint32_t)rng_below(rng, s->max_tokens) : s->max_tokens;
        uint32_t n_ngrams = s->buckets ? (uint32_t)rng_below(rng, 3 * n_ids) : 0;
        uint16_t *ids = xcalloc(n_ids, sizeof *ids);
        uint32_t *ngrams = xcalloc(n_ngrams + 1, sizeof *ngrams);

        for (uint32_t k = 0; k < n_ids && s->vocab; k++)
            ids[k] = (uint16_t)(1 + rng_below(rng, s->vocab - 1));
        for (uint32_t k = 0; k < n_ngrams; k++)
            ngrams[k] = (uint32_t)rng_below(rng, s->buckets);
        t->rows[i] = (struct nn_example){ids, n_ids, ngrams, n_ngrams, 0};
    }
}

static void texts_fini(struct texts *t)
{
    for (size_t i = 0; i < MAX_ROWS; i++) {
        free((void *)t->rows[i].ids);
        free((void *)t->rows[i].ngrams);
    }
}

/* Parameters that use the whole range of the gates. */
static float *some_params(const struct nn_shape *s, struct rng *rng)
{
    size_t n = nn_n_params(s);
    float *params = xaligned(n, sizeof *params);

    nn_init(params, s, 1);
    for (size_t i = 0; i < n; i++)
        params[i] += (float)(0.1 * rng_normal(rng));
    return params;
}

static struct nn_predictor *predictor_of(const struct nn_shape *s, const float *params, enum nn_precision precision)
{
    struct nn_predictor *p = NULL;
    struct status st = nn_predictor_new(&p, s, params, precision);

    if (st.code)
        fail_msg("predictor: %s", st.msg);
    return p;
}

static void compare(const struct nn_shape *s, double bound)
{
    struct rng rng;
    struct texts texts;
    float expected[MAX_ROWS * NN_MAX_CLASSES], probs[MAX_ROWS * NN_MAX_CLASSES];

    rng_init(&rng, 3);
    texts_init(&texts, s, &rng);
    float *params = some_params(s, &rng);
    struct nn_predictor *p = predictor_of(s, params, NN_FP32);
    struct nn_workspace *ws = nn_workspace_new(s, MAX_ROWS);
    struct nn_scratch *scratch = nn_scratch_new(s, MAX_ROWS);
    for (uint32_t n = 1; n <= MAX_ROWS; n += n < 8 ? 1 : 5) {
        nn_predict(ws, params, texts.rows, n, expected);
        assert_true(nn_predictor_run(p, scratch, texts.rows, n, probs, NULL, NULL));
        for (size_t i = 0; i < n * s->classes; i++)
            if (!(fabs((double)(probs[i] - expected[i])) <= bound))
                fail_msg("%u rows: probability %zu is %.7f, not %.7f", n, i, probs[i], expected[i]);
    }
    nn_scratch_free(scratch);
    nn_workspace_free(ws);
    nn_predictor_free(p);
    free(params);
    texts_fini(&texts);
}

static void test_fp32_answers_as_predict_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        compare(&shapes[i], 1e-5);
}

static void test_a_parameter_that_is_not_finite_is_refused(void **state)
{
    (void)state;
    struct rng rng;
    struct nn_predictor *p = NULL;

    rng_init(&rng, 3);
    float *params = some_params(&shapes[1], &rng);
    params[nn_n_params(&shapes[1]) - 1] = NAN;
    assert_int_equal(nn_predictor_new(&p, &shapes[1], params, NN_FP32).code, ST_INVALID);
    assert_null(p);
    free(params);
}

static bool count_down(void *left)
{
    return (*(int *)left)-- == 0;
}

static void test_a_cancelled_run_ends(void **state)
{
    (void)state;
    const struct nn_shape *s = &shapes[0];
    float probs[MAX_ROWS * NN_MAX_CLASSES];
    struct rng rng;
    struct texts texts;
    int left = 0;

    rng_init(&rng, 3);
    texts_init(&texts, s, &rng);
    float *params = some_params(s, &rng);
    struct nn_predictor *p = predictor_of(s, params, NN_FP32);
    struct nn_scratch *scratch = nn_scratch_new(s, MAX_ROWS);
    assert_false(nn_predictor_run(p, scratch, texts.rows, MAX_ROWS, probs, count_down, &left));
    left = 1 << 20;
    assert_true(nn_predictor_run(p, scratch, texts.rows, MAX_ROWS, probs, count_down, &left));
    assert_true(left < 1 << 20); /* it was asked */
    nn_scratch_free(scratch);
    nn_predictor_free(p);
    free(params);
    texts_fini(&texts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fp32_answers_as_predict_does),
        cmocka_unit_test(test_a_parameter_that_is_not_finite_is_refused),
        cmocka_unit_test(test_a_cancelled_run_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
