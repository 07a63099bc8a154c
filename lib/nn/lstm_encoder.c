/* lstm_encoder.c - the encoders of the families lstm (both directions, maximum over time) and lstm-plain (one direction,
 * last state). */
#include "nn/lstm.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Where a direction's tensors lie in the block. wx and wh are neighbours: together one (E+H,4H) matrix. */
struct place_of_weights {
    size_t w, b;
};

struct lstm_state {
    size_t embed, hidden, max_tokens;
    size_t n_directions;
    bool pooled;
    struct place_of_weights weights[2];
    struct lstm directions[2];
    struct lstm_batch packed;
    int32_t *step_of_max; /* (max_batch,2H) when pooled */
};

/* ---- tensors ---- */

static size_t n_features_both(const struct nn_shape *s)
{
    return 2 * s->hidden;
}

static size_t n_features_plain(const struct nn_shape *s)
{
    return s->hidden;
}

static void lay_out_plain(struct layout *l, const struct nn_shape *s)
{
    layout_add(l, "embedding", s->vocab, s->embed, true);
    layout_add(l, "lstm.fw.wx", s->embed, 4 * s->hidden, false);
    layout_add(l, "lstm.fw.wh", s->hidden, 4 * s->hidden, false);
    layout_add(l, "lstm.fw.b", 4 * s->hidden, 1, false);
}

static void lay_out_both(struct layout *l, const struct nn_shape *s)
{
    lay_out_plain(l, s);
    layout_add(l, "lstm.bw.wx", s->embed, 4 * s->hidden, false);
    layout_add(l, "lstm.bw.wh", s->hidden, 4 * s->hidden, false);
    layout_add(l, "lstm.bw.b", 4 * s->hidden, 1, false);
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* rows (n,n) becomes orthogonal: Gram and Schmidt, twice, which is exact to rounding ("twice is enough", Kahan). */
static void orthogonalise(double *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double *row = rows + i * n;
        for (size_t j = 0; j < 2 * i; j++) {
            const double *done = rows + j % i * n;
            double overlap = dot(row, done, n);
            for (size_t k = 0; k < n; k++)
                row[k] -= overlap * done[k];
        }
        double scale = 1 / sqrt(dot(row, row, n));
        for (size_t k = 0; k < n; k++)
            row[k] *= scale;
    }
}

/* wh (H,4H): a random rotation for each gate. */
static void init_recurrent(nn_real *wh, size_t hidden, struct rng *rng)
{
    double *block = xmalloc(hidden * hidden * sizeof *block);

    for (size_t gate = 0; gate < 4; gate++) {
        for (size_t i = 0; i < hidden * hidden; i++)
            block[i] = rng_normal(rng);
        orthogonalise(block, hidden);
        for (size_t row = 0; row < hidden; row++)
            for (size_t col = 0; col < hidden; col++)
                wh[(row * 4 + gate) * hidden + col] = (nn_real)block[row * hidden + col];
    }
    free(block);
}

static void init_direction(nn_real *params, const struct nn_shape *s, const struct nn_tensor *wx, struct rng *rng)
{
    const struct nn_tensor *wh = wx + 1, *b = wx + 2;

    init_uniform(params + wx->offset, wx->n, sqrt(6.0 / (s->embed + s->hidden)), rng);
    init_recurrent(params + wh->offset, s->hidden, rng);
    for (size_t j = 0; j < s->hidden; j++)
        params[b->offset + s->hidden + j] = 1; /* the forget gate starts open */
}

static void init_plain(nn_real *params, const struct nn_shape *s, const struct nn_tensor *tensors, struct rng *rng)
{
    init_embedding(params, tensors, rng);
    init_direction(params, s, tensors + 1, rng);
}

static void init_both(nn_real *params, const struct nn_shape *s, const struct nn_tensor *tensors, struct rng *rng)
{
    init_plain(params, s, tensors, rng);
    init_direction(params, s, tensors + 4, rng);
}

/* ---- memory ---- */

static void place_scratch(struct lstm_scratch *scratch, const struct nn_shape *s, size_t n, struct block *b)
{
    size_t H = s->hidden, width = s->embed + H;
    size_t packed = nn_packed_size(width, 4 * H), transposed = nn_packed_size(4 * H, width);

    scratch->packed = block_take(b, packed > transposed ? packed : transposed, sizeof(nn_real));
    scratch->dxh = block_take(b, n * width, sizeof(nn_real));
    scratch->dc = block_take(b, n * H, sizeof(nn_real));
    scratch->row = block_take(b, H, sizeof(nn_real));
    scratch->zeros = block_take(b, H, sizeof(nn_real));
}

static void place_trace(struct lstm_trace *trace, const struct nn_shape *s, size_t n, struct block *b)
{
    size_t H = s->hidden, rows = n * (s->max_tokens > 1 ? s->max_tokens : 2);

    trace->xh = block_take(b, rows * lstm_xh_stride(s->embed, H), sizeof(nn_real));
    trace->gates = block_take(b, rows * 4 * H, sizeof(nn_real));
    trace->c = block_take(b, rows * H, sizeof(nn_real));
    trace->tc = block_take(b, rows * H, sizeof(nn_real));
}

