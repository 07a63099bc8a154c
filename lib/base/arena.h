/* arena.h - memory that lives as long as one call: bump allocation under a ceiling, released at once.
 * Not thread-safe. Under AddressSanitizer every allocation is a malloc of its own, so that overruns show. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    size_t used;                /* bytes handed out since the last reset */
    size_t limit;               /* ceiling for used */
    bool refused;               /* an allocation did not fit: tells "too large" from "malformed" */
};

void arena_init(struct arena *a, size_t limit_bytes);
void arena_fini(struct arena *a);

/* Gives everything back but keeps one block for the next call. */
void arena_reset(struct arena *a);

/* Aligned to 16 bytes, not zeroed; NULL over the ceiling (and a->refused is set). */
void *arena_alloc(struct arena *a, size_t size);
void *arena_zalloc(struct arena *a, size_t n, size_t size); /* NULL when n * size wraps, too */
char *arena_strdup(struct arena *a, const char *s);
__attribute__((format(printf, 2, 3))) char *arena_printf(struct arena *a, const char *fmt, ...);

#endif
