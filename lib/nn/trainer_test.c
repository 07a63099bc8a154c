/* trainer_test.c - the sparse steps against dense ones: Adam against nn_optimizer over the whole gradient, AdaGrad
 * against its formula in plain loops. Built with float and with double parameters, like classifier_test.c. */
#include "nn/trainer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EXACT (sizeof(nn_real) == sizeof(double))

/* A step moves a parameter by up to 2e-3, and rows miss ten to hundreds. What is left in double is epsilon. */
#define ADAM_TOLERANCE (EXACT ? 2e-5 : 2e-4)

enum { STEPS = 320, BATCH = 3, MAX_IDS = 6, MAX_NGRAMS = 5, VOCAB = 90, BUCKETS = 120, CLASSES = 3 };

static const struct nn_shape shapes[] = {
    {.family = NN_LSTM, .vocab = VOCAB, .embed = 5, .hidden = 4, .buckets = BUCKETS, .classes = 3, .max_tokens = 6},
    {.family = NN_TEXTCNN, .vocab = VOCAB, .embed = 5, .hidden = 4, .classes = 3, .max_tokens = 6},
    {.family = NN_LINEAR, .buckets = BUCKETS, .classes = CLASSES, .max_tokens = 6},
    {.family = NN_BAG, .embed = 5, .buckets = BUCKETS, .classes = CLASSES, .max_tokens = 6},
};

struct texts {
    struct nn_example rows[BATCH];
    uint16_t ids[BATCH][MAX_IDS];
    uint32_t ngrams[BATCH][MAX_NGRAMS];
};

/* The batch of a step: unlike rows of the tables, some of which are away for 280 steps. */
static void fill(struct texts *t, uint64_t step)
{
    uint32_t window = step % 290 < 10 ? VOCAB : VOCAB / 3; /* high ids come only now and then */
    struct rng rng;

    rng_init(&rng, 1000 + step);
    for (size_t r = 0; r < BATCH; r++) {
        uint32_t n_ids = 1 + (uint32_t)rng_below(&rng, MAX_IDS), n_ngrams = (uint32_t)rng_below(&rng, MAX_NGRAMS + 1);
        for (size_t i = 0; i < n_ids; i++)
            t->ids[r][i] = (uint16_t)(1 + rng_below(&rng, window - 1));
        for (size_t i = 0; i < n_ngrams; i++)
            t->ngrams[r][i] = (uint32_t)(i * 20 + rng_below(&rng, window == VOCAB ? 20 : 7));
        t->rows[r] =
            (struct nn_example){t->ids[r], n_ids, t->ngrams[r], n_ngrams, (uint32_t)((t->ids[r][0] + step) % 3)};
    }
}

static double rate_of(uint64_t step)
{
    return 2e-3 * (1 - (double)step / (2 * STEPS));
}

/* Far enough from 0 that few gradients are near epsilon. */
static nn_real *starting_point(const struct nn_shape *s)
{
    nn_real *params = xcalloc(nn_n_params(s), sizeof *params);
    struct rng rng;

    rng_init(&rng, 9);
    nn_init(params, s, 9);
    for (size_t i = s->vocab ? s->embed : 0; i < nn_n_params(s); i++)
        params[i] += (nn_real)(0.4 * rng_normal(&rng));
    return params;
}

static double worst_difference(const nn_real *a, const nn_real *b, size_t n)
{
    double worst = 0;

    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, isnan((double)a[i]) ? INFINITY : fabs((double)(a[i] - b[i])));
    return worst;
}

static void check_adam(const struct nn_shape *s)
{
    const struct nn_objective o = {.token_dropout = 0.1f, .output_dropout = 0.2f, .ngram_dropout = 0.3f};
    nn_real *dense = starting_point(s), *grad = xcalloc(nn_n_params(s), sizeof *grad);
    struct nn_trainer *t = nn_trainer_new(s, &o, BATCH);
    struct nn_workspace *ws = nn_workspace_new(s, BATCH);
    struct nn_optimizer adam;
    struct texts texts;
    double loss, other_loss;
    uint32_t hits, other_hits;

    nn_optimizer_init(&adam, NN_ADAM, nn_n_params(s));
    adam.clip_norm = 1;
    nn_trainer_start(t, dense);
    for (uint64_t step = 0; step < STEPS; step++) {
        fill(&texts, step);
        memset(grad, 0, adam.n * sizeof *grad);
        nn_loss(ws, dense, texts.rows, BATCH, &o, step, grad, &loss, &hits);
        nn_optimizer_step(&adam, dense, grad, rate_of(step));
        nn_trainer_step(t, texts.rows, BATCH, rate_of(step), step, &other_loss, &other_hits);
        assert_true(fabs(loss - other_loss) <= ADAM_TOLERANCE);
        if (EXACT)
            assert_int_equal(hits, other_hits);
        if (step % 150 == 149) /* to ask for the parameters on the way changes nothing */
            assert_true(worst_difference(nn_trainer_params(t), dense, adam.n) < ADAM_TOLERANCE);
    }
    assert_true(worst_difference(nn_trainer_params(t), dense, adam.n) < ADAM_TOLERANCE);
    nn_optimizer_fini(&adam);
    nn_workspace_free(ws);
    nn_trainer_free(t);
    free(dense);
    free(grad);
}

static void test_sparse_adam_is_dense_adam(void **state)
{
    (void)state;
    check_adam(&shapes[0]);
    check_adam(&shapes[1]);
}

/* The gradient of one text by nn_loss(), then AdaGrad with one sum a row of the table and one a number elsewhere. */
struct plain_adagrad {
    struct nn_workspace *ws;
    size_t n;
    nn_real *params, *grad;
    double *sums;
};

