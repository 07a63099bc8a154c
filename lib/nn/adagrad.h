/* adagrad.h - steps of AdaGrad, one a text, for the families that are a table and a head: linear and bag. No gradient is
 * ever stored. The rule stands in trainer.h. Private to lib/nn. */
#ifndef NN_ADAGRAD_H
#define NN_ADAGRAD_H

#include "nn/nn.h"

struct adagrad;

struct adagrad *adagrad_new(const struct nn_shape *s, const struct nn_objective *objective);
void adagrad_free(struct adagrad *a);
void adagrad_reset(struct adagrad *a);

/* Learns from one text, number `row` of its batch; returns its loss before that. */
double adagrad_step(struct adagrad *a, nn_real *params, const struct nn_example *x, size_t row, double learning_rate,
                    uint64_t seed, bool *correct);

#endif
