/* classifier_test.c - the network against a plain-loop one in double precision, and its gradient against finite
 * differences of that. Built twice: with float parameters as they are served, and with double ones (NN_DOUBLE), where
 * the same code must agree to 1e-6. */
#include "nn/lstm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EXACT     (sizeof(nn_real) == sizeof(double))
#define TOLERANCE (EXACT ? 1e-6 : 2e-4)
#define N_ROWS    7
#define MAX_IDS   13

static const struct nn_shape shape = {
    .family = NN_LSTM, .vocab = 12, .embed = 9, .hidden = 19, .buckets = 16, .classes = 3, .max_tokens = MAX_IDS};
static const struct nn_objective plain = {0};

struct fixture {
    nn_real *params;
    double *exact; /* the same values */
    size_t n;
    struct nn_workspace *ws;
    struct nn_example rows[N_ROWS];
    uint16_t ids[N_ROWS][MAX_IDS];
    uint32_t ngrams[N_ROWS][5];
};

static int setup(void **state)
{
    static const uint32_t lengths[N_ROWS] = {4, 13, 1, 7, 4, 12, 2}, n_ngrams[N_ROWS] = {3, 5, 0, 1, 4, 5, 2};
    struct fixture *f = xcalloc(1, sizeof *f);
    struct rng rng;

    rng_init(&rng, 5);
    f->n = nn_n_params(&shape);
    f->params = xcalloc(f->n, sizeof *f->params);
    f->exact = xcalloc(f->n, sizeof *f->exact);
    f->ws = nn_workspace_new(&shape, N_ROWS);
    nn_init(f->params, &shape, 3);
    for (size_t i = shape.embed; i < f->n; i++)
        f->params[i] += (nn_real)(0.3 * rng_normal(&rng));
    for (size_t i = 0; i < f->n; i++)
        f->exact[i] = f->params[i];
    for (size_t r = 0; r < N_ROWS; r++) {
        for (size_t i = 0; i < lengths[r]; i++)
            f->ids[r][i] = (uint16_t)(1 + rng_below(&rng, shape.vocab - 1));
        for (size_t i = 0; i < n_ngrams[r]; i++)
            f->ngrams[r][i] = (uint32_t)(3 * i + rng_below(&rng, 3));
        f->rows[r] = (struct nn_example){f->ids[r], lengths[r], f->ngrams[r], n_ngrams[r], (uint32_t)(r % 3)};
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    nn_workspace_free(f->ws);
    free(f->params);
    free(f->exact);
    free(f);
    return 0;
}

/* ---- the same network in plain loops ---- */

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* pool (H,): the maximum over time of one direction. */
static void plain_lstm(const double *p, const struct nn_tensor *t, bool reverse, const struct nn_example *x,
                       double *pool)
{
    enum { E = 9, H = 19 };
    const double *wx = p + t[reverse ? NN_BW_WX : NN_FW_WX].offset, *wh = p + t[reverse ? NN_BW_WH : NN_FW_WH].offset;
    const double *b = p + t[reverse ? NN_BW_B : NN_FW_B].offset, *table = p + t[NN_EMBEDDING].offset;
    double h[H] = {0}, c[H] = {0}, a[4 * H];

    for (size_t j = 0; j < H; j++)
        pool[j] = -INFINITY;
    for (size_t step = 0; step < x->n_ids; step++) {
        const double *v = table + x->ids[reverse ? x->n_ids - 1 - step : step] * E;
        for (size_t k = 0; k < 4 * H; k++) {
            a[k] = b[k];
            for (size_t i = 0; i < E; i++)
                a[k] += v[i] * wx[i * 4 * H + k];
            for (size_t i = 0; i < H; i++)
                a[k] += h[i] * wh[i * 4 * H + k];
        }
        for (size_t j = 0; j < H; j++) {
            c[j] = sigmoid(a[H + j]) * c[j] + sigmoid(a[j]) * tanh(a[2 * H + j]);
            h[j] = sigmoid(a[3 * H + j]) * tanh(c[j]);
            pool[j] = fmax(pool[j], h[j]);
        }
    }
}

static void plain_probs(const double *p, const struct nn_example *x, double *probs)
{
    struct nn_tensor t[NN_MAX_TENSORS];
    double pool[2 * 19], sum = 0;

    nn_tensors(&shape, t);
    plain_lstm(p, t, false, x, pool);
    plain_lstm(p, t, true, x, pool + 19);
    for (size_t k = 0; k < 3; k++) {
        double z = p[t[NN_OUT_B].offset + k];
        for (size_t j = 0; j < 2 * 19; j++)
            z += pool[j] * p[t[NN_OUT_W].offset + j * 3 + k];
        for (size_t i = 0; i < x->n_ngrams; i++)
            z += 5 / sqrt(x->n_ngrams) * p[t[NN_NGRAM].offset + x->ngrams[i] * 3 + k];
        sum += probs[k] = exp(z);
    }
    for (size_t k = 0; k < 3; k++)
        probs[k] /= sum;
}

static double plain_loss(const double *p, const struct nn_example *rows, size_t n, double smoothing)
{
    double sum = 0, probs[3];

    for (size_t r = 0; r < n; r++) {
        plain_probs(p, &rows[r], probs);
        for (size_t k = 0; k < 3; k++)
            sum -= (smoothing / 3 + (k == rows[r].label ? 1 - smoothing : 0)) * log(probs[k]);
    }
    return sum / (double)n;
}

/* ---- tests ---- */

static nn_real *gradient_of(struct fixture *f, const struct nn_example *rows, uint32_t n,
                            const struct nn_objective *reg, uint64_t seed, double *loss)
{
    nn_real *grad = xcalloc(f->n, sizeof *grad);
    double unused;

    nn_loss(f->ws, f->params, rows, n, reg, seed, grad, loss ? loss : &unused, NULL);
    return grad;
}

static void test_probabilities_equal_plain_loops(void **state)
{
    struct fixture *f = *state;
    nn_real probs[N_ROWS * 3];
    double expected[3];

    nn_predict(f->ws, f->params, f->rows, N_ROWS, probs);
    for (size_t r = 0; r < N_ROWS; r++) {
        plain_probs(f->exact, &f->rows[r], expected);
        for (size_t k = 0; k < 3; k++)
            assert_true(fabs((double)probs[r * 3 + k] - expected[k]) < (EXACT ? 1e-12 : 2e-6));
    }
}

static void test_loss_and_hits(void **state)
{
    struct fixture *f = *state;
    const struct nn_objective smooth = {.label_smoothing = 0.1f};
    nn_real *grad = xcalloc(f->n, sizeof *grad), probs[N_ROWS * 3];
    uint32_t hits, expected = 0;
    double loss;

    nn_loss(f->ws, f->params, f->rows, N_ROWS, &smooth, 0, grad, &loss, &hits);
    assert_true(fabs(loss - plain_loss(f->exact, f->rows, N_ROWS, (double)0.1f)) < (EXACT ? 1e-12 : 2e-6));
    nn_predict(f->ws, f->params, f->rows, N_ROWS, probs);
    for (size_t r = 0; r < N_ROWS; r++) {
        const nn_real *p = probs + r * 3;
        size_t top = p[1] > p[0] ? (p[2] > p[1] ? 2 : 1) : p[2] > p[0] ? 2 : 0;
        expected += top == f->rows[r].label;
    }
    assert_int_equal(hits, expected);
    free(grad);
}

/* By central differences of the plain loss. Of the large tensors every fifth element, which visits all columns. */
static void check_tensor(struct fixture *f, const struct nn_tensor *t, const nn_real *grad)
{
    double largest = 0, worst = 0, h = 1e-5, smoothing = (double)0.1f;

    for (size_t i = t->offset; i<t->offset + t->n; i += t->n> 400 ? 5 : 1) {
        double x = f->exact[i];
        f->exact[i] = x + h;
        double above = plain_loss(f->exact, f->rows, N_ROWS, smoothing);
        f->exact[i] = x - h;
        double expected = (above - plain_loss(f->exact, f->rows, N_ROWS, smoothing)) / (2 * h);
        f->exact[i] = x;
        largest = fmax(largest, fabs(expected));
        worst = fmax(worst, fabs((double)grad[i] - expected));
    }
    if (largest == 0 || worst > TOLERANCE * largest)
        fail_msg("%s: gradient off by %.1e, largest %.1e", t->name, worst, largest);
}

static void test_gradient_of_every_tensor(void **state)
{
    struct fixture *f = *state;
    const struct nn_objective smooth = {.label_smoothing = 0.1f};
    struct nn_tensor t[NN_MAX_TENSORS];
    nn_real *grad = gradient_of(f, f->rows, N_ROWS, &smooth, 0, NULL);

    nn_tensors(&shape, t);
    for (size_t i = 0; i < NN_N_TENSORS; i++)
        check_tensor(f, &t[i], grad);
    for (size_t i = 0; i < shape.embed; i++)
        assert_true(grad[i] == 0); /* padding learns nothing */
    free(grad);
}

/* With dropout the loss is still a function of the parameters while the seed stays: along the gradient it must change
 * by the gradient's square. */
static void test_gradient_under_dropout(void **state)
{
    struct fixture *f = *state;
    const struct nn_objective reg = {0.1f, 0.4f, 0.5f, 0.3f, 0.1f};
    double h = EXACT ? 1e-6 : 1e-2, square = 0, loss[2];
    nn_real *grad = gradient_of(f, f->rows, N_ROWS, &reg, 11, NULL);

    for (size_t i = 0; i < f->n; i++)
        square += (double)grad[i] * (double)grad[i];
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < f->n; i++)
            f->params[i] = (nn_real)(f->exact[i] + (side ? h : -h) / sqrt(square) * (double)grad[i]);
        free(gradient_of(f, f->rows, N_ROWS, &reg, 11, &loss[side]));
    }
    assert_true(fabs((loss[1] - loss[0]) / (2 * h) / sqrt(square) - 1) < (EXACT ? 1e-6 : 1e-2));
    free(grad);
}

