/* explain.c - what each part of a text adds to the score of a class. The score's gradient comes from nn_loss() itself:
 * cross-entropy towards the target p - v, p being the model's own probabilities, has the gradient v in the logits, and
 * v is 1 for the class and -1/(C-1) for the others. The text is given to a model of its own whose tables hold a row for
 * each of its positions and n-grams, so that the gradients of two positions do not fall together, and nothing here is as
 * large as a vocabulary. */
#include "nn/nn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SMALLEST 1e-30 /* of a probability whose logarithm is taken */

/* The small model, and the text in its terms. */
struct extract {
    struct nn_shape shape;
    nn_real *params, *grad;
    uint16_t *ids;
    uint32_t *ngrams;
    struct nn_example example;
    nn_real target[NN_MAX_CLASSES];
};

static uint32_t at_least_two(uint32_t n)
{
    return n < 2 ? 2 : n;
}

static struct nn_shape shape_of(const struct nn_shape *s, const struct nn_example *x)
{
    struct nn_shape small = *s;

    small.vocab = s->vocab ? at_least_two(x->n_ids + 1) : 0; /* row 0 is padding */
    small.buckets = s->buckets ? at_least_two(x->n_ngrams) : 0;
    return small;
}

static bool is_embedding(const struct nn_tensor *t)
{
    return strcmp(t->name, "embedding") == 0;
}

/* Copies a table's rows that the text reads, in its order. */
static void gather(nn_real *to, const nn_real *from, const struct nn_tensor *t, const struct nn_example *x)
{
    size_t columns = t->dims[1], size = columns * sizeof *to;

    if (is_embedding(t))
        for (uint32_t i = 0; i < x->n_ids; i++)
            memcpy(to + (i + 1) * columns, from + x->ids[i] * columns, size);
    else
        for (uint32_t i = 0; i < x->n_ngrams; i++)
            memcpy(to + i * columns, from + x->ngrams[i] * columns, size);
}

static void params_take(struct extract *e, const struct nn_shape *s, const nn_real *params, const struct nn_example *x)
{
    struct nn_tensor from[NN_MAX_TENSORS], to[NN_MAX_TENSORS];
    size_t n = nn_tensors(s, from);

    nn_tensors(&e->shape, to);
    for (size_t i = 0; i < n; i++)
        if (from[i].sparse)
            gather(e->params + to[i].offset, params + from[i].offset, &from[i], x);
        else
            memcpy(e->params + to[i].offset, params + from[i].offset, from[i].n * sizeof *params);
}

static void extract_init(struct extract *e, const struct nn_shape *s, const nn_real *params, const struct nn_example *x)
{
    e->shape = shape_of(s, x);
    size_t n = nn_n_params(&e->shape);
    e->params = xaligned(n, sizeof *e->params);
    e->grad = xaligned(n, sizeof *e->grad);
    memset(e->params, 0, n * sizeof *e->params);
    memset(e->grad, 0, n * sizeof *e->grad);
    params_take(e, s, params, x);
    e->ids = xcalloc(x->n_ids + 1, sizeof *e->ids);
    e->ngrams = xcalloc(x->n_ngrams + 1, sizeof *e->ngrams);
    for (uint32_t i = 0; i < x->n_ids; i++)
        e->ids[i] = (uint16_t)(i + 1);
    for (uint32_t i = 0; i < x->n_ngrams; i++)
        e->ngrams[i] = i;
    e->example = (struct nn_example){
        .ids = e->ids, .n_ids = x->n_ids, .ngrams = e->ngrams, .n_ngrams = x->n_ngrams, .target = e->target};
}

static void extract_fini(struct extract *e)
{
    free(e->params);
    free(e->grad);
    free(e->ids);
    free(e->ngrams);
}

/* Its own logit minus the mean of the others', from probabilities: what they have in common cancels. */
static double score_of(const nn_real *p, uint32_t C, uint32_t class)
{
    double own = log(fmax((double)p[class], SMALLEST)), others = 0;

    for (uint32_t k = 0; k < C; k++)
        others += k == class ? 0 : log(fmax((double)p[k], SMALLEST));
    return own - others / (C - 1);
}

/* e->grad: of the score. Returns the score. */
static double score_gradient(struct extract *e, uint32_t class)
{
    static const struct nn_objective plain = {.loss = NN_CROSS_ENTROPY};
    struct nn_workspace *ws = nn_workspace_new(&e->shape, 1);
    uint32_t C = e->shape.classes;
    nn_real p[NN_MAX_CLASSES];
    double loss;

    nn_predict(ws, e->params, &e->example, 1, p);
    for (uint32_t k = 0; k < C; k++)
        e->target[k] = p[k] - (k == class ? (nn_real)1 : (nn_real)-1 / (nn_real)(C - 1));
    nn_loss(ws, e->params, &e->example, 1, &plain, 0, e->grad, &loss, NULL);
    nn_workspace_free(ws);
    return score_of(p, C, class);
}

/* Gradient times input, row by row. */
static void multiply(nn_real *out, const struct extract *e, const struct nn_tensor *t, uint32_t first, uint32_t n)
{
    size_t columns = t->dims[1];

    for (uint32_t i = 0; i < n; i++) {
        size_t row = t->offset + (first + i) * columns;
        double sum = 0;
        for (size_t k = 0; k < columns; k++)
            sum += (double)e->params[row + k] * (double)e->grad[row + k];
        out[i] = (nn_real)sum;
    }
}

double nn_explain(const struct nn_shape *s, const nn_real *params, const struct nn_example *x, uint32_t class,
                  nn_real *chars, nn_real *ngrams)
{
    struct nn_tensor tensors[NN_MAX_TENSORS];
    struct extract e;

    extract_init(&e, s, params, x);
    double score = score_gradient(&e, class);
    memset(chars, 0, x->n_ids * sizeof *chars);
    memset(ngrams, 0, x->n_ngrams * sizeof *ngrams);
    size_t n = nn_tensors(&e.shape, tensors);
    for (size_t i = 0; i < n; i++)
        if (tensors[i].sparse && is_embedding(&tensors[i]))
            multiply(chars, &e, &tensors[i], 1, x->n_ids);
        else if (tensors[i].sparse)
            multiply(ngrams, &e, &tensors[i], 0, x->n_ngrams);
    extract_fini(&e);
    return score;
}
