/* arena.c - see arena.h. Blocks double in size, so that a call of n bytes costs O(log n) mallocs. */
#include "base/arena.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT     16
#define FIRST_BLOCK   ((size_t)4096)
#define LARGEST_BLOCK ((size_t)256 << 10) /* larger ones are made to measure */

#if defined(__SANITIZE_ADDRESS__)
#define ONE_MALLOC_EACH 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ONE_MALLOC_EACH 1
#endif
#endif
#ifndef ONE_MALLOC_EACH
#define ONE_MALLOC_EACH 0
#endif

struct arena_block {
    struct arena_block *next;
    size_t size, used; /* of bytes[] */
    _Alignas(ALIGNMENT) unsigned char bytes[];
};

void arena_init(struct arena *a, size_t limit_bytes)
{
    *a = (struct arena){.limit = limit_bytes};
}

static void free_blocks(struct arena_block *b)
{
    while (b) {
        struct arena_block *next = b->next;

        free(b);
        b = next;
    }
}

void arena_fini(struct arena *a)
{
    free_blocks(a->blocks);
    *a = (struct arena){.limit = a->limit};
}

void arena_reset(struct arena *a)
{
    struct arena_block *keep = a->blocks;

    if (ONE_MALLOC_EACH || (keep && keep->size > LARGEST_BLOCK)) {
        arena_fini(a);
        return;
    }
    if (keep) {
        free_blocks(keep->next);
        keep->next = NULL;
        keep->used = 0;
    }
    a->used = 0;
    a->refused = false;
}

static struct arena_block *add_block(struct arena *a, size_t need)
{
    size_t size = a->blocks ? a->blocks->size * 2 : FIRST_BLOCK;

    if (size > LARGEST_BLOCK)
        size = LARGEST_BLOCK;
    if (size < need || ONE_MALLOC_EACH)
        size = need;
    struct arena_block *b = xmalloc(sizeof *b + size);
    b->next = a->blocks;
    b->size = size;
    b->used = 0;
    a->blocks = b;
    return b;
}

void *arena_alloc(struct arena *a, size_t size)
{
    struct arena_block *b = a->blocks;

    /* The ceiling counts what was asked for, so that it means the same under the sanitizer. */
    if (size > a->limit || a->limit - size < a->used) {
        a->refused = true;
        return NULL;
    }
    a->used += size;
    size_t need = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (ONE_MALLOC_EACH) {
        b = add_block(a, size);
        b->used = size;
        return b->bytes;
    }
    if (!b || b->size - b->used < need)
        b = add_block(a, need);
    void *p = b->bytes + b->used;
    b->used += need;
    return p;
}

void *arena_zalloc(struct arena *a, size_t n, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(n, size, &total)) {
        a->refused = true;
        return NULL;
    }
    void *p = arena_alloc(a, total);
    return p ? memset(p, 0, total) : NULL;
}

char *arena_strdup(struct arena *a, const char *s)
{
    size_t size = strlen(s) + 1;
    char *copy = arena_alloc(a, size);

    return copy ? memcpy(copy, s, size) : NULL;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;

    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    char *text = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (text)
        vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(ap);
    return text;
}
