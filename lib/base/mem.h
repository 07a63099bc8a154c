/* mem.h - allocation that cannot fail: it ends the process with one line instead.
 * A size that comes from a peer, a file or a row is bounded by the caller first. free() releases all of it. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

#define COUNT_OF(a) (sizeof(a) / sizeof(*(a)))

void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);           /* zeroed; dies when n * size wraps */
void *xrealloc(void *p, size_t n, size_t size); /* dies when n * size wraps */
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
__attribute__((format(printf, 1, 2))) char *xasprintf(const char *fmt, ...);

/* Aligned to 64 bytes, for rows that SIMD kernels read; zeroed. */
void *xaligned(size_t n, size_t size);

/* The same, not zeroed: of a large one only what is touched becomes resident. */
void *xuntouched(size_t n, size_t size);

#endif
