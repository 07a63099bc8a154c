/* prepare.h - from an LSTM's parameters to what infer.h runs on: weights in panels, and x Wx + b of every character.
 * Private to lib/nn. */
#ifndef NN_PREPARE_H
#define NN_PREPARE_H

#include "nn/infer.h"
#include "nn/predictor.h"

/* Memory that is handed out piece by piece; without a base it only counts. */
struct prepare_block {
    char *base;
    size_t used;
};

void *prepare_take(struct prepare_block *b, size_t n, size_t size); /* aligned to 64 bytes */

/* Lays the net of a recurrent family out in the block; fills nothing. */
void prepare_place(struct infer_net *net, struct prepare_block *b, const struct nn_shape *s,
                   enum nn_precision precision);

/* Fills what prepare_place() laid out. */
void prepare_fill(const struct infer_net *net, const struct nn_shape *s, const float *params,
                  enum nn_precision precision, const struct infer_kernels *kernels);

#endif
