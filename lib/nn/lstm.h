/* lstm.h - one direction of an LSTM over a batch of texts of different lengths, with its maximum over time.
 *
 * Rows come sorted, longest first. Step t holds only the rows that are still inside their text, so the rows of all
 * steps lie packed one after the other: no padding, no mask, and a row's state ends with its text. The backward
 * direction reads each text from its own end and has the same shape. Private to lib/nn. */
#ifndef NN_LSTM_H
#define NN_LSTM_H

#include "nn/embed.h"

/* Where the tensors of the family "lstm" stand in the order of nn_tensors(). wx and wh of a direction are neighbours, so
 * together they are one (E+H,4H) matrix. */
enum lstm_tensor {
    NN_EMBEDDING,
    NN_FW_WX,
    NN_FW_WH,
    NN_FW_B,
    NN_BW_WX,
    NN_BW_WH,
    NN_BW_B,
    NN_OUT_W,
    NN_OUT_B,
    NN_NGRAM,
    NN_N_TENSORS
};

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
    nn_real *xh;     /* (N,E+H): what enters a step: x_t beside h_(t-1) */
    nn_real *gates;  /* (N,4H) */
    nn_real *c, *tc; /* (N,H) each */
    nn_real *pool;   /* (B,H), rows pool_stride apart: maximum of h over time */
    int32_t *step_of_max;
    size_t pool_stride;
};

struct lstm_scratch {
    nn_real *packed; /* nn_packed_size() of w, also for its transpose */
    nn_real *dxh;    /* (B,E+H) */
    nn_real *dc;     /* (B,H) */
    nn_real *row;    /* (H,) */
    nn_real *zeros;  /* (H,), all 0 */
};

struct lstm {
    const struct nn_kernels *kernels;
    size_t embed, hidden;
    bool reverse; /* the backward direction */
    struct lstm_trace trace;
    struct lstm_scratch scratch; /* may be shared by the two directions */
};

/* Fills trace; keep: for a backward pass. */
void lstm_forward(const struct lstm *l, const struct lstm_batch *b, const struct embed *e, const struct lstm_weights *w,
                  bool keep);

/* After lstm_forward() with keep: from dpool (rows pool_stride apart), adds to dw and, through e, to the embedding's
 * gradient. Overwrites the trace. */
void lstm_backward(const struct lstm *l, const struct lstm_batch *b, const struct embed *e,
                   const struct lstm_weights *w, const nn_real *dpool, struct lstm_weights *dw);

#endif
