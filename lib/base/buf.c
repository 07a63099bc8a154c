/* buf.c - see buf.h. */
#include "base/buf.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_fini(struct buf *b)
{
    free(b->data);
    *b = (struct buf)BUF_INIT(b->limit);
}

void buf_clear(struct buf *b)
{
    b->size = 0;
    b->full = false;
    if (b->data)
        b->data[0] = '\0';
}

/* Room for size more bytes and the NUL. */
static bool reserve(struct buf *b, size_t size)
{
    if (size > b->limit || b->limit - size < b->size) {
        b->full = true;
        return false;
    }
    size_t need = b->size + size + 1;
    if (need > b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 256;

        b->cap = cap < need ? need : cap;
        b->data = xrealloc(b->data, b->cap, 1);
    }
    return true;
}

bool buf_add(struct buf *b, const void *data, size_t size)
{
    if (!reserve(b, size))
        return false;
    if (size)
        memcpy(b->data + b->size, data, size);
    b->size += size;
    b->data[b->size] = '\0';
    return true;
}

bool buf_puts(struct buf *b, const char *s)
{
    return buf_add(b, s, strlen(s));
}

bool buf_putc(struct buf *b, char c)
{
    return buf_add(b, &c, 1);
}

bool buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;

    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    bool ok = n >= 0 && reserve(b, (size_t)n);
    if (ok) {
        vsnprintf(b->data + b->size, (size_t)n + 1, fmt, again);
        b->size += (size_t)n;
    }
    va_end(again);
    return ok;
}

bool buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    bool ok = buf_vprintf(b, fmt, ap);
    va_end(ap);
    return ok;
}

char *buf_take(struct buf *b)
{
    char *data = b->data ? b->data : xstrdup("");

    *b = (struct buf)BUF_INIT(b->limit);
    return data;
}
