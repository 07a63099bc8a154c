/* local.h - what a worker computes on its own rows: the gradient of one batch, the change of local epochs, the score of
 * its evaluation rows. Knows no network. One thread at a time, except local_abandon(). */
#ifndef CLIENT_WORKER_LOCAL_H
#define CLIENT_WORKER_LOCAL_H

#include "base/base.h"
#include "nn/nn.h"

#include <stdatomic.h>

struct local_plan {
    struct nn_shape shape;
    struct nn_objective objective;
    uint64_t seed;
    uint32_t shard;
    uint32_t local_epochs; /* 0: one batch an exchange */
    double local_learning_rate;
    uint32_t local_batch;
};

/* Examples are borrowed for its life; train has at least one row. */
struct local;
struct local *local_new(const struct local_plan *plan, const struct nn_example *train, uint32_t n_train,
                        const struct nn_example *eval, uint32_t n_eval);
void local_free(struct local *l);

struct local_update {
    uint64_t samples;
    double loss; /* mean over the samples, with dropout */
};

/* update (n_params,): the mean gradient of the exchange's batch at params, or with local epochs params minus what local
 * training makes of them. ST_ABORTED after local_abandon(). exchanges at least 1. */
struct status local_train(struct local *l, const float *params, uint32_t round, uint32_t exchange, uint32_t exchanges,
                          float *update, struct local_update *about);

struct local_score {
    uint64_t rows, correct;
    double loss_sum;
};
struct status local_evaluate(struct local *l, const float *params, struct local_score *score);

/* Any thread: whatever is being computed is not wanted any more; local_resume() before the next. */
void local_abandon(struct local *l);
void local_resume(struct local *l);

uint64_t local_rows_done(const struct local *l); /* of the exchange at work; any thread */

#endif
