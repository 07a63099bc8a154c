/* adagrad.c - see adagrad.h. */
#include "nn/adagrad.h"
#include "nn/encoder.h"
#include "nn/head.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EPSILON 1e-10 /* added to s, which is 0 where no gradient has been */

struct adagrad {
    struct nn_objective objective;
    struct head head;
    const struct nn_kernels *kernels;
    bool has_bag;
    size_t n_rows, n_dense;        /* of the table; of what is not the table */
    size_t dense;                  /* where that begins: head.w or head.b */
    nn_real *row_sums;             /* (n_rows,) */
    nn_real *dense_sums;           /* (n_dense,) */
    nn_real *features, *dfeatures; /* (F,): after dropout, and the gradient before and then after it */
    nn_real *scratch;              /* (F,) */
    uint32_t *kept;                /* the n-grams of a text that dropout leaves */
    size_t kept_cap;
};

struct adagrad *adagrad_new(const struct nn_shape *s, const struct nn_objective *objective)
{
    struct adagrad *a = xcalloc(1, sizeof *a);

    a->objective = *objective;
    a->head = head_of(s);
    a->kernels = nn_kernels();
    a->has_bag = s->family == NN_BAG;
    a->n_rows = s->buckets;
    a->dense = a->has_bag ? a->head.w : a->head.b;
    a->n_dense = (a->head.n_features + 1) * s->classes;
    a->row_sums = xaligned(a->n_rows, sizeof *a->row_sums);
    a->dense_sums = xaligned(a->n_dense, sizeof *a->dense_sums);
    a->features = xaligned(3 * a->head.n_features + 1, sizeof *a->features);
    a->dfeatures = a->features + a->head.n_features;
    a->scratch = a->dfeatures + a->head.n_features;
    return a;
}

void adagrad_free(struct adagrad *a)
{
    if (!a)
        return;
    free(a->row_sums);
    free(a->dense_sums);
    free(a->features);
    free(a->kept);
    free(a);
}

void adagrad_reset(struct adagrad *a)
{
    memset(a->row_sums, 0, a->n_rows * sizeof *a->row_sums);
    memset(a->dense_sums, 0, a->n_dense * sizeof *a->dense_sums);
}

/* g with its dropped n-grams taken out, so that what follows asks once. */
static void keep_some(struct adagrad *a, struct ngrams *g)
{
    size_t n = 0;

    if (!g->drop)
        return;
    if (g->n > a->kept_cap) {
        a->kept_cap = 2 * g->n;
        a->kept = xrealloc(a->kept, a->kept_cap, sizeof *a->kept);
    }
    for (size_t i = 0; i < g->n; i++) {
        a->kept[n] = g->ids[i];
        n += !ngrams_dropped(g, i);
    }
    g->ids = a->kept;
    g->n = n;
    g->drop = 0;
}

static nn_real real_sqrt(nn_real x)
{
    return sizeof x == sizeof(double) ? (nn_real)sqrt((double)x) : (nn_real)sqrtf((float)x);
}

static void dense_step(struct adagrad *a, nn_real *params, size_t i, nn_real g, nn_real rate)
{
    nn_real *sum = &a->dense_sums[i - a->dense];

    *sum += g * g;
    params[i] -= rate * g / real_sqrt(*sum + (nn_real)EPSILON);
}

/* out.w and out.b; dfeatures (F,) are of the weights before. */
static void head_step(struct adagrad *a, nn_real *params, const nn_real *dlogits, nn_real rate)
{
    const struct head *h = &a->head;
    size_t C = h->n_classes;

    for (size_t k = 0; k < C; k++)
        dense_step(a, params, h->b + k, dlogits[k], rate);
    for (size_t j = 0; j < h->n_features; j++) {
        a->dfeatures[j] = 0;
        for (size_t k = 0; k < C; k++) {
            a->dfeatures[j] += dlogits[k] * params[h->w + j * C + k];
            dense_step(a, params, h->w + j * C + k, dlogits[k] * a->features[j], rate);
        }
    }
}

/* All rows of a text have the same gradient, g (width,). */
static inline void rows_step(struct adagrad *a, nn_real *table, const struct ngrams *rows, const nn_real *g,
                             size_t width, nn_real rate)
{
    nn_real square = 0;

    for (size_t j = 0; j < width; j++)
        square += g[j] * g[j] / (nn_real)width;
    for (size_t i = 0; i < rows->n; i++) {
        nn_real *row = table + rows->ids[i] * width, *sum = &a->row_sums[rows->ids[i]];
        *sum += square;
        nn_real step = rate / real_sqrt(*sum + (nn_real)EPSILON);
        for (size_t j = 0; j < width; j++)
            row[j] -= step * g[j];
    }
}

static void output_dropout(struct adagrad *a, nn_real *x, size_t row, uint64_t seed)
{
    float probability = a->objective.output_dropout;
    size_t F = a->head.n_features;

    if (probability <= 0)
        return;
    memcpy(a->scratch, x, F * sizeof *x);
    a->kernels->dropout(x, a->scratch, F, dropout_key(seed, DROPOUT_OUTPUT, row, 0), dropout_limit(probability),
                        1 / (1 - (nn_real)probability));
}

static double linear_step(struct adagrad *a, nn_real *params, const struct nn_example *x, size_t row, nn_real rate,
                          uint64_t seed, bool *correct)
{
    struct ngrams g = head_ngrams(&a->head, x, row, &a->objective, seed);
    size_t C = a->head.n_classes;
    nn_real z[NN_MAX_CLASSES];

    keep_some(a, &g);
    head_logits(&a->head, params, NULL, &g, z);
    *correct = head_correct(z, C, x->label);
    double loss = head_loss(z, C, x, &a->objective, 1);
    head_step(a, params, z, rate);
    for (size_t k = 0; k < C; k++)
        z[k] *= g.value;
    if (C == 2) /* a constant lets the compiler unroll */
        rows_step(a, params + a->head.ngram, &g, z, 2, rate);
    else
        rows_step(a, params + a->head.ngram, &g, z, C, rate);
    return loss;
}

static double bag_step(struct adagrad *a, nn_real *params, const struct nn_example *x, size_t row, nn_real rate,
                       uint64_t seed, bool *correct)
{
    struct ngrams g = ngrams_of(x, row, x->n_ngrams ? 1 / (nn_real)x->n_ngrams : 0, &a->objective, seed), none = {0};
    size_t C = a->head.n_classes, E = a->head.n_features;
    nn_real z[NN_MAX_CLASSES];

    keep_some(a, &g);
    memset(a->features, 0, E * sizeof *a->features);
    for (size_t i = 0; i < g.n; i++)
        a->kernels->add_scaled(a->features, params + g.ids[i] * E, E, g.value);
    output_dropout(a, a->features, row, seed);
    head_logits(&a->head, params, a->features, &none, z);
    *correct = head_correct(z, C, x->label);
    double loss = head_loss(z, C, x, &a->objective, 1);
    head_step(a, params, z, rate);
    output_dropout(a, a->dfeatures, row, seed);
    for (size_t j = 0; j < E; j++)
        a->dfeatures[j] *= g.value;
    rows_step(a, params, &g, a->dfeatures, E, rate);
    return loss;
}

double adagrad_step(struct adagrad *a, nn_real *params, const struct nn_example *x, size_t row, double learning_rate,
                    uint64_t seed, bool *correct)
{
    return (a->has_bag ? bag_step : linear_step)(a, params, x, row, (nn_real)learning_rate, seed, correct);
}
