/* trainer.h - trains a model in one process: parameters, the optimizer's state, and one call a batch. What the local
 * epochs of federated averaging, experiments and measurements use. The step costs what the batch holds: of the tables
 * (nn_tensor.sparse) only rows that occur in it are read and written.
 *
 * linear and bag have nothing but a table, so they take one step a text, not one a batch: AdaGrad (Duchi et al. 2011),
 *     s += g^2    p -= rate g / sqrt(s)
 * with one s a table's row, of the mean square of the row's gradient, as all texts of a row share its direction.
 *
 * The other families take one step of Adam a batch: betas 0.9 and 0.99, epsilon 1e-8, the mean gradient clipped to norm 1.
 * Adam moves every parameter in every step, also where the gradient is 0. A row that k steps did not touch is brought up
 * to date when a batch holds it again, or when the parameters are asked for: its moments by beta1^k and beta2^k, its
 * parameters by the sum of the k steps, which is a geometric series as long as epsilon is small beside sqrt(v). So the
 * result is what the dense optimizer (nn_optimizer, NN_ADAM) gives but for rounding and, in elements whose gradients are
 * all below about 1e-5, epsilon.
 *
 * Deterministic for the same calls. One thread at a time. */
#ifndef NN_TRAINER_H
#define NN_TRAINER_H

#include "nn/nn.h"

struct nn_trainer;

/* max_batch as in nn_workspace_new(). Memory: the workspace and four times the parameters; linear and bag: the
 * parameters and a number a row. */
struct nn_trainer *nn_trainer_new(const struct nn_shape *s, const struct nn_objective *objective, uint32_t max_batch);
void nn_trainer_free(struct nn_trainer *t); /* NULL is fine */

/* Begins at these parameters, copied, with an optimizer that has seen nothing. Call before the first step. */
void nn_trainer_start(struct nn_trainer *t, const nn_real *params);

/* Learns from a batch (1 <= n <= max_batch). *loss: its mean loss, under dropout; n_correct as in nn_loss(), may be NULL.
 * seed only feeds dropout. */
void nn_trainer_step(struct nn_trainer *t, const struct nn_example *batch, uint32_t n, double learning_rate,
                     uint64_t seed, double *loss, uint32_t *n_correct);

/* What was learned; valid until the next step. */
const nn_real *nn_trainer_params(struct nn_trainer *t);

#endif
