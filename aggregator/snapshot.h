/* snapshot.h - the parameters of one version: made once, read by many, freed by the last. Thread-safe. */
#ifndef AGGREGATOR_SNAPSHOT_H
#define AGGREGATOR_SNAPSHOT_H

#include "base/base.h"

#include <stdatomic.h>

#define SNAPSHOT_CHUNK ((size_t)256 << 10) /* bytes of parameters in one message; a multiple of 4 */

struct snapshot {
    uint64_t version;
    size_t n_params;
    float *params;    /* (n_params,); nobody writes them once others hold a reference */
    uint32_t *crc32c; /* of each chunk, (n_chunks,), made on birth and shared by all readers */
    size_t n_chunks;
    atomic_int refs;
};

/* Takes params (xaligned) over; the caller holds the first reference. */
struct snapshot *snapshot_new(uint64_t version, float *params, size_t n_params);
struct snapshot *snapshot_acquire(struct snapshot *s);
void snapshot_release(struct snapshot *s); /* NULL is fine */

/* Bytes of chunk i. */
size_t snapshot_chunk_size(const struct snapshot *s, size_t i);

#endif
