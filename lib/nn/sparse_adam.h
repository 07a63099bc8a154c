/* sparse_adam.h - Adam over a model of dense tensors and tables, in time proportional to the rows that a batch touches.
 * The rule stands in trainer.h. Private to lib/nn. */
#ifndef NN_SPARSE_ADAM_H
#define NN_SPARSE_ADAM_H

#include "nn/kernels.h"

struct sparse_adam;

struct sparse_adam *sparse_adam_new(const struct nn_shape *s);
void sparse_adam_free(struct sparse_adam *a);
void sparse_adam_reset(struct sparse_adam *a);

/* Before the batch is computed: its rows of params are brought up to date. */
void sparse_adam_touch(struct sparse_adam *a, nn_real *params, const struct nn_example *batch, size_t n);

/* After: steps params by grad, which is zero outside of the touched rows and becomes zero. */
void sparse_adam_step(struct sparse_adam *a, nn_real *params, nn_real *grad, double learning_rate);

/* All rows up to date. */
void sparse_adam_settle(struct sparse_adam *a, nn_real *params);

#endif
