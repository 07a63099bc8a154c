/* explain_test.c - contributions against what they are of: sums that have to come out, and derivatives taken by
 * differences. Built in both precisions; differences need the double one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nn/model_fixture.h"

#include <math.h>
#include <string.h>

#define MAX_PARTS 16

static double score_of(struct fixture *f, const nn_real *params, size_t row, uint32_t class)
{
    nn_real chars[MAX_PARTS], ngrams[MAX_PARTS];

    return nn_explain(f->shape, params, &f->rows[row], class, chars, ngrams);
}

static const struct nn_tensor *tensor(const struct nn_shape *s, const char *name)
{
    static struct nn_tensor tensors[NN_MAX_TENSORS];

    return nn_tensor_find(tensors, nn_tensors(s, tensors), name);
}

static void each_shape(void (*check)(struct fixture *f))
{
    for (size_t i = 0; i < COUNT_OF(fixture_shapes); i++) {
        struct fixture *f = fixture_new(&fixture_shapes[i]);
        check(f);
        fixture_free(f);
    }
}

/* Its own logit minus the mean of the others', from the probabilities that everybody else sees. */
static void check_score(struct fixture *f)
{
    nn_real p[FIXTURE_CLASSES];

    for (size_t r = 0; r < FIXTURE_ROWS; r++)
        for (uint32_t c = 0; c < FIXTURE_CLASSES; c++) {
            nn_predict(f->ws, f->params, &f->rows[r], 1, p);
            double others = log((double)p[(c + 1) % 3]) + log((double)p[(c + 2) % 3]);
            assert_true(fabs(score_of(f, f->params, r, c) - (log((double)p[c]) - others / 2)) < 1e-4);
        }
}

static void test_the_score_is_that_of_the_probabilities(void **state)
{
    (void)state;
    each_shape(check_score);
}

/* What is linear adds up without a rest. */
static void check_sum(struct fixture *f)
{
    const struct nn_tensor *b = tensor(f->shape, "out.b");

    if (f->shape->family != NN_LINEAR && f->shape->family != NN_BAG)
        return;
    for (size_t r = 0; r < FIXTURE_ROWS; r++)
        for (uint32_t c = 0; c < FIXTURE_CLASSES; c++) {
            nn_real chars[MAX_PARTS], ngrams[MAX_PARTS];
            double score = nn_explain(f->shape, f->params, &f->rows[r], c, chars, ngrams);
            const nn_real *bias = f->params + b->offset;
            double sum = (double)bias[c] - ((double)bias[(c + 1) % 3] + (double)bias[(c + 2) % 3]) / 2;
            for (size_t i = 0; i < f->rows[r].n_ngrams; i++)
                sum += (double)ngrams[i];
            for (size_t i = 0; i < f->rows[r].n_ids; i++)
                assert_true(chars[i] == 0);
            assert_true(fabs(score - sum) < 1e-4);
        }
}

static void test_linear_parts_add_up(void **state)
{
    (void)state;
    each_shape(check_sum);
}

/* How fast the score grows when a table's row is stretched, by differences. */
static double derivative(struct fixture *f, size_t row, uint32_t class, const struct nn_tensor *t, size_t table_row)
{
    const double h = 1e-5;
    size_t n = nn_n_params(f->shape), columns = t->dims[1];
    nn_real *params = xmalloc(n * sizeof *params);
    double scores[2];

    for (int side = 0; side < 2; side++) {
        memcpy(params, f->params, n * sizeof *params);
        for (size_t k = 0; k < columns; k++)
            params[t->offset + table_row * columns + k] *= (nn_real)(1 + (side ? h : -h));
        scores[side] = score_of(f, params, row, class);
    }
    free(params);
    return (scores[1] - scores[0]) / (2 * h);
}

/* All positions of a character share its row, so that their contributions together are the derivative. */
static void check_characters(struct fixture *f)
{
    const struct nn_tensor *t = tensor(f->shape, "embedding");

    for (size_t r = 0; t && r < FIXTURE_ROWS; r++) {
        const struct nn_example *x = &f->rows[r];
        nn_real chars[MAX_PARTS], ngrams[MAX_PARTS];
        nn_explain(f->shape, f->params, x, 1, chars, ngrams);
        for (size_t i = 0; i < x->n_ids; i++) {
            double sum = 0;
            for (size_t k = 0; k < x->n_ids; k++)
                sum += x->ids[k] == x->ids[i] ? (double)chars[k] : 0;
            assert_true(fabs(sum - derivative(f, r, 1, t, x->ids[i])) < 1e-6);
        }
    }
}

static void check_ngrams(struct fixture *f)
{
    const struct nn_tensor *t = tensor(f->shape, f->shape->family == NN_BAG ? "bag" : "ngram");

    for (size_t r = 0; r < FIXTURE_ROWS; r++) {
        const struct nn_example *x = &f->rows[r];
        nn_real chars[MAX_PARTS], ngrams[MAX_PARTS];
        nn_explain(f->shape, f->params, x, 2, chars, ngrams);
        for (size_t i = 0; i < x->n_ngrams; i++) {
            double expected = t ? derivative(f, r, 2, t, x->ngrams[i]) : 0;
            assert_true(fabs((double)ngrams[i] - expected) < 1e-6);
        }
    }
}

static void test_contributions_are_derivatives(void **state)
{
    (void)state;
    if (sizeof(nn_real) == sizeof(float))
        skip();
    each_shape(check_characters);
    each_shape(check_ngrams);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_score_is_that_of_the_probabilities),
        cmocka_unit_test(test_linear_parts_add_up),
        cmocka_unit_test(test_contributions_are_derivatives),
    };

    return cmocka_run_group_tests_name("explain", tests, NULL, NULL);
}
