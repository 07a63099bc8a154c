/* partition.h - how the rows of one common file are shared out among the workers of a run.
 *
 * Every worker holds the same file and computes the same assignment, so that nothing has to be agreed on over the wire:
 * a row's shard follows from its hash, its label, the seed and the settings alone. The shards of one partition are
 * disjoint and together complete. All functions are pure and thread-safe. */
#ifndef CLIENT_DATA_PARTITION_H
#define CLIENT_DATA_PARTITION_H

#include "base/base.h"

#include <stddef.h>
#include <stdint.h>

#define PARTITION_MAX_SHARDS 1024
#define PARTITION_MAX_LABELS 16
#define PARTITION_MIN_ROWS   100 /* what a draw of proportions should leave to every worker */

struct partition {
    uint32_t n_shards;
    uint64_t seed;
    double alpha; /* of the Dirichlet distribution over workers, per label; 0: independent of the label (iid) */
};

/* Sets p->alpha from "iid" or "dirichlet:ALPHA", ALPHA in 0.01..1000; NULL or "" is iid. ST_INVALID otherwise. */
struct status partition_parse(struct partition *p, const char *spec);

/* "0/3": the first of three shards. ST_INVALID: not INDEX/COUNT with INDEX < COUNT <= PARTITION_MAX_SHARDS. */
struct status partition_parse_shard(const char *spec, uint32_t *index, uint32_t *count);

struct partition_row {
    uint64_t hash;  /* of the row's text */
    uint32_t label; /* below PARTITION_MAX_LABELS */
};

/* shards[i], below p->n_shards, is whose row i is.
 * iid: by the seeded hash of the row, whatever the other rows are; sizes differ as coin throws do.
 * Dirichlet: each label's rows, in the order of their seeded hash, are cut by proportions drawn for that label. Draws
 * that leave a worker with fewer than PARTITION_MIN_ROWS (or a quarter of an even share, if that is less) are repeated,
 * up to a bound; then the one with the largest smallest shard counts. */
void partition_assign(const struct partition *p, const struct partition_row *rows, size_t n, uint32_t *shards);

#endif
