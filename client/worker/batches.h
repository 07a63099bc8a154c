/* batches.h - the order in which a worker goes through its shard: shuffled anew each round, in batches of rows of like
 * length, so that little of a padded batch is padding. The same for a seed. Not thread-safe. */
#ifndef CLIENT_WORKER_BATCHES_H
#define CLIENT_WORKER_BATCHES_H

#include "base/base.h"
#include "nn/nn.h"

struct batches {
    uint32_t n_rows, n_batches;
    uint32_t *rows;  /* (n_rows,), row numbers, batch after batch */
    uint32_t *which; /* (n_batches,), the batch that comes at this place */
};

/* n_rows at least 1. Every row is in exactly one batch; where there are more batches than rows, batches repeat rows, so
 * that none is empty. Rows are drawn by (seed, shard), the order of batches by seed alone: the k-th batches of all
 * workers of a round hold rows of like length, and none waits for the others. */
void batches_init(struct batches *b, const struct nn_example *rows, uint32_t n_rows, uint32_t n_batches, uint64_t seed,
                  uint32_t shard);
void batches_fini(struct batches *b);

/* Rows of the batch at that place, below n_batches; *n at least 1. Borrowed. */
const uint32_t *batches_at(const struct batches *b, uint32_t place, uint32_t *n);

/* Most rows that one batch can have. */
uint32_t batches_max(uint32_t n_rows, uint32_t n_batches);

#endif
