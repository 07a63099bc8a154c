/* buf.h - a growing byte string under a ceiling, always NUL-terminated. Not thread-safe. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data; /* size bytes and a NUL; NULL while nothing was added */
    size_t size;
    size_t cap;
    size_t limit; /* ceiling for size */
    bool full;    /* something did not fit and was left out: check once at the end */
};

#define BUF_INIT(limit_bytes)                                                                                          \
    {                                                                                                                  \
        NULL, 0, 0, (limit_bytes), false                                                                               \
    }

void buf_fini(struct buf *b);
void buf_clear(struct buf *b);                              /* keeps the memory */
bool buf_add(struct buf *b, const void *data, size_t size); /* false, and b->full, over the ceiling */
bool buf_puts(struct buf *b, const char *s);
bool buf_putc(struct buf *b, char c);
bool buf_int(struct buf *b, int64_t value); /* in decimal */
__attribute__((format(printf, 2, 3))) bool buf_printf(struct buf *b, const char *fmt, ...);
bool buf_vprintf(struct buf *b, const char *fmt, va_list ap);

/* Gives the string away (free() it); "" when nothing was added. b is empty afterwards. */
char *buf_take(struct buf *b);

#endif