static void plain_step(struct plain_adagrad *a, const struct nn_shape *s, const struct nn_objective *o,
                       const struct nn_example *x, double rate)
{
    struct nn_tensor t[NN_MAX_TENSORS];
    size_t n_tensors = nn_tensors(s, t);
    double loss;

    memset(a->grad, 0, a->n * sizeof *a->grad);
    nn_loss(a->ws, a->params, x, 1, o, 0, a->grad, &loss, NULL);
    for (size_t k = 0; k < n_tensors; k++) {
        size_t width = t[k].sparse ? t[k].dims[1] : 1;
        for (size_t i = t[k].offset; i < t[k].offset + t[k].n; i += width) {
            for (size_t j = 0; j < width; j++)
                a->sums[i] += (double)(a->grad[i + j] * a->grad[i + j]) / (double)width;
            for (size_t j = 0; j < width && a->sums[i] > 0; j++)
                a->params[i + j] -= (nn_real)(rate * (double)a->grad[i + j] / sqrt(a->sums[i]));
        }
    }
}

static void check_adagrad(const struct nn_shape *s, enum nn_loss_kind kind)
{
    const struct nn_objective o = {.loss = kind, .label_smoothing = 0.1f};
    struct plain_adagrad plain = {.ws = nn_workspace_new(s, 1), .n = nn_n_params(s), .params = starting_point(s)};
    struct nn_trainer *t = nn_trainer_new(s, &o, BATCH);
    struct texts texts;
    double loss, worst;

    plain.grad = xcalloc(plain.n, sizeof *plain.grad);
    plain.sums = xcalloc(plain.n, sizeof *plain.sums);
    nn_trainer_start(t, plain.params);
    for (uint64_t step = 0; step < STEPS; step++) {
        fill(&texts, step);
        for (size_t r = 0; r < BATCH; r++)
            plain_step(&plain, s, &o, &texts.rows[r], rate_of(step));
        nn_trainer_step(t, texts.rows, BATCH, rate_of(step), step, &loss, NULL);
    }
    worst = worst_difference(nn_trainer_params(t), plain.params, plain.n);
    if (worst > (EXACT ? 1e-6 : 2e-3))
        fail_msg("%s: off by %.1e", nn_family_name(s->family), worst);
    nn_trainer_free(t);
    nn_workspace_free(plain.ws);
    free(plain.params);
    free(plain.grad);
    free(plain.sums);
}

static void test_adagrad_is_its_formula(void **state)
{
    (void)state;
    for (size_t i = 2; i < COUNT_OF(shapes); i++) {
        check_adagrad(&shapes[i], NN_CROSS_ENTROPY);
        check_adagrad(&shapes[i], NN_HINGE);
    }
}

static void train(struct nn_trainer *t, const nn_real *start, uint64_t seed, nn_real *result, size_t n)
{
    struct texts texts;
    double loss;

    nn_trainer_start(t, start);
    for (uint64_t step = 0; step < 50; step++) {
        fill(&texts, step);
        nn_trainer_step(t, texts.rows, BATCH, 0.01, seed + step, &loss, NULL);
    }
    memcpy(result, nn_trainer_params(t), n * sizeof *result);
}

/* The same calls give the same bits, also from a trainer that has worked before; another seed gives others. */
static void test_a_start_is_a_fresh_one(void **state)
{
    const struct nn_objective o = {NN_CROSS_ENTROPY, 0.1f, 0.4f, 0.5f, 0.3f, 0.1f};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        size_t n = nn_n_params(&shapes[i]);
        nn_real *start = starting_point(&shapes[i]), *a = xcalloc(3 * n, sizeof *a), *b = a + n, *other = b + n;
        struct nn_trainer *t = nn_trainer_new(&shapes[i], &o, BATCH);
        train(t, start, 1, a, n);
        train(t, start, 7000, other, n);
        train(t, start, 1, b, n);
        assert_memory_equal(a, b, n * sizeof *a);
        assert_memory_not_equal(a, other, n * sizeof *a);
        nn_trainer_free(t);
        free(start);
        free(a);
    }
}

/* Every family learns these texts by heart. */
static void test_loss_falls(void **state)
{
    const struct nn_objective o = {0};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        nn_real *start = starting_point(&shapes[i]);
        struct nn_trainer *t = nn_trainer_new(&shapes[i], &o, BATCH);
        struct texts texts;
        double first, loss = 0;
        uint32_t hits = 0;
        fill(&texts, 1);
        for (size_t r = 0; r < BATCH; r++) { /* no two of them alike */
            texts.ids[r][0] = (uint16_t)(1 + r);
            texts.ngrams[r][0] = (uint32_t)(100 + r);
            texts.rows[r].n_ngrams = texts.rows[r].n_ngrams ? texts.rows[r].n_ngrams : 1;
        }
        nn_trainer_start(t, start);
        nn_trainer_step(t, texts.rows, BATCH, 0.05, 0, &first, NULL);
        for (uint64_t step = 1; step < 500; step++)
            nn_trainer_step(t, texts.rows, BATCH, 0.05, step, &loss, &hits);
        if (hits != BATCH || loss > 0.1 * first)
            fail_msg("%s: loss %.3f after %.3f", nn_family_name(shapes[i].family), loss, first);
        nn_trainer_free(t);
        free(start);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sparse_adam_is_dense_adam),
        cmocka_unit_test(test_adagrad_is_its_formula),
        cmocka_unit_test(test_a_start_is_a_fresh_one),
        cmocka_unit_test(test_loss_falls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