static void test_gradient_is_added(void **state)
{
    struct fixture *f = *state;
    nn_real *once = gradient_of(f, f->rows, N_ROWS, &plain, 0, NULL);
    nn_real *twice = gradient_of(f, f->rows, N_ROWS, &plain, 0, NULL);
    double loss;

    nn_loss(f->ws, f->params, f->rows, N_ROWS, &plain, 0, twice, &loss, NULL);
    for (size_t i = 0; i < f->n; i++)
        assert_true(fabs((double)(twice[i] - 2 * once[i])) <= 1e-5);
    free(once);
    free(twice);
}

/* A row's answer must not depend on who shares its batch, on its place there, or on what the workspace held before. */
static void test_rows_do_not_see_their_neighbours(void **state)
{
    struct fixture *f = *state;
    nn_real together[N_ROWS * 3], alone[3];

    nn_predict(f->ws, f->params, f->rows, N_ROWS, together);
    for (size_t r = 0; r < N_ROWS; r++) {
        nn_predict(f->ws, f->params, &f->rows[r], 1, alone);
        for (size_t k = 0; k < 3; k++)
            assert_true(fabs((double)(alone[k] - together[r * 3 + k])) < 1e-6);
    }
}

/* What the aggregator relies on: sum of n_k g_k over the shards' batches, by N, is the gradient of the union. */
static void test_shards_average_to_the_whole(void **state)
{
    static const uint32_t cuts[] = {0, 1, 4, N_ROWS};
    struct fixture *f = *state;
    nn_real *whole = gradient_of(f, f->rows, N_ROWS, &plain, 0, NULL);
    double *sum = xcalloc(f->n, sizeof *sum), largest = 0, worst = 0;

    for (size_t k = 0; k + 1 < COUNT_OF(cuts); k++) {
        uint32_t n = cuts[k + 1] - cuts[k];
        nn_real *part = gradient_of(f, f->rows + cuts[k], n, &plain, 0, NULL);
        for (size_t i = 0; i < f->n; i++)
            sum[i] += (double)part[i] * n / N_ROWS;
        free(part);
    }
    for (size_t i = 0; i < f->n; i++) {
        largest = fmax(largest, fabs((double)whole[i]));
        worst = fmax(worst, fabs((double)whole[i] - sum[i]));
    }
    assert_true(worst <= 1e-5 * largest);
    free(sum);
    free(whole);
}

