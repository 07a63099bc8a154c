/* classifier_test.c - every family against a plain-loop one in double precision, and its gradient against finite
 * differences of that. Built twice: with float parameters as they are served, and with double ones (NN_DOUBLE), where
 * the same code must agree to 1e-6. */
#include "nn/model_fixture.h"
#include "nn/plain_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#define EXACT     (sizeof(nn_real) == sizeof(double))
#define TOLERANCE (EXACT ? 1e-6 : 2e-4)
#define N_ROWS    FIXTURE_ROWS
#define C         FIXTURE_CLASSES

static const struct nn_objective plain = {0}, dropout = {NN_CROSS_ENTROPY, 0.1f, 0.4f, 0.5f, 0.3f, 0.1f};
static const struct nn_objective objectives[] = {{.label_smoothing = 0.1f}, {.loss = NN_HINGE}};

/* Every test runs once for each family and shape. */
static void each(void (*check)(struct fixture *f))
{
    for (size_t i = 0; i < COUNT_OF(fixture_shapes); i++) {
        struct fixture *f = fixture_new(&fixture_shapes[i]);
        check(f);
        fixture_free(f);
    }
}

static nn_real *gradient_of(struct fixture *f, const struct nn_example *rows, uint32_t n,
                            const struct nn_objective *objective, uint64_t seed, double *loss)
{
    nn_real *grad = xcalloc(f->n, sizeof *grad);
    double unused;

    nn_loss(f->ws, f->params, rows, n, objective, seed, grad, loss ? loss : &unused, NULL);
    return grad;
}

static void check_probabilities(struct fixture *f)
{
    nn_real probs[N_ROWS * C];
    double expected[C];

    nn_predict(f->ws, f->params, f->rows, N_ROWS, probs);
    for (size_t r = 0; r < N_ROWS; r++) {
        plain_probs(f->shape, f->exact, &f->rows[r], expected);
        for (size_t k = 0; k < C; k++)
            assert_true(fabs((double)probs[r * C + k] - expected[k]) < (EXACT ? 1e-12 : 2e-6));
    }
}

static void test_probabilities_equal_plain_loops(void **state)
{
    (void)state;
    each(check_probabilities);
}

static void check_loss_and_hits(struct fixture *f)
{
    nn_real *grad = xcalloc(f->n, sizeof *grad), probs[N_ROWS * C];
    uint32_t hits, expected = 0;
    double loss;

    nn_predict(f->ws, f->params, f->rows, N_ROWS, probs);
    for (size_t r = 0; r < N_ROWS; r++) {
        const nn_real *p = probs + r * C;
        size_t top = p[1] > p[0] ? (p[2] > p[1] ? 2 : 1) : p[2] > p[0] ? 2 : 0;
        expected += top == f->rows[r].label;
    }
    for (size_t i = 0; i < COUNT_OF(objectives); i++) {
        double exact =
            plain_loss(f->shape, f->exact, f->rows, N_ROWS, objectives[i].loss, (double)objectives[i].label_smoothing);
        nn_loss(f->ws, f->params, f->rows, N_ROWS, &objectives[i], 0, grad, &loss, &hits);
        assert_true(fabs(loss - exact) < (EXACT ? 1e-12 : 4e-6));
        assert_int_equal(hits, expected);
    }
    free(grad);
}

static void test_loss_and_hits(void **state)
{
    (void)state;
    each(check_loss_and_hits);
}

/* By central differences of the plain loss. Of the large tensors every fifth element, which visits all columns. */
static void check_tensor(struct fixture *f, const struct nn_tensor *t, const struct nn_objective *o,
                         const nn_real *grad)
{
    double largest = 0, worst = 0, h = 1e-5, smoothing = (double)o->label_smoothing;
    size_t stride = t->n > 400 ? 5 : 1;

    for (size_t i = t->offset; i < t->offset + t->n; i += stride) {
        double x = f->exact[i];
        f->exact[i] = x + h;
        double above = plain_loss(f->shape, f->exact, f->rows, N_ROWS, o->loss, smoothing);
        f->exact[i] = x - h;
        double expected = (above - plain_loss(f->shape, f->exact, f->rows, N_ROWS, o->loss, smoothing)) / (2 * h);
        f->exact[i] = x;
        largest = fmax(largest, fabs(expected));
        worst = fmax(worst, fabs((double)grad[i] - expected));
    }
    if (largest == 0 || worst > TOLERANCE * largest)
        fail_msg("%s: %s: gradient off by %.1e, largest %.1e", nn_family_name(f->shape->family), t->name, worst,
                 largest);
}

static void check_gradient(struct fixture *f)
{
    struct nn_tensor t[NN_MAX_TENSORS];
    size_t n = nn_tensors(f->shape, t);

    for (size_t i = 0; i < COUNT_OF(objectives); i++) {
        nn_real *grad = gradient_of(f, f->rows, N_ROWS, &objectives[i], 0, NULL);
        for (size_t k = 0; k < n; k++)
            check_tensor(f, &t[k], &objectives[i], grad);
        for (size_t k = 0; f->shape->vocab && k < f->shape->embed; k++)
            assert_true(grad[k] == 0); /* padding learns nothing */
        free(grad);
    }
}

static void test_gradient_of_every_tensor(void **state)
{
    (void)state;
    each(check_gradient);
}

/* With dropout the loss is still a function of the parameters while the seed stays: along the gradient it must change
 * by the gradient's square. */
