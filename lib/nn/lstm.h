/* lstm.h - one direction of an LSTM over a batch of texts of different lengths, with its
 * maximum over time or its last state.
 *
 * Rows come sorted, longest first. Step t holds only the rows that are still inside their text, so the rows of all
 * steps lie packed one after the other: no padding, no mask, and a row's state ends with its text. The backward
 * direction reads each text from its own end and has the same shape. Private to lib/nn. */
#ifndef NN_LSTM_H
#define NN_LSTM_H

#include "nn/embed.h"

struct lstm_batch {
    size_t n_steps;
    uint32_t *active; /* (n_steps+1,): rows of each step, falling; the last is 0 */
    size_t *start;    /* (n_steps,): packed position of a step's first row */
};

/* Weights or their gradient. */
struct lstm_weights {
    nn_real *w; /* (E+H,4H): wx above wh */
    nn_real *b; /* (4H,) */
};

/* What the forward pass leaves for the backward pass; N packed rows. Without a backward pass two steps' rows are
 * enough, N = 2 max_batch. */
struct lstm_trace {
    nn_real *xh;     /* (N,E+H): what enters a step: x_t beside h_(t-1); rows lstm_xh_stride() apart */
    nn_real *gates;  /* (N,4H) */
    nn_real *c, *tc; /* (N,H) each */
};

/* An odd number of cache lines: with a power of two, the rows of a column would share a few places in the cache. */
static inline size_t lstm_xh_stride(size_t embed, size_t hidden)
{
    size_t line = 64 / sizeof(nn_real), lines = (embed + hidden + line - 1) / line;

    return (lines | 1) * line;
}

struct lstm_scratch {
    nn_real *packed; /* nn_packed_size() of w, also for its transpose */
    nn_real *dxh;    /* (B,E+H) */
    nn_real *dc;     /* (B,H) */
    nn_real *row;    /* (H,) */
    nn_real *zeros;  /* (H,), all 0 */
};

/* What becomes of h over time: its maximum, or the state a text ends with. Rows stride apart. */
struct lstm_result {
    nn_real *features;    /* (B,H) */
    int32_t *step_of_max; /* (B,H), where the maximum came from; NULL: the last state is wanted */
    size_t stride;
};

struct lstm {
    const struct nn_kernels *kernels;
    size_t embed, hidden;
    bool reverse; /* the backward direction */
    struct lstm_trace trace;
    struct lstm_scratch scratch; /* may be shared by the two directions */
};

/* Fills the trace and the result; keep: for a backward pass. */
void lstm_forward(const struct lstm *l, const struct lstm_batch *b, const struct embed *e, const struct lstm_weights *w,
                  const struct lstm_result *result, bool keep);

/* After lstm_forward() with keep: result, with the gradient in place of the features (which is only read), gives dw,
 * added to, and through e the embedding's gradient. Overwrites the trace. */
void lstm_backward(const struct lstm *l, const struct lstm_batch *b, const struct embed *e,
                   const struct lstm_weights *w, const struct lstm_result *dresult, struct lstm_weights *dw);

#endif
