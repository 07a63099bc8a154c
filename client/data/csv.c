/* csv.c - one field at a time into one bounded block; strict, because a lenient reader turns a broken file into
 * plausible wrong rows. */
#include "csv.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void csv_init(struct csv *c, const char *name, const char *data, size_t size)
{
    *c = (struct csv){.name = name, .data = data, .size = size, .line = 1};
    c->unquoted = xmalloc(CSV_MAX_RECORD);
    if (size >= 3 && !memcmp(data, "\xef\xbb\xbf", 3))
        c->pos = 3;
}

void csv_fini(struct csv *c)
{
    free(c->unquoted);
    c->unquoted = NULL;
}

/* The byte at pos; -1 at the end. */
static int peek(const struct csv *c)
{
    return c->pos < c->size ? (unsigned char)c->data[c->pos] : -1;
}

static bool at_line_end(const struct csv *c)
{
    int b = peek(c);

    return b == -1 || b == '\n' || (b == '\r' && (c->pos + 1 == c->size || c->data[c->pos + 1] == '\n'));
}

static void skip_line_end(struct csv *c)
{
    c->pos += peek(c) == '\r';
    if (peek(c) == '\n') {
        c->pos++;
        c->line++;
    }
}

static struct status malformed(const struct csv *c, size_t line, const char *what)
{
    return status_errorf(ST_INVALID, "%s line %zu: %s", c->name, line, what);
}

static struct status keep(struct csv *c)
{
    if (c->n_unquoted == CSV_MAX_RECORD)
        return malformed(c, c->record_line, "a record of over 65,536 bytes; is a quote left open?");
    c->unquoted[c->n_unquoted++] = c->data[c->pos++];
    return status_ok();
}

static struct status read_quoted(struct csv *c)
{
    struct status st = status_ok();

    for (c->pos++; !st.code;) {
        if (peek(c) == -1)
            return malformed(c, c->record_line, "a quote is left open");
        if (peek(c) == '"' && (++c->pos, peek(c) != '"'))
            break;
        c->line += peek(c) == '\n';
        st = keep(c);
    }
    if (!st.code && peek(c) != ',' && !at_line_end(c))
        return malformed(c, c->line, "text after a closing quote");
    return st;
}

static struct status read_plain(struct csv *c)
{
    struct status st = status_ok();

    while (!st.code && peek(c) != ',' && !at_line_end(c)) {
        if (peek(c) == '"')
            return malformed(c, c->line, "a quote inside a field that does not begin with one");
        st = keep(c);
    }
    return st;
}

static struct status read_field(struct csv *c)
{
    size_t start = c->n_unquoted;
    struct status st;

    if (c->n_fields == CSV_MAX_FIELDS)
        return malformed(c, c->record_line, "over 64 fields");
    st = peek(c) == '"' ? read_quoted(c) : read_plain(c);
    c->fields[c->n_fields++] = (struct csv_field){c->unquoted + start, c->n_unquoted - start};
    return st;
}

struct status csv_next(struct csv *c, bool *more)
{
    struct status st;

    while (peek(c) != -1 && at_line_end(c))
        skip_line_end(c);
    c->n_fields = c->n_unquoted = 0;
    c->record_line = c->line;
    *more = peek(c) != -1;
    if (!*more)
        return status_ok();
    st = read_field(c);
    while (!st.code && peek(c) == ',') {
        c->pos++;
        st = read_field(c);
    }
    if (!st.code)
        skip_line_end(c);
    return st;
}

size_t csv_find(const struct csv *c, const char *title)
{
    for (size_t i = 0; i < c->n_fields; i++)
        if (c->fields[i].size == strlen(title) && !memcmp(c->fields[i].text, title, strlen(title)))
            return i;
    return SIZE_MAX;
}
