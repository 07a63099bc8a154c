/* textcnn.c - the encoder of the family textcnn (Kim 2014): for widths k = 2, 3, 4
 *
 *   z_t = [x_t ... x_(t+k-1)] w + b     feature = max(0, max over t of z_t)
 *
 * The rows of a text's vectors lie one after the other, so its windows are rows of a matrix whose rows overlap: one
 * product without a copy. A text shorter than a width is padded with zero vectors.
 * Of the steps only the one that holds a filter's maximum has a gradient, so the way back costs two vectors of k E a
 * filter, not a product; it makes the text's vectors again rather than keep them. */
#include "nn/embed.h"

#include <math.h>
#include <string.h>

#define N_WIDTHS  3
#define MIN_WIDTH 2
#define MAX_WIDTH (MIN_WIDTH + N_WIDTHS - 1)

struct filters {
    size_t n_inputs;   /* k E */
    size_t w, b;       /* where they lie in the block */
    nn_real *packed;   /* w for products */
    nn_real *wt, *dwt; /* (H,k E): transposed, so that a filter is a row */
};

struct textcnn_state {
    size_t embed, hidden;
    struct filters filters[N_WIDTHS];
    int32_t *at;     /* (max_batch,3H): step of each maximum */
    nn_real *x, *dx; /* (max(L,4),E): of one text */
    nn_real *z;      /* (L,H) */
};

static size_t n_features(const struct nn_shape *s)
{
    return N_WIDTHS * s->hidden;
}

static void lay_out(struct layout *l, const struct nn_shape *s)
{
    static const char *const names[N_WIDTHS][2] = {
        {"conv2.w", "conv2.b"}, {"conv3.w", "conv3.b"}, {"conv4.w", "conv4.b"}};

    layout_add(l, "embedding", s->vocab, s->embed, true);
    for (uint32_t i = 0; i < N_WIDTHS; i++) {
        layout_add(l, names[i][0], (MIN_WIDTH + i) * s->embed, s->hidden, false);
        layout_add(l, names[i][1], s->hidden, 1, false);
    }
}

static void init(nn_real *params, const struct nn_shape *s, const struct nn_tensor *tensors, struct rng *rng)
{
    init_embedding(params, tensors, rng);
    for (size_t i = 0; i < N_WIDTHS; i++) {
        const struct nn_tensor *w = &tensors[1 + 2 * i];
        init_uniform(params + w->offset, w->n, sqrt(6.0 / (w->dims[0] + s->hidden)), rng);
    }
}

static void place(void *memory, const struct nn_shape *s, size_t max_batch, struct block *b)
{
    struct textcnn_state *state = memory;
    size_t longest = s->max_tokens < MAX_WIDTH ? MAX_WIDTH : s->max_tokens;
    struct nn_tensor t[NN_MAX_TENSORS];

    nn_tensors(s, t);
    state->embed = s->embed;
    state->hidden = s->hidden;
    for (size_t i = 0; i < N_WIDTHS; i++) {
        struct filters *f = &state->filters[i];
        size_t n_inputs = t[1 + 2 * i].dims[0];
        *f = (struct filters){.n_inputs = n_inputs, .w = t[1 + 2 * i].offset, .b = t[2 + 2 * i].offset};
        f->packed = block_take(b, nn_packed_size(n_inputs, s->hidden), sizeof(nn_real));
        f->wt = block_take(b, n_inputs * s->hidden, sizeof(nn_real));
        f->dwt = block_take(b, n_inputs * s->hidden, sizeof(nn_real));
    }
    state->at = block_take(b, max_batch * N_WIDTHS * s->hidden, sizeof *state->at);
    state->x = block_take(b, longest * s->embed, sizeof *state->x);
    state->dx = block_take(b, longest * s->embed, sizeof *state->dx);
    state->z = block_take(b, longest * s->hidden, sizeof *state->z);
}

/* x: the text's vectors and, if it is shorter than the widest filter, zero vectors. */
static void embed_text(const struct textcnn_state *state, const struct embed *e, size_t row)
{
    size_t n = e->batch[row].n_ids, E = state->embed;

    for (size_t t = 0; t < n; t++)
        embed_character(e, row, t, state->x + t * E);
    if (n < MAX_WIDTH)
        memset(state->x + n * E, 0, (MAX_WIDTH - n) * E * sizeof *state->x);
}