static void test_a_seed_fixes_everything(void **state)
{
    struct fixture *f = *state;
    const struct nn_objective reg = {0.1f, 0.4f, 0.5f, 0.3f, 0.1f};
    nn_real *a = gradient_of(f, f->rows, N_ROWS, &reg, 1, NULL), *b = gradient_of(f, f->rows, N_ROWS, &reg, 1, NULL);
    nn_real *other = gradient_of(f, f->rows, N_ROWS, &reg, 2, NULL);

    assert_memory_equal(a, b, f->n * sizeof *a);
    assert_memory_not_equal(a, other, f->n * sizeof *a);
    free(a);
    free(b);
    free(other);
}

/* Each kind of dropout alone, over many seeds: the n-gram gradient of a lone feature is there in 1 - p of them; a text
 * whose every token is dropped gives the embedding nothing. */
static void test_dropout_rates(void **state)
{
    struct fixture *f = *state;
    const struct nn_objective ngram = {.ngram_dropout = 0.3f}, token = {.token_dropout = 0.1f};
    const struct nn_objective element = {.embed_dropout = 0.4f};
    struct nn_tensor t[NN_MAX_TENSORS];
    size_t kept_ngrams = 0, kept_tokens = 0, kept_elements = 0, n_seeds = 2000;

    nn_tensors(&shape, t);
    for (uint64_t seed = 0; seed < n_seeds; seed++) {
        nn_real *g = gradient_of(f, &f->rows[3], 1, &ngram, seed, NULL);
        kept_ngrams += g[t[NN_NGRAM].offset + f->ngrams[3][0] * 3] != 0;
        free(g);
        g = gradient_of(f, &f->rows[2], 1, &token, seed, NULL);
        kept_tokens += g[f->ids[2][0] * shape.embed] != 0;
        free(g);
        g = gradient_of(f, &f->rows[2], 1, &element, seed, NULL);
        for (size_t i = 0; i < shape.embed; i++)
            kept_elements += g[f->ids[2][0] * shape.embed + i] != 0;
        free(g);
    }
    assert_true(fabs((double)kept_ngrams / (double)n_seeds - 0.7) < 0.04);
    assert_true(fabs((double)kept_tokens / (double)n_seeds - 0.9) < 0.03);
    assert_true(fabs((double)kept_elements / (double)(n_seeds * shape.embed) - 0.6) < 0.02);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_probabilities_equal_plain_loops, setup, teardown),
        cmocka_unit_test_setup_teardown(test_loss_and_hits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gradient_of_every_tensor, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gradient_under_dropout, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gradient_is_added, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rows_do_not_see_their_neighbours, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shards_average_to_the_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_seed_fixes_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dropout_rates, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