static void check_gradient_under_dropout(struct fixture *f)
{
    double h = EXACT ? 1e-6 : 1e-2, square = 0, loss[2];
    nn_real *grad = gradient_of(f, f->rows, N_ROWS, &dropout, 11, NULL);

    for (size_t i = 0; i < f->n; i++)
        square += (double)grad[i] * (double)grad[i];
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < f->n; i++)
            f->params[i] = (nn_real)(f->exact[i] + (side ? h : -h) / sqrt(square) * (double)grad[i]);
        free(gradient_of(f, f->rows, N_ROWS, &dropout, 11, &loss[side]));
    }
    if (fabs((loss[1] - loss[0]) / (2 * h) / sqrt(square) - 1) > (EXACT ? 1e-6 : 1e-2))
        fail_msg("%s: %.9g", nn_family_name(f->shape->family), (loss[1] - loss[0]) / (2 * h) / sqrt(square));
    free(grad);
}

static void test_gradient_under_dropout(void **state)
{
    (void)state;
    each(check_gradient_under_dropout);
}

static void check_gradient_is_added(struct fixture *f)
{
    nn_real *once = gradient_of(f, f->rows, N_ROWS, &plain, 0, NULL);
    nn_real *twice = gradient_of(f, f->rows, N_ROWS, &plain, 0, NULL);
    double loss;

    nn_loss(f->ws, f->params, f->rows, N_ROWS, &plain, 0, twice, &loss, NULL);
    for (size_t i = 0; i < f->n; i++)
        assert_true(fabs((double)(twice[i] - 2 * once[i])) <= 1e-5);
    free(once);
    free(twice);
}

static void test_gradient_is_added(void **state)
{
    (void)state;
    each(check_gradient_is_added);
}

/* A row's answer must not depend on who shares its batch, on its place there, or on what the workspace held before. */
static void check_rows_alone(struct fixture *f)
{
    nn_real together[N_ROWS * C], alone[C];

    nn_predict(f->ws, f->params, f->rows, N_ROWS, together);
    for (size_t r = 0; r < N_ROWS; r++) {
        nn_predict(f->ws, f->params, &f->rows[r], 1, alone);
        for (size_t k = 0; k < C; k++)
            assert_true(fabs((double)(alone[k] - together[r * C + k])) < 1e-6);
    }
}

static void test_rows_do_not_see_their_neighbours(void **state)
{
    (void)state;
    each(check_rows_alone);
}

/* What the aggregator relies on: sum of n_k g_k over the shards' batches, by N, is the gradient of the union. */
static void check_shards(struct fixture *f)
{
    static const uint32_t cuts[] = {0, 1, 4, N_ROWS};
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

static void test_shards_average_to_the_whole(void **state)
{
    (void)state;
    each(check_shards);
}

static void check_seed(struct fixture *f)
{
    nn_real *a = gradient_of(f, f->rows, N_ROWS, &dropout, 1, NULL);
    nn_real *b = gradient_of(f, f->rows, N_ROWS, &dropout, 1, NULL);
    nn_real *other = gradient_of(f, f->rows, N_ROWS, &dropout, 2, NULL);

    assert_memory_equal(a, b, f->n * sizeof *a);
    assert_memory_not_equal(a, other, f->n * sizeof *a);
    free(a);
    free(b);
    free(other);
}

static void test_a_seed_fixes_everything(void **state)
{
    (void)state;
    each(check_seed);
}

/* Each kind of dropout alone, over many seeds: the n-gram gradient of a lone feature is there in 1 - p of them; a text
 * whose every token is dropped gives the embedding nothing. */
static void test_dropout_rates(void **state)
{
    struct fixture *f = fixture_new(&fixture_shapes[0]);
    const struct nn_objective ngram = {.ngram_dropout = 0.3f}, token = {.token_dropout = 0.1f};
    const struct nn_objective element = {.embed_dropout = 0.4f};
    struct nn_tensor t[NN_MAX_TENSORS];
    size_t kept_ngrams = 0, kept_tokens = 0, kept_elements = 0, n_seeds = 2000, E = f->shape->embed;
    size_t table = nn_tensor_find(t, nn_tensors(f->shape, t), "ngram")->offset;

    (void)state;
    for (uint64_t seed = 0; seed < n_seeds; seed++) {
        nn_real *g = gradient_of(f, &f->rows[3], 1, &ngram, seed, NULL);
        kept_ngrams += g[table + f->ngrams[3][0] * C] != 0;
        free(g);
        g = gradient_of(f, &f->rows[2], 1, &token, seed, NULL);
        kept_tokens += g[f->ids[2][0] * E] != 0;
        free(g);
        g = gradient_of(f, &f->rows[2], 1, &element, seed, NULL);
        for (size_t i = 0; i < E; i++)
            kept_elements += g[f->ids[2][0] * E + i] != 0;
        free(g);
    }
    assert_true(fabs((double)kept_ngrams / (double)n_seeds - 0.7) < 0.04);
    assert_true(fabs((double)kept_tokens / (double)n_seeds - 0.9) < 0.03);
    assert_true(fabs((double)kept_elements / (double)(n_seeds * E) - 0.6) < 0.02);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_probabilities_equal_plain_loops),
        cmocka_unit_test(test_loss_and_hits),
        cmocka_unit_test(test_gradient_of_every_tensor),
        cmocka_unit_test(test_gradient_under_dropout),
        cmocka_unit_test(test_gradient_is_added),
        cmocka_unit_test(test_rows_do_not_see_their_neighbours),
        cmocka_unit_test(test_shards_average_to_the_whole),
        cmocka_unit_test(test_a_seed_fixes_everything),
        cmocka_unit_test(test_dropout_rates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
