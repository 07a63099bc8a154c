/* table.c - see table.h. */
#include "table.h"

#include "base/base.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#define COLUMNS_MAX 16
#define ROWS_MAX    1000000
#define TEXT_LIMIT  (64 << 20)
#define GAP         2

struct column {
    char *header;
    bool right;
    int width;
};

struct table {
    struct column columns[COLUMNS_MAX];
    size_t n_columns;
    struct vec cells; /* char *, row by row */
    bool headless;
};

/* Bytes of the character at text and the columns it takes; 0 bytes: not UTF-8. */
static size_t character(const char *text, size_t n, int *width)
{
    mbstate_t state = {0};
    wchar_t wc;
    size_t size = mbrtowc(&wc, text, n, &state);

    if (size == 0 || size > n)
        return 0;
    bool reorders = (wc >= 0x202A && wc <= 0x202E) || (wc >= 0x2066 && wc <= 0x2069);
    *width = reorders ? -1 : wcwidth(wc);
    return size;
}

char *text_clean(const char *text)
{
    struct buf b = BUF_INIT(TEXT_LIMIT);

    for (size_t n = strlen(text); n;) {
        int width = 0;
        size_t size = character(text, n, &width);

        if (!size)
            buf_puts(&b, "\xef\xbf\xbd");
        else if (width < 0) /* a control character, a newline, or nothing that has a shape */
            buf_putc(&b, ' ');
        else
            buf_add(&b, text, size);
        text += size ? size : 1;
        n -= size ? size : 1;
    }
    return buf_take(&b);
}

static int clean_width(const char *text, size_t n)
{
    int total = 0;

    while (n) {
        int width = 0;
        size_t size = character(text, n, &width);

        total += size ? width : 1;
        text += size ? size : 1;
        n -= size ? size : 1;
    }
    return total;
}

int text_width(const char *text)
{
    char *clean = text_clean(text);
    int width = clean_width(clean, strlen(clean));

    free(clean);
    return width;
}

/* Bytes of clean text that fit into this many columns. */
static size_t fitting(const char *text, int columns)
{
    size_t at = 0, n = strlen(text);
    int width;

    for (size_t size; at < n && (size = character(text + at, n - at, &width)) && width <= columns; at += size)
        columns -= width;
    return at;
}

struct table *table_new(const char *header, ...)
{
    struct table *t = xcalloc(1, sizeof *t);
    va_list ap;

    va_start(ap, header);
    for (; header && t->n_columns < COLUMNS_MAX; header = va_arg(ap, const char *)) {
        bool right = *header == '>';

        t->columns[t->n_columns++] = (struct column){text_clean(header + right), right, text_width(header + right)};
    }
    va_end(ap);
    t->cells = (struct vec)VEC_INIT(sizeof(char *), ROWS_MAX * COLUMNS_MAX);
    return t;
}

void table_hide_headers(struct table *t)
{
    t->headless = true;
}

void table_cell(struct table *t, const char *fmt, ...)
{
    struct buf b = BUF_INIT(TEXT_LIMIT);
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    struct column *c = &t->columns[t->cells.n % t->n_columns];
    char **cell = vec_push(&t->cells), *raw = buf_take(&b);
    if (cell) {
        *cell = text_clean(raw);
        int width = clean_width(*cell, strlen(*cell));
        c->width = c->width > width ? c->width : width;
    }
    free(raw);
}

static void print_cell(const struct table *t, size_t i, const char *text, int room, FILE *out)
{
    const struct column *c = &t->columns[i];
    bool last = i + 1 == t->n_columns;
    int width = clean_width(text, strlen(text)), pad = c->width - width;

    if (c->right)
        fprintf(out, "%*s", pad, "");
    if (last && room > 0 && width > room)
        fprintf(out, "%.*s…", (int)fitting(text, room - 1), text);
    else
        fputs(text, out);
    if (last)
        fputc('\n', out);
    else
        fprintf(out, "%*s", c->right ? GAP : pad + GAP, "");
}

void table_print(struct table *t, FILE *out, int width)
{
    int room = width; /* for the last column */

    for (size_t i = 0; i + 1 < t->n_columns; i++)
        room -= t->columns[i].width + GAP;
    if (width > 0 && room < 1)
        room = 1;
    for (size_t i = 0; i < t->n_columns && !t->headless; i++)
        print_cell(t, i, t->columns[i].header, room, out);
    for (size_t i = 0, column = 0; i < t->cells.n; i++, column = column + 1 < t->n_columns ? column + 1 : 0)
        print_cell(t, column, *VEC_AT(&t->cells, char *, i), room, out);
    for (size_t i = 0; i < t->cells.n; i++)
        free(*VEC_AT(&t->cells, char *, i));
    for (size_t i = 0; i < t->n_columns; i++)
        free(t->columns[i].header);
    vec_fini(&t->cells);
    free(t);
}

int terminal_width(FILE *stream)
{
    struct winsize size;

    if (!isatty(fileno(stream)) || ioctl(fileno(stream), TIOCGWINSZ, &size) || !size.ws_col)
        return isatty(fileno(stream)) ? 80 : 0;
    return size.ws_col;
}
