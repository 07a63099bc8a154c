/* lstm.c - see lstm.h.
 *
 *   [i f g o] = act([x_t h_(t-1)] w + b)     c_t = f c_(t-1) + i g     h_t = o tanh(c_t)
 *
 * x and h lie side by side, so a step is one product with the stacked weights and its result is still in the cache
 * when the gates are computed; and the weights' gradient is one product over all steps at the end. */
#include "nn/lstm.h"

#include <string.h>

/* Where a step's rows begin: packed when they are kept, else in two turns. */
static size_t rows_at(const struct lstm_batch *b, size_t t, bool keep)
{
    return keep ? b->start[t] : t % 2 * b->active[0];
}

static void forward_start(const struct lstm *l, const struct lstm_result *result, size_t n)
{
    size_t stride = lstm_xh_stride(l->embed, l->hidden);

    memset(l->scratch.zeros, 0, l->hidden * sizeof(nn_real));
    for (size_t r = 0; r < n; r++) {
        memset(l->trace.xh + r * stride + l->embed, 0, l->hidden * sizeof(nn_real)); /* h before the first step */
        for (size_t j = 0; result->step_of_max && j < l->hidden; j++)
            result->features[r * result->stride + j] = -2; /* below any h */
    }
}

static void forward_cell(const struct lstm *l, const struct lstm_batch *b, const nn_real *bias,
                         const struct lstm_result *result, size_t t, bool keep)
{
    const struct lstm_trace *tr = &l->trace;
    size_t H = l->hidden, stride = lstm_xh_stride(l->embed, H), at = rows_at(b, t, keep);
    bool last = t + 1 == b->n_steps, pooled = result->step_of_max;
    struct nn_cell s = {
        .n = b->active[t],
        .hidden = H,
        .gates = tr->gates + (keep ? at * 4 * H : 0),
        .b = bias,
        .c_prev = t ? tr->c + rows_at(b, t - 1, keep) * H : l->scratch.zeros,
        .c_prev_stride = t ? H : 0,
        .c = tr->c + at * H,
        .tc = tr->tc + at * H,
        .h = last ? NULL : tr->xh + rows_at(b, t + 1, keep) * stride + l->embed,
        .n_next = b->active[t + 1],
        .h_stride = stride,
        .h_end = pooled ? l->scratch.row : result->features,
        .h_end_stride = pooled ? 0 : result->stride,
        .pool = pooled ? result->features : NULL,
        .step_of_max = result->step_of_max,
        .pool_stride = result->stride,
        .step = (int32_t)t,
    };

    l->kernels->cell(&s);
}

void lstm_forward(const struct lstm *l, const struct lstm_batch *b, const struct embed *e, const struct lstm_weights *w,
                  const struct lstm_result *result, bool keep)
{
    size_t H = l->hidden, width = l->embed + H, stride = lstm_xh_stride(l->embed, H);

    forward_start(l, result, b->active[0]);
    l->kernels->matmul->pack(l->scratch.packed, w->w, 4 * H, 1, width, 4 * H);
    for (size_t t = 0; t < b->n_steps; t++) {
        size_t at = rows_at(b, t, keep), n = b->active[t];
        nn_real *xh = l->trace.xh + at * stride;

        embed_step(e, n, t, l->reverse, xh, stride);
        l->kernels->matmul->multiply(l->trace.gates + (keep ? at * 4 * H : 0), 4 * H, xh, stride, l->scratch.packed, n,
                                     4 * H, width);
        forward_cell(l, b, w->b, result, t, keep);
    }
}

static void backward_cell(const struct lstm *l, const struct lstm_batch *b, const struct lstm_result *dresult,
                          nn_real *db, size_t t)
{
    const struct lstm_trace *tr = &l->trace;
    size_t H = l->hidden, width = l->embed + H, at = b->start[t];
    bool pooled = dresult->step_of_max;
    struct nn_cell_back s = {
        .n = b->active[t],
        .hidden = H,
        .gates = tr->gates + at * 4 * H,
        .c_prev = t ? tr->c + b->start[t - 1] * H : l->scratch.zeros,
        .c_prev_stride = t ? H : 0,
        .tc = tr->tc + at * H,
        .dh = l->scratch.dxh + l->embed,
        .n_next = b->active[t + 1],
        .dh_stride = width,
        .dh_end = pooled ? l->scratch.zeros : dresult->features,
        .dh_end_stride = pooled ? 0 : dresult->stride,
        .dc = l->scratch.dc,
        .dpool = pooled ? dresult->features : NULL,
        .step_of_max = dresult->step_of_max,
        .pool_stride = dresult->stride,
        .step = (int32_t)t,
        .db = db,
    };

    memset(s.dc + s.n_next * H, 0, (s.n - s.n_next) * H * sizeof *s.dc); /* rows that end here */
    l->kernels->cell_back(&s);
}

void lstm_backward(const struct lstm *l, const struct lstm_batch *b, const struct embed *e,
                   const struct lstm_weights *w, const struct lstm_result *dresult, struct lstm_weights *dw)
{
    size_t H = l->hidden, width = l->embed + H, stride = lstm_xh_stride(l->embed, H);
    size_t end = b->start[b->n_steps - 1] + b->active[b->n_steps - 1]; /* rows from here on are in dw */

    l->kernels->matmul->pack(l->scratch.packed, w->w, 1, 4 * H, 4 * H, width); /* transposed */
    for (size_t t = b->n_steps; t-- > 0;) {
        size_t n = b->active[t], at = b->start[t];

        backward_cell(l, b, dresult, dw->b, t);
        l->kernels->matmul->multiply(l->scratch.dxh, width, l->trace.gates + at * 4 * H, 4 * H, l->scratch.packed, n,
                                     width, 4 * H);
        embed_step_back(e, n, t, l->reverse, l->scratch.dxh, width);
        if (t == 0 || end - at + b->active[t - 1] > NN_OUTER_DEPTH) { /* while the gradients are still in the cache */
            l->kernels->matmul->add_outer(dw->w, 4 * H, l->trace.xh + at * stride, stride, l->trace.gates + at * 4 * H,
                                          4 * H, width, 4 * H, end - at);
            end = at;
        }
    }
}