static void find_weights(struct lstm_state *state, const struct nn_shape *s)
{
    struct nn_tensor t[NN_MAX_TENSORS];

    nn_tensors(s, t);
    for (size_t d = 0; d < state->n_directions; d++)
        state->weights[d] = (struct place_of_weights){t[1 + 3 * d].offset, t[3 + 3 * d].offset};
}

static void place(struct lstm_state *state, const struct nn_shape *s, size_t n, struct block *b)
{
    struct lstm_scratch scratch;

    state->embed = s->embed;
    state->hidden = s->hidden;
    state->max_tokens = s->max_tokens;
    find_weights(state, s);
    state->packed.active = block_take(b, s->max_tokens + 1, sizeof *state->packed.active);
    state->packed.start = block_take(b, s->max_tokens, sizeof *state->packed.start);
    if (state->pooled)
        state->step_of_max = block_take(b, n * 2 * s->hidden, sizeof *state->step_of_max);
    place_scratch(&scratch, s, n, b);
    for (size_t d = 0; d < state->n_directions; d++) {
        struct lstm *l = &state->directions[d];
        *l = (struct lstm){nn_kernels(), s->embed, s->hidden, d == 1, {0}, scratch};
        place_trace(&l->trace, s, n, b);
    }
}

static void place_both(void *memory, const struct nn_shape *s, size_t max_batch, struct block *b)
{
    struct lstm_state *state = memory;

    state->n_directions = 2;
    state->pooled = true;
    place(state, s, max_batch, b);
}

static void place_plain(void *memory, const struct nn_shape *s, size_t max_batch, struct block *b)
{
    struct lstm_state *state = memory;

    state->n_directions = 1;
    place(state, s, max_batch, b);
}

/* ---- one batch ---- */

/* Rows longest first, equal lengths in the caller's order; then the packed layout of the steps. */
static void pack(struct lstm_state *state, const struct pass *pass)
{
    struct lstm_batch *p = &state->packed;
    const struct nn_example *batch = pass->batch;
    size_t longest = 0, start = 0;

    for (size_t i = 0; i < pass->n; i++)
        longest = batch[i].n_ids > longest ? batch[i].n_ids : longest;
    assert(longest > 0 && longest <= state->max_tokens);
    memset(p->active, 0, (longest + 1) * sizeof *p->active);
    for (size_t i = 0; i < pass->n; i++)
        p->active[batch[i].n_ids - 1]++;
    for (size_t t = longest - 1; t-- > 0;) /* texts of exactly t+1 characters -> of more than t */
        p->active[t] += p->active[t + 1];
    for (size_t i = pass->n; i-- > 0;) /* a counting sort: row i goes before all that are shorter */
        pass->order[--p->active[batch[i].n_ids - 1]] = (uint32_t)i;
    for (size_t t = longest; t-- > 1;) /* it left in active[t] the rows longer than t+1: move up by one */
        p->active[t] = p->active[t - 1];
    p->active[0] = (uint32_t)pass->n;
    for (size_t t = 0; t < longest; t++) {
        p->start[t] = start;
        start += p->active[t];
    }
    p->n_steps = longest;
}

static struct lstm_weights weights_of(const struct lstm_state *state, const nn_real *params, size_t direction)
{
    const struct place_of_weights *at = &state->weights[direction];

    return (struct lstm_weights){(nn_real *)params + at->w, (nn_real *)params + at->b};
}

/* The columns of a direction. */
static struct lstm_result result_of(const struct lstm_state *state, const nn_real *features, size_t direction)
{
    size_t H = state->hidden;

    return (struct lstm_result){(nn_real *)features + direction * H,
                                state->pooled ? state->step_of_max + direction * H : NULL, state->n_directions * H};
}

static void forward(void *memory, struct pass *p, bool keep)
{
    struct lstm_state *state = memory;

    pack(state, p);
    struct embed embed = embed_of(p, p->params, state->embed, NULL);
    for (size_t d = 0; d < state->n_directions; d++) {
        struct lstm_weights w = weights_of(state, p->params, d);
        struct lstm_result result = result_of(state, p->features, d);
        lstm_forward(&state->directions[d], &state->packed, &embed, &w, &result, keep);
    }
}

static void backward(void *memory, const struct pass *p, const nn_real *dfeatures, nn_real *grad)
{
    struct lstm_state *state = memory;
    struct embed embed = embed_of(p, p->params, state->embed, grad);

    for (size_t d = state->n_directions; d-- > 0;) { /* the trace of the last is still in the cache */
        struct lstm_weights w = weights_of(state, p->params, d), dw = weights_of(state, grad, d);
        struct lstm_result dresult = result_of(state, dfeatures, d);
        lstm_backward(&state->directions[d], &state->packed, &embed, &w, &dresult, &dw);
    }
}

const struct encoder encoder_lstm = {
    .n_features = n_features_both,
    .lay_out = lay_out_both,
    .init = init_both,
    .state_size = sizeof(struct lstm_state),
    .place = place_both,
    .forward = forward,
    .backward = backward,
};

const struct encoder encoder_lstm_plain = {
    .n_features = n_features_plain,
    .lay_out = lay_out_plain,
    .init = init_plain,
    .state_size = sizeof(struct lstm_state),
    .place = place_plain,
    .forward = forward,
    .backward = backward,
};
