/* plain_model.h - every family in plain loops and double precision, straight from the formulas: what the tests compare
 * lib/nn with. Not part of the library. */
#ifndef NN_PLAIN_MODEL_H
#define NN_PLAIN_MODEL_H

#include "nn/nn.h"

/* logits (C,) of one text; p: the parameters in the order of nn_tensors(). */
void plain_logits(const struct nn_shape *s, const double *p, const struct nn_example *x, double *logits);

void plain_probs(const struct nn_shape *s, const double *p, const struct nn_example *x, double *probs);

/* Mean loss without dropout. */
double plain_loss(const struct nn_shape *s, const double *p, const struct nn_example *rows, size_t n,
                  enum nn_loss_kind loss, double smoothing);

#endif
