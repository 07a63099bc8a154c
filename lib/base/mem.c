/* mem.c - see mem.h. */
#include "base/mem.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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

#define LINE      ((size_t)64)
#define HUGE_PAGE ((size_t)2 << 20)

/* Whole lines, so that the last vector of a row may be read in full. */
static size_t in_lines(size_t n, size_t size)
{
    size_t total = product(n, size);

    if (total > SIZE_MAX - (LINE - 1))
        or_die_of_memory(NULL, total);
    return (total + LINE - 1) / LINE * LINE;
}

/* On huge pages, where the system has them and it spans one: tables are read at random, and to look up a page's address
 * costs more than the row. */
void *xuntouched(size_t n, size_t size)
{
    size_t total = in_lines(n, size);
    bool huge = total >= HUGE_PAGE;
    void *p;

    if (posix_memalign(&p, huge ? HUGE_PAGE : LINE, total) != 0)
        or_die_of_memory(NULL, total);
    if (huge)
        madvise(p, total & ~(HUGE_PAGE - 1), MADV_HUGEPAGE); /* refused where there are none */
    return p;
}

void *xaligned(size_t n, size_t size)
{
    return memset(xuntouched(n, size), 0, in_lines(n, size));
}
