/* mem.c - see mem.h. */
#include "base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *or_die_of_memory(void *p, size_t size)
{
    if (!p) {
        fprintf(stderr, "out of memory for %zu bytes\n", size);
        abort();
    }
    return p;
}

static size_t product(size_t n, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(n, size, &total))
        or_die_of_memory(NULL, SIZE_MAX);
    return total ? total : 1;
}

void *xmalloc(size_t size)
{
    return or_die_of_memory(malloc(size ? size : 1), size);
}

void *xcalloc(size_t n, size_t size)
{
    size_t total = product(n, size);

    return or_die_of_memory(calloc(1, total), total);
}

void *xrealloc(void *p, size_t n, size_t size)
{
    size_t total = product(n, size);

    return or_die_of_memory(realloc(p, total), total);
}

char *xstrdup(const char *s)
{
    return xstrndup(s, strlen(s));
}

char *xstrndup(const char *s, size_t n)
{
    size_t size = strnlen(s, n);
    char *copy = xmalloc(size + 1);

    memcpy(copy, s, size);
    copy[size] = '\0';
    return copy;
}

char *xasprintf(const char *fmt, ...)
{
    char *s;
    va_list ap;

    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    return or_die_of_memory(n < 0 ? NULL : s, 0);
}

void *xaligned(size_t n, size_t size)
{
    size_t total = product(n, size);

    if (total > SIZE_MAX - 63)
        or_die_of_memory(NULL, total);
    total = (total + 63) & ~(size_t)63;
    return memset(or_die_of_memory(aligned_alloc(64, total), total), 0, total);
}
