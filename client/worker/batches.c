/* batches.c - see batches.h. The rule is the reference recipe's: shuffle, sort by length within pools of 50 batches, cut,
 * shuffle the batches. */
#include "batches.h"

#include <stdlib.h>

#define POOL_BATCHES 50

static uint32_t first_row(uint32_t n_rows, uint32_t n_batches, uint32_t batch)
{
    return (uint32_t)((uint64_t)n_rows * batch / n_batches);
}

uint32_t batches_max(uint32_t n_rows, uint32_t n_batches)
{
    return n_rows / n_batches + 1;
}

static int by_length(const void *a, const void *b, void *arg)
{
    const struct nn_example *rows = arg;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    if (rows[x].n_ids != rows[y].n_ids)
        return rows[x].n_ids < rows[y].n_ids ? -1 : 1;
    return x < y ? -1 : x > y;
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
    for (uint32_t pool = 0; pool < n_batches; pool += POOL_BATCHES) {
        uint32_t last = n_batches - pool < POOL_BATCHES ? n_batches : pool + POOL_BATCHES;
        uint32_t from = first_row(n_rows, n_batches, pool), to = first_row(n_rows, n_batches, last);

        qsort_r(b->rows + from, to - from, sizeof *b->rows, by_length, (void *)rows);
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
