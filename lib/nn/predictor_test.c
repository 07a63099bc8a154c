/* predictor_test.c - a predictor answers as nn_predict() does, for any shape and batch, in fp32 and, less exactly, in
 * int8; threads share it; and it can be stopped. Runs once more with the portable kernels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nn/predictor.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ROWS 13

static const struct nn_shape shapes[] = {
    {.family = NN_LSTM, .vocab = 300, .embed = 64, .hidden = 64, .buckets = 512, .classes = 2, .max_tokens = 60},
    {.family = NN_LSTM, .vocab = 40, .embed = 9, .hidden = 19, .buckets = 64, .classes = 3, .max_tokens = 25},
    {.family = NN_LSTM_PLAIN, .vocab = 300, .embed = 128, .hidden = 128, .classes = 2, .max_tokens = 60},
    {.family = NN_LSTM_PLAIN, .vocab = 40, .embed = 9, .hidden = 19, .buckets = 64, .classes = 3, .max_tokens = 25},
    {.family = NN_TEXTCNN, .vocab = 40, .embed = 9, .hidden = 19, .buckets = 64, .classes = 3, .max_tokens = 25},
    {.family = NN_LINEAR, .buckets = 64, .classes = 3, .max_tokens = 25},
    {.family = NN_BAG, .embed = 9, .buckets = 64, .classes = 3, .max_tokens = 25},
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

static bool recurrent(const struct nn_shape *s)
{
    return s->family == NN_LSTM || s->family == NN_LSTM_PLAIN;
}

/* Every batch size that takes another way through the groups of texts. */
static void compare(const struct nn_shape *s, const float *params, enum nn_precision precision, double bound)
{
    static const uint32_t sizes[] = {1, 2, 3, 5, MAX_ROWS};
    struct rng rng;
    struct texts texts;
    float expected[MAX_ROWS * NN_MAX_CLASSES], probs[MAX_ROWS * NN_MAX_CLASSES];

    rng_init(&rng, 3);
    texts_init(&texts, s, &rng);
    struct nn_predictor *p = predictor_of(s, params, precision);
    struct nn_workspace *ws = nn_workspace_new(s, MAX_ROWS);
    struct nn_scratch *scratch = nn_scratch_new(s, MAX_ROWS);
    for (size_t b = 0; b < COUNT_OF(sizes); b++) {
        uint32_t n = sizes[b];

        nn_predict(ws, params, texts.rows, n, expected);
        assert_true(nn_predictor_run(p, scratch, texts.rows, n, probs, NULL, NULL));
        for (size_t i = 0; i < n * s->classes; i++)
            if (!(fabs((double)(probs[i] - expected[i])) <= bound))
                fail_msg("%u rows: probability %zu is %.7f, not %.7f", n, i, probs[i], expected[i]);
    }
    nn_scratch_free(scratch);
    nn_workspace_free(ws);
    nn_predictor_free(p);
    texts_fini(&texts);
}

static void compare_shapes(enum nn_precision precision, double bound)
{
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        struct rng rng;

        if (precision == NN_INT8 && !recurrent(&shapes[i]))
            continue;
        rng_init(&rng, 5);
        float *params = some_params(&shapes[i], &rng);
        compare(&shapes[i], params, precision, bound);
        free(params);
    }
}

static void test_fp32_answers_as_predict_does(void **state)
{
    (void)state;
    compare_shapes(NN_FP32, 1e-5);
}

static void test_int8_answers_nearly_so(void **state)
{
    (void)state;
    compare_shapes(NN_INT8, 0.01);
}

static void tensor_fill(const struct nn_shape *s, float *params, const char *name, float value)
{
    struct nn_tensor tensors[NN_MAX_TENSORS];
    const struct nn_tensor *t = nn_tensor_find(tensors, nn_tensors(s, tensors), name);

    for (size_t i = 0; i < t->n; i++)
        params[t->offset + i] = value;
}

