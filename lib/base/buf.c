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

bool buf_int(struct buf *b, int64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    do
        digits[--at] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        digits[--at] = '-';
    return buf_add(b, digits + at, sizeof digits - at);
}

/* Into the room that is there; a second time only when that was not enough. */
bool buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    size_t room = b->cap - b->size; /* the NUL's included */
    va_list again;

    va_copy(again, ap);
    int n = vsnprintf(room ? b->data + b->size : NULL, room, fmt, ap);
    bool ok = n >= 0 && reserve(b, (size_t)n);
    if (ok && (size_t)n >= room)
        vsnprintf(b->data + b->size, (size_t)n + 1, fmt, again);
    if (ok)
        b->size += (size_t)n;
    else if (room)
        b->data[b->size] = '\0';
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
