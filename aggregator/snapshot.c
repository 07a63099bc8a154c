/* snapshot.c - see snapshot.h. */
#include "snapshot.h"

#include <stdlib.h>

struct snapshot *snapshot_new(uint64_t version, float *params, size_t n_params)
{
    struct snapshot *s = xcalloc(1, sizeof *s);

    s->version = version;
    s->params = params;
    s->n_params = n_params;
    s->n_chunks = (n_params * sizeof *params + SNAPSHOT_CHUNK - 1) / SNAPSHOT_CHUNK;
    s->crc32c = xcalloc(s->n_chunks, sizeof *s->crc32c);
    for (size_t i = 0; i < s->n_chunks; i++)
        s->crc32c[i] = crc32c(0, (const char *)params + i * SNAPSHOT_CHUNK, snapshot_chunk_size(s, i));
    s->refs = 1;
    return s;
}

struct snapshot *snapshot_acquire(struct snapshot *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void snapshot_release(struct snapshot *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) > 1)
        return;
    free(s->params);
    free(s->crc32c);
    free(s);
}

size_t snapshot_chunk_size(const struct snapshot *s, size_t i)
{
    size_t total = s->n_params * sizeof *s->params, start = i * SNAPSHOT_CHUNK;

    return total - start < SNAPSHOT_CHUNK ? total - start : SNAPSHOT_CHUNK;
}