/* All recurrent weights alike and every h near 1: the largest sums that there can be. */
static void test_int8_does_not_saturate(void **state)
{
    (void)state;
    static const float values[] = {0.02f, -0.02f};
    const struct nn_shape *s = &shapes[0];
    struct rng rng;

    for (size_t i = 0; i < COUNT_OF(values); i++) {
        rng_init(&rng, 5);
        float *params = some_params(s, &rng);
        tensor_fill(s, params, "lstm.fw.wh", values[i]);
        tensor_fill(s, params, "lstm.bw.wh", values[i]);
        tensor_fill(s, params, "lstm.fw.b", 3);
        tensor_fill(s, params, "lstm.bw.b", 3);
        compare(s, params, NN_INT8, 0.01);
        free(params);
    }
}

static void test_families_without_steps_have_no_int8(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        struct nn_predictor *p = NULL;
        float *params = xaligned(nn_n_params(&shapes[i]), sizeof *params);

        assert_int_equal(nn_predictor_new(&p, &shapes[i], params, NN_INT8).code,
                         recurrent(&shapes[i]) ? ST_OK : ST_UNIMPLEMENTED);
        assert_int_equal(p != NULL, recurrent(&shapes[i]));
        nn_predictor_free(p);
        free(params);
    }
}

struct runner {
    const struct nn_predictor *p;
    const struct nn_shape *shape;
    const struct texts *texts;
    float probs[MAX_ROWS * NN_MAX_CLASSES];
};

static void *run_often(void *arg)
{
    struct runner *r = arg;
    struct nn_scratch *scratch = nn_scratch_new(r->shape, MAX_ROWS);

    for (int i = 0; i < 5; i++)
        nn_predictor_run(r->p, scratch, r->texts->rows, MAX_ROWS, r->probs, NULL, NULL);
    nn_scratch_free(scratch);
    return NULL;
}

static void test_threads_share_a_predictor(void **state)
{
    (void)state;
    const struct nn_shape *s = &shapes[1];
    struct runner runners[4];
    pthread_t threads[COUNT_OF(runners)];
    struct texts texts;
    struct rng rng;

    rng_init(&rng, 3);
    texts_init(&texts, s, &rng);
    float *params = some_params(s, &rng);
    struct nn_predictor *p = predictor_of(s, params, NN_INT8);
    for (size_t i = 0; i < COUNT_OF(runners); i++) {
        runners[i] = (struct runner){p, s, &texts, {0}};
        assert_int_equal(pthread_create(&threads[i], NULL, run_often, &runners[i]), 0);
    }
    for (size_t i = 0; i < COUNT_OF(runners); i++) {
        pthread_join(threads[i], NULL);
        assert_memory_equal(runners[i].probs, runners[0].probs, MAX_ROWS * s->classes * sizeof(float));
    }
    nn_predictor_free(p);
    free(params);
    texts_fini(&texts);
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

static void cancel(const struct nn_shape *s, enum nn_precision precision)
{
    float probs[MAX_ROWS * NN_MAX_CLASSES];
    struct rng rng;
    struct texts texts;
    int left = 1 << 20;

    rng_init(&rng, 3);
    texts_init(&texts, s, &rng);
    float *params = some_params(s, &rng);
    struct nn_predictor *p = predictor_of(s, params, precision);
    struct nn_scratch *scratch = nn_scratch_new(s, MAX_ROWS);
    assert_true(nn_predictor_run(p, scratch, texts.rows, MAX_ROWS, probs, count_down, &left));
    int asked = (1 << 20) - left;
    assert_true(asked > 1);
    for (int after = 0; after < asked; after += 1 + asked / 8) {
        left = after;
        assert_false(nn_predictor_run(p, scratch, texts.rows, MAX_ROWS, probs, count_down, &left));
        assert_int_equal(left, -1); /* it was not asked again */
    }
    nn_scratch_free(scratch);
    nn_predictor_free(p);
    free(params);
    texts_fini(&texts);
}

static void test_a_cancelled_run_ends(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        cancel(&shapes[i], recurrent(&shapes[i]) ? NN_INT8 : NN_FP32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fp32_answers_as_predict_does),
        cmocka_unit_test(test_int8_answers_nearly_so),
        cmocka_unit_test(test_int8_does_not_saturate),
        cmocka_unit_test(test_families_without_steps_have_no_int8),
        cmocka_unit_test(test_threads_share_a_predictor),
        cmocka_unit_test(test_a_parameter_that_is_not_finite_is_refused),
        cmocka_unit_test(test_a_cancelled_run_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
