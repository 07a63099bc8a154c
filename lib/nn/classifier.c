/* classifier.c - the whole network: both directions of the LSTM, the output layer, the linear part on n-grams, the
 * loss, and the gradient of it all. */
#include "nn/dropout.h"
#include "nn/lstm.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NGRAM_SCALE 5 /* a text's n-gram features are 5 / sqrt(their number) each */

struct nn_workspace {
    struct nn_shape shape;
    struct nn_tensor tensors[NN_MAX_TENSORS];
    size_t max_batch;
    const struct nn_kernels *kernels;
    struct lstm directions[2];
    struct lstm_batch packed;
    uint32_t *order;       /* (max_batch,): rows of the caller's batch, longest first */
    nn_real *pool, *dpool; /* (max_batch,2H) */
    nn_real *features;     /* (2H,): one row of pool after dropout */
    int32_t *step_of_max;  /* (max_batch,2H) */
    nn_real *logits;       /* (max_batch,C); then their gradient */
    void *memory;
};

/* ---- memory: one block; pages that no batch reaches are never touched ---- */

#define ALIGNMENT 64

struct block {
    char *base; /* NULL while only measuring */
    size_t used;
};

static void *take(struct block *b, size_t n, size_t size)
{
    void *p = b->base ? b->base + b->used : NULL;
    b->used += (n * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return p;
}

static void place_direction(struct lstm *l, struct block *b, const struct nn_workspace *ws)
{
    size_t H = ws->shape.hidden, width = ws->shape.embed + H,
           steps = ws->shape.max_tokens > 1 ? ws->shape.max_tokens : 2;
    size_t rows = ws->max_batch * steps;

    l->trace.xh = take(b, rows * width, sizeof(nn_real));
    l->trace.gates = take(b, rows * 4 * H, sizeof(nn_real));
    l->trace.c = take(b, rows * H, sizeof(nn_real));
    l->trace.tc = take(b, rows * H, sizeof(nn_real));
    l->trace.pool = ws->pool ? ws->pool + (l->reverse ? H : 0) : NULL;
    l->trace.step_of_max = ws->step_of_max ? ws->step_of_max + (l->reverse ? H : 0) : NULL;
    l->trace.pool_stride = 2 * H;
}

static void place(struct nn_workspace *ws, struct block *b)
{
    size_t H = ws->shape.hidden, width = ws->shape.embed + H, n = ws->max_batch;
    struct lstm_scratch scratch;

    ws->order = take(b, n, sizeof *ws->order);
    ws->packed.active = take(b, ws->shape.max_tokens + 1, sizeof *ws->packed.active);
    ws->packed.start = take(b, ws->shape.max_tokens, sizeof *ws->packed.start);
    ws->pool = take(b, n * 2 * H, sizeof *ws->pool);
    ws->dpool = take(b, n * 2 * H, sizeof *ws->dpool);
    ws->step_of_max = take(b, n * 2 * H, sizeof *ws->step_of_max);
    ws->features = take(b, 2 * H, sizeof *ws->features);
    ws->logits = take(b, n * ws->shape.classes, sizeof *ws->logits);
    size_t packed = nn_packed_size(width, 4 * H), transposed = nn_packed_size(4 * H, width);
    scratch.packed = take(b, packed > transposed ? packed : transposed, sizeof(nn_real));
    scratch.dxh = take(b, n * width, sizeof(nn_real));
    scratch.dc = take(b, n * H, sizeof(nn_real));
    scratch.row = take(b, H, sizeof(nn_real));
    scratch.zeros = take(b, H, sizeof(nn_real));
    for (size_t d = 0; d < 2; d++) {
        struct lstm *l = &ws->directions[d];
        *l = (struct lstm){ws->kernels, ws->shape.embed, H, d == 1, {0}, scratch};
        place_direction(l, b, ws);
    }
}

struct nn_workspace *nn_workspace_new(const struct nn_shape *s, uint32_t max_batch)
{
    struct nn_workspace *ws = xcalloc(1, sizeof *ws);
    struct block block = {NULL, 0};

    assert(nn_shape_check(s).code == ST_OK && max_batch > 0 && max_batch <= NN_MAX_BATCH);
    ws->shape = *s;
    ws->max_batch = max_batch;
    ws->kernels = nn_kernels();
    nn_tensors(s, ws->tensors);
    place(ws, &block);
    ws->memory = xmalloc(block.used + ALIGNMENT);
    block = (struct block){(char *)ws->memory + ALIGNMENT - (uintptr_t)ws->memory % ALIGNMENT, 0};
    place(ws, &block);
    return ws;
}

void nn_workspace_free(struct nn_workspace *ws)
{
    if (!ws)
        return;
    free(ws->memory);
    free(ws);
}

/* ---- one batch ---- */

/* Rows longest first, equal lengths in the caller's order; then the packed layout of the steps. */
static void pack(struct nn_workspace *ws, const struct nn_example *batch, size_t n)
{
    struct lstm_batch *p = &ws->packed;
    size_t longest = 0, start = 0;

    for (size_t i = 0; i < n; i++)
        longest = batch[i].n_ids > longest ? batch[i].n_ids : longest;
    assert(n > 0 && n <= ws->max_batch && longest > 0 && longest <= ws->shape.max_tokens);
    memset(p->active, 0, (longest + 1) * sizeof *p->active);
    for (size_t i = 0; i < n; i++)
        p->active[batch[i].n_ids - 1]++;
    for (size_t t = longest - 1; t-- > 0;) /* texts of exactly t+1 characters -> of more than t */
        p->active[t] += p->active[t + 1];
    for (size_t i = n; i-- > 0;) /* a counting sort: row i goes before all that are shorter */
        ws->order[--p->active[batch[i].n_ids - 1]] = (uint32_t)i;
    for (size_t t = longest; t-- > 1;) /* it left in active[t] the rows longer than t+1: move up by one */
        p->active[t] = p->active[t - 1];
    p->active[0] = (uint32_t)n;
    for (size_t t = 0; t < longest; t++) {
        p->start[t] = start;
        start += p->active[t];
    }
    p->n_steps = longest;
}

static struct lstm_weights weights_of(const struct nn_workspace *ws, const nn_real *params, size_t direction)
{
    const struct nn_tensor *wx = ws->tensors + (direction ? NN_BW_WX : NN_FW_WX);

    return (struct lstm_weights){(nn_real *)params + wx->offset, (nn_real *)params + wx[2].offset};
}

static struct embed embed_of(const struct nn_workspace *ws, const nn_real *params, const struct nn_example *batch,
                             const struct nn_objective *reg, uint64_t seed, nn_real *grad)
{
    return (struct embed){
        .kernels = ws->kernels,
        .table = params + ws->tensors[NN_EMBEDDING].offset,
        .grad = grad ? grad + ws->tensors[NN_EMBEDDING].offset : NULL,
        .width = ws->shape.embed,
        .batch = batch,
        .order = ws->order,
        .seed = seed,
        .drop_token = dropout_limit(reg->token_dropout),
        .drop_element = dropout_limit(reg->embed_dropout),
        .scale = 1 / (1 - (nn_real)reg->embed_dropout),
    };
}

/* features (2H,): row r of the maxima after dropout, or a gradient likewise. */
static void output_dropout(const struct nn_workspace *ws, nn_real *features, const nn_real *from, size_t r,
                           const struct nn_objective *reg, uint64_t seed)
{
    size_t n = 2 * ws->shape.hidden;

    if (reg->output_dropout > 0)
        ws->kernels->dropout(features, from, n, dropout_key(seed, DROPOUT_OUTPUT, ws->order[r], 0),
                             dropout_limit(reg->output_dropout), 1 / (1 - (nn_real)reg->output_dropout));
    else
        memcpy(features, from, n * sizeof *features);
}

/* The value of a text's n-gram features and which of them this seed drops. */
struct ngram_features {
    const uint32_t *ids;
    size_t n;
    nn_real value;
    uint64_t seed;
    size_t row;
    uint32_t drop;
};

static struct ngram_features ngrams_of(const struct nn_example *x, size_t row, const struct nn_objective *reg,
                                       uint64_t seed)
{
    nn_real value = x->n_ngrams ? NGRAM_SCALE / (nn_real)sqrt(x->n_ngrams) : 0;

    return (struct ngram_features){x->ngrams, x->n_ngrams, value / (1 - (nn_real)reg->ngram_dropout),
                                   seed,      row,         dropout_limit(reg->ngram_dropout)};
}

static inline bool ngram_dropped(const struct ngram_features *f, size_t i)
{
    return f->drop && dropout_key(f->seed, DROPOUT_NGRAM, f->row, i) < f->drop;
}

static void row_logits(const struct nn_workspace *ws, const nn_real *params, const struct ngram_features *f,
                       nn_real *logits)
{
    const nn_real *w = params + ws->tensors[NN_OUT_W].offset, *b = params + ws->tensors[NN_OUT_B].offset;
    const nn_real *table = params + ws->tensors[NN_NGRAM].offset;
    nn_real sums[NN_MAX_CLASSES] = {0};
    size_t C = ws->shape.classes;

    for (size_t i = 0; i < f->n; i++) {
        if (ngram_dropped(f, i))
            continue;
        for (size_t k = 0; k < C; k++)
            sums[k] += table[f->ids[i] * C + k];
    }
    for (size_t k = 0; k < C; k++)
        logits[k] = b[k] + f->value * sums[k];
    for (size_t j = 0; j < 2 * ws->shape.hidden; j++) {
        for (size_t k = 0; k < C; k++)
            logits[k] += ws->features[j] * w[j * C + k];
    }
}

/* From dlogits (C,) of row r: the gradients of the output layer and the n-gram table, and dpool of the row. */
static void row_back(const struct nn_workspace *ws, const nn_real *params, const struct ngram_features *f,
                     const nn_real *dlogits, nn_real *dpool, nn_real *grad)
{
    const nn_real *w = params + ws->tensors[NN_OUT_W].offset;
    nn_real *dw = grad + ws->tensors[NN_OUT_W].offset, *db = grad + ws->tensors[NN_OUT_B].offset;
    nn_real *dtable = grad + ws->tensors[NN_NGRAM].offset;
    size_t C = ws->shape.classes;

    for (size_t k = 0; k < C; k++)
        db[k] += dlogits[k];
    for (size_t j = 0; j < 2 * ws->shape.hidden; j++) {
        dpool[j] = 0;
        for (size_t k = 0; k < C; k++) {
            dpool[j] += dlogits[k] * w[j * C + k];
            dw[j * C + k] += dlogits[k] * ws->features[j];
        }
    }
    for (size_t i = 0; i < f->n; i++) {
        if (ngram_dropped(f, i))
            continue;
        for (size_t k = 0; k < C; k++)
            dtable[f->ids[i] * C + k] += f->value * dlogits[k];
    }
}

/* z (C,) becomes its softmax; returns the logarithm of the sum of exponentials. */
static double softmax(nn_real *z, size_t C)
{
    nn_real top = z[0];
    double sum = 0;

    for (size_t k = 1; k < C; k++)
        top = z[k] > top ? z[k] : top;
    for (size_t k = 0; k < C; k++)
        sum += exp((double)(z[k] - top));
    for (size_t k = 0; k < C; k++)
        z[k] = (nn_real)(exp((double)(z[k] - top)) / sum);
    return top + log(sum);
}

/* Cross-entropy against (1 - s) one-hot + s / C; z (C,) becomes the gradient of loss / n. */
static double row_loss(nn_real *z, size_t C, uint32_t label, double smoothing, size_t n, bool *correct)
{
    nn_real logits[NN_MAX_CLASSES];
    double loss = 0;

    memcpy(logits, z, C * sizeof *z);
    double log_sum = softmax(z, C);
    *correct = true;
    for (size_t k = 0; k < C; k++) {
        double target = smoothing / (double)C + (k == label ? 1 - smoothing : 0);
        loss += target * (log_sum - (double)logits[k]);
        z[k] = (nn_real)(((double)z[k] - target) / (double)n);
        if (k < label ? logits[k] >= logits[label] : logits[k] > logits[label]) /* a tie goes to the first */
            *correct = false;
    }
    return loss;
}

void nn_loss(struct nn_workspace *ws, const nn_real *params, const struct nn_example *batch, uint32_t n,
             const struct nn_objective *reg, uint64_t seed, nn_real *grad, double *loss, uint32_t *n_correct)
{
    size_t C = ws->shape.classes, n_features = 2 * ws->shape.hidden;
    double sum = 0;
    uint32_t hits = 0;

    pack(ws, batch, n);
    struct embed embed = embed_of(ws, params, batch, reg, seed, grad);
    for (size_t d = 0; d < 2; d++) {
        struct lstm_weights w = weights_of(ws, params, d);
        lstm_forward(&ws->directions[d], &ws->packed, &embed, &w, true);
    }
    for (size_t r = 0; r < n; r++) {
        const struct nn_example *x = &batch[ws->order[r]];
        struct ngram_features f = ngrams_of(x, ws->order[r], reg, seed);
        nn_real *z = ws->logits + r * C, *dpool = ws->dpool + r * n_features;
        bool correct;

        output_dropout(ws, ws->features, ws->pool + r * n_features, r, reg, seed);
        row_logits(ws, params, &f, z);
        sum += row_loss(z, C, x->label, reg->label_smoothing, n, &correct);
        hits += correct;
        row_back(ws, params, &f, z, dpool, grad);
        output_dropout(ws, ws->features, dpool, r, reg, seed);
        memcpy(dpool, ws->features, n_features * sizeof *dpool);
    }
    for (size_t d = 0; d < 2; d++) {
        struct lstm_weights w = weights_of(ws, params, d), dw = weights_of(ws, grad, d);
        lstm_backward(&ws->directions[d], &ws->packed, &embed, &w, ws->dpool + d * ws->shape.hidden, &dw);
    }
    *loss = sum / n;
    if (n_correct)
        *n_correct = hits;
}

void nn_predict(struct nn_workspace *ws, const nn_real *params, const struct nn_example *batch, uint32_t n,
                nn_real *probs)
{
    static const struct nn_objective none = {0};
    size_t C = ws->shape.classes, n_features = 2 * ws->shape.hidden;

    pack(ws, batch, n);
    struct embed embed = embed_of(ws, params, batch, &none, 0, NULL);
    for (size_t d = 0; d < 2; d++) {
        struct lstm_weights w = weights_of(ws, params, d);
        lstm_forward(&ws->directions[d], &ws->packed, &embed, &w, false);
    }
    for (size_t r = 0; r < n; r++) {
        size_t row = ws->order[r];
        struct ngram_features f = ngrams_of(&batch[row], row, &none, 0);

        memcpy(ws->features, ws->pool + r * n_features, n_features * sizeof *ws->features);
        row_logits(ws, params, &f, probs + row * C);
        softmax(probs + row * C, C);
    }
}
