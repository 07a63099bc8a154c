/* spool.h - one update on its way in: chunks are checked and laid down in an unlinked file, so that an upload that breaks
 * off leaves nothing behind and the aggregator's own memory holds a chunk at a time. One thread at a time. */
#ifndef AGGREGATOR_SPOOL_H
#define AGGREGATOR_SPOOL_H

#include "base/base.h"

struct spool;

/* A new empty update of n_params floats in that folder. */
struct status spool_new(struct spool **out, const char *dir, size_t n_params);
void spool_free(struct spool *s);

/* The next chunk: offset and size in bytes, whole floats, in order and without gaps. ST_DATA_LOSS: the CRC-32C differs;
 * ST_INVALID: wrong offset, over the end, not whole floats, or a value that is not finite; ST_EXHAUSTED: disk full. */
struct status spool_append(struct spool *s, uint64_t offset, uint32_t crc, const void *data, size_t size);

bool spool_complete(const struct spool *s);

/* The whole update into values (n_params,). */
struct status spool_read(struct spool *s, float *values, size_t n_params);

/* True when all n floats are finite. */
bool floats_finite(const float *values, size_t n);

#endif