static void forward(void *memory, struct pass *p, bool keep)
{
    struct textcnn_state *state = memory;
    struct embed embed = embed_of(p, p->params, state->embed, NULL);
    size_t H = state->hidden, E = state->embed;

    (void)keep; /* the steps of the maxima are small */
    for (size_t i = 0; i < N_WIDTHS; i++)
        p->kernels->matmul->pack(state->filters[i].packed, p->params + state->filters[i].w, H, 1,
                                 state->filters[i].n_inputs, H);
    for (size_t r = 0; r < p->n; r++) {
        size_t n_ids = p->batch[p->order[r]].n_ids;

        embed_text(state, &embed, p->order[r]);
        for (size_t i = 0; i < N_WIDTHS; i++) {
            const struct filters *f = &state->filters[i];
            size_t n_steps = n_ids < MIN_WIDTH + i ? 1 : n_ids - (MIN_WIDTH + i) + 1;
            nn_real *best = p->features + (r * N_WIDTHS + i) * H;

            p->kernels->matmul->multiply(state->z, H, state->x, E, f->packed, n_steps, H, f->n_inputs);
            p->kernels->column_max(state->z, n_steps, H, best, state->at + (r * N_WIDTHS + i) * H);
            for (size_t j = 0; j < H; j++) {
                nn_real z = best[j] + p->params[f->b + j];
                best[j] = z > 0 ? z : 0;
            }
        }
    }
}

static void backward_start(struct textcnn_state *state, const nn_real *params)
{
    for (size_t i = 0; i < N_WIDTHS; i++) {
        struct filters *f = &state->filters[i];

        memset(f->dwt, 0, f->n_inputs * state->hidden * sizeof *f->dwt);
        for (size_t k = 0; k < f->n_inputs; k++)
            for (size_t j = 0; j < state->hidden; j++)
                f->wt[j * f->n_inputs + k] = params[f->w + k * state->hidden + j];
    }
}

/* One text's filters of one width: x is there; adds to dwt, db and dx. */
static void filters_back(struct textcnn_state *state, const struct filters *f, const struct pass *p, size_t at,
                         const nn_real *dfeatures, nn_real *db)
{
    for (size_t j = 0; j < state->hidden; j++) {
        size_t from = (size_t)state->at[at + j] * state->embed;
        nn_real dz = dfeatures[at + j];

        if (!(p->features[at + j] > 0) || dz == 0)
            continue;
        db[j] += dz;
        p->kernels->add_scaled(f->dwt + j * f->n_inputs, state->x + from, f->n_inputs, dz);
        p->kernels->add_scaled(state->dx + from, f->wt + j * f->n_inputs, f->n_inputs, dz);
    }
}

static void backward(void *memory, const struct pass *p, const nn_real *dfeatures, nn_real *grad)
{
    struct textcnn_state *state = memory;
    struct embed embed = embed_of(p, p->params, state->embed, grad);
    size_t H = state->hidden, E = state->embed;

    backward_start(state, p->params);
    for (size_t r = 0; r < p->n; r++) {
        size_t row = p->order[r], n = p->batch[row].n_ids;

        embed_text(state, &embed, row);
        memset(state->dx, 0, (n < MAX_WIDTH ? MAX_WIDTH : n) * E * sizeof *state->dx);
        for (size_t i = 0; i < N_WIDTHS; i++)
            filters_back(state, &state->filters[i], p, (r * N_WIDTHS + i) * H, dfeatures, grad + state->filters[i].b);
        for (size_t t = 0; t < n; t++)
            embed_character_back(&embed, row, t, state->dx + t * E);
    }
    for (size_t i = 0; i < N_WIDTHS; i++)
        for (size_t k = 0; k < state->filters[i].n_inputs; k++)
            for (size_t j = 0; j < H; j++)
                grad[state->filters[i].w + k * H + j] += state->filters[i].dwt[j * state->filters[i].n_inputs + k];
}

const struct encoder encoder_textcnn = {
    .n_features = n_features,
    .lay_out = lay_out,
    .init = init,
    .state_size = sizeof(struct textcnn_state),
    .place = place,
    .forward = forward,
    .backward = backward,
};
