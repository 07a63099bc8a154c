/* classifier.c - a whole model: its encoder's features through the head to a loss, and the gradient of it all. */
#include "nn/encoder.h"
#include "nn/head.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64

struct nn_workspace {
    struct nn_shape shape;
    const struct encoder *encoder; /* NULL: the family has no features */
    struct head head;
    size_t max_batch;
    const struct nn_kernels *kernels;
    void *state;                   /* the encoder's */
    uint32_t *order;               /* (max_batch,) */
    nn_real *features, *dfeatures; /* (max_batch,F) */
    nn_real *row;                  /* (F,): one row of features after dropout */
    nn_real *logits;               /* (C,); then their gradient */
    void *memory;
};

void *block_take(struct block *b, size_t n, size_t size)
{
    void *p = b->base ? b->base + b->used : NULL;

    b->used += (n * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return p;
}

static void place(struct nn_workspace *ws, struct block *b)
{
    size_t n = ws->max_batch, F = ws->head.n_features;

    ws->order = block_take(b, n, sizeof *ws->order);
    ws->features = block_take(b, n * F, sizeof *ws->features);
    ws->dfeatures = block_take(b, n * F, sizeof *ws->dfeatures);
    ws->row = block_take(b, F, sizeof *ws->row);
    ws->logits = block_take(b, ws->shape.classes, sizeof *ws->logits);
    if (ws->encoder)
        ws->encoder->place(ws->state, &ws->shape, n, b);
}

struct nn_workspace *nn_workspace_new(const struct nn_shape *s, uint32_t max_batch)
{
    struct nn_workspace *ws = xcalloc(1, sizeof *ws);
    struct block block = {NULL, 0};

    assert(nn_shape_check(s).code == ST_OK && max_batch > 0 && max_batch <= NN_MAX_BATCH);
    ws->shape = *s;
    ws->max_batch = max_batch;
    ws->kernels = nn_kernels();
    ws->encoder = family_of(s)->encoder;
    ws->head = head_of(s);
    ws->state = ws->encoder ? xcalloc(1, ws->encoder->state_size) : NULL;
    place(ws, &block);
    ws->memory = xuntouched(block.used, 1);
    block = (struct block){ws->memory, 0};
    place(ws, &block);
    return ws;
}

void nn_workspace_free(struct nn_workspace *ws)
{
    if (!ws)
        return;
    free(ws->state);
    free(ws->memory);
    free(ws);
}

static struct pass forward(struct nn_workspace *ws, const nn_real *params, const struct nn_example *batch, size_t n,
                           const struct nn_objective *objective, uint64_t seed, bool keep)
{
    struct pass p = {ws->kernels, params, batch, n, objective, seed, ws->order, ws->features};

    assert(n > 0 && n <= ws->max_batch);
    for (size_t r = 0; r < n; r++)
        ws->order[r] = (uint32_t)r;
    if (ws->encoder)
        ws->encoder->forward(ws->state, &p, keep);
    return p;
}

/* to (F,): features of row r after dropout, or a gradient likewise. */
static void output_dropout(const struct nn_workspace *ws, const struct pass *p, size_t r, const nn_real *from,
                           nn_real *to)
{
    float probability = p->objective->output_dropout;
    size_t F = ws->head.n_features;

    if (probability > 0)
        ws->kernels->dropout(to, from, F, dropout_key(p->seed, DROPOUT_OUTPUT, p->order[r], 0),
                             dropout_limit(probability), 1 / (1 - (nn_real)probability));
    else
        memcpy(to, from, F * sizeof *to);
}

/* Loss of row r and its gradient in the head; dfeatures of the row. */
static double row_loss(struct nn_workspace *ws, const struct pass *p, size_t r, nn_real *grad, bool *correct)
{
    size_t row = p->order[r], F = ws->head.n_features, C = ws->head.n_classes;
    const struct nn_example *x = &p->batch[row];
    struct ngrams g = head_ngrams(&ws->head, x, row, p->objective, p->seed);
    nn_real *dfeatures = ws->dfeatures + r * F;

    output_dropout(ws, p, r, ws->features + r * F, ws->row);
    head_logits(&ws->head, p->params, ws->row, &g, ws->logits);
    *correct = head_correct(ws->logits, C, x->label);
    double loss = head_loss(ws->logits, C, x, p->objective, p->n);
    head_back(&ws->head, p->params, ws->row, &g, ws->logits, dfeatures, grad);
    output_dropout(ws, p, r, dfeatures, ws->row);
    memcpy(dfeatures, ws->row, F * sizeof *dfeatures);
    return loss;
}

void nn_loss(struct nn_workspace *ws, const nn_real *params, const struct nn_example *batch, uint32_t n,
             const struct nn_objective *objective, uint64_t seed, nn_real *grad, double *loss, uint32_t *n_correct)
{
    struct pass p = forward(ws, params, batch, n, objective, seed, true);
    double sum = 0;
    uint32_t hits = 0;

    for (size_t r = 0; r < n; r++) {
        bool correct;
        sum += row_loss(ws, &p, r, grad, &correct);
        hits += correct;
    }
    if (ws->encoder)
        ws->encoder->backward(ws->state, &p, ws->dfeatures, grad);
    *loss = sum / n;
    if (n_correct)
        *n_correct = hits;
}

void nn_predict(struct nn_workspace *ws, const nn_real *params, const struct nn_example *batch, uint32_t n,
                nn_real *probs)
{
    static const struct nn_objective none = {0};
    struct pass p = forward(ws, params, batch, n, &none, 0, false);
    size_t C = ws->head.n_classes;

    for (size_t r = 0; r < n; r++) {
        size_t row = p.order[r];
        struct ngrams g = head_ngrams(&ws->head, &batch[row], row, &none, 0);

        head_logits(&ws->head, params, ws->features + r * ws->head.n_features, &g, probs + row * C);
        head_softmax(probs + row * C, C);
    }
}
