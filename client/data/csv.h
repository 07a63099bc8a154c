/* csv.h - comma-separated values as RFC 4180 has them: quoted fields with "" for a quote and line ends inside, \n or
 * \r\n between records, a byte order mark in front. Everything else is malformed and named by its line. */
#ifndef CLIENT_DATA_CSV_H
#define CLIENT_DATA_CSV_H

#include "base/base.h"

#include <stdbool.h>
#include <stddef.h>

#define CSV_MAX_FIELDS 64
#define CSV_MAX_RECORD (64 << 10) /* bytes, so that a quote left open does not swallow the file */

struct csv_field {
    const char *text; /* size bytes, not terminated */
    size_t size;
};

struct csv {
    const char *name; /* of the file, for messages; borrowed, as is data */
    const char *data;
    size_t size;
    size_t pos;
    size_t line;        /* of pos, from 1 */
    size_t record_line; /* where the record in `fields` begins */
    struct csv_field fields[CSV_MAX_FIELDS];
    size_t n_fields;
    char *unquoted; /* what the fields point into */
    size_t n_unquoted;
};

void csv_init(struct csv *c, const char *name, const char *data, size_t size);
void csv_fini(struct csv *c);

/* The next record into c->fields, valid until the next call; blank lines are passed over. *more is false at the end.
 * ST_INVALID names the line; then the reading is over. */
struct status csv_next(struct csv *c, bool *more);

/* The index of the field that is `title`; SIZE_MAX: none. */
size_t csv_find(const struct csv *c, const char *title);

#endif
