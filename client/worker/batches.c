/* batches.c - see batches.h. The rule is the reference recipe's: shuffle, sort by length within pools of batches, cut,
 * shuffle the batches. A pool is at most 50 batches and at most a quarter of them: were it all, the sorting would undo the
 * shuffling, and the same rows would meet in every round. */
#include "batches.h"

#include <stdlib.h>

#define POOL_BATCHES 50u
#define MIN_POOLS    4u

static uint32_t first_row(uint32_t n_rows, uint32_t n_batches, uint32_t batch)
{
    return (uint32_t)((uint64_t)n_rows * batch / n_batches);
}

uint32_t batches_max(uint32_t n_rows, uint32_t n_batches)
{
    return n_rows / n_batches + 1;
}

static int by_key(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Sorts n row numbers by the rows' lengths; rows of the same length keep their (shuffled) order. */
static void sort_by_length(uint32_t *at, uint32_t n, const struct nn_example *rows)
{
    uint64_t *keys = xcalloc(n, sizeof *keys); /* length, then place */
    uint32_t *shuffled = xcalloc(n, sizeof *shuffled);

    for (uint32_t i = 0; i < n; i++) {
        keys[i] = (uint64_t)rows[at[i]].n_ids << 32 | i;
        shuffled[i] = at[i];
    }
    qsort(keys, n, sizeof *keys, by_key);
    for (uint32_t i = 0; i < n; i++)
        at[i] = shuffled[keys[i] & UINT32_MAX];
    free(keys);
    free(shuffled);
}

static uint32_t *counting(uint32_t n)
{
    uint32_t *a = xcalloc(n, sizeof *a);

    for (uint32_t i = 0; i < n; i++)
        a[i] = i;
    return a;
}

void batches_init(struct batches *b, const struct nn_example *rows, uint32_t n_rows, uint32_t n_batches, uint64_t seed,
                  uint32_t shard)
{
    struct rng r;

    b->n_rows = n_rows;
    b->n_batches = n_batches;
    b->rows = counting(n_rows);
    b->which = counting(n_batches);
    rng_init(&r, seed ^ (uint64_t)(shard + 1) << 32);
    rng_shuffle(&r, b->rows, n_rows);
    uint32_t size = n_batches / MIN_POOLS < POOL_BATCHES ? n_batches / MIN_POOLS + 1 : POOL_BATCHES;
    for (uint32_t pool = 0; pool < n_batches; pool += size) {
        uint32_t last = n_batches - pool < size ? n_batches : pool + size;
        uint32_t from = first_row(n_rows, n_batches, pool), to = first_row(n_rows, n_batches, last);

        sort_by_length(b->rows + from, to - from, rows);
    }
    rng_init(&r, seed);
    rng_shuffle(&r, b->which, n_batches);
}

void batches_fini(struct batches *b)
{
    free(b->rows);
    free(b->which);
}

const uint32_t *batches_at(const struct batches *b, uint32_t place, uint32_t *n)
{
    uint32_t batch = b->which[place];
    uint32_t from = first_row(b->n_rows, b->n_batches, batch), to = first_row(b->n_rows, b->n_batches, batch + 1);

    *n = to > from ? to - from : 1;
    return b->rows + from;
}
