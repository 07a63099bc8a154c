/* values.h - values as libpq takes them. For this folder alone. */
#ifndef PG_VALUES_H
#define PG_VALUES_H

#include "pg/pg.h"

#define VALUES_TEXT_SIZE 40

struct values {
    int n;
    const char *data[PG_MAX_VALUES]; /* NULL: SQL's NULL */
    int sizes[PG_MAX_VALUES];
    int formats[PG_MAX_VALUES]; /* 1: bytes as they are; 0: text, which the server reads as the column's type */
    char numbers[PG_MAX_VALUES][VALUES_TEXT_SIZE];
    struct arena copies;
};

/* to values_fini() in any case. ST_INVALID: a text with a NUL, values of over PG_MAX_BYTES. */
struct status values_init(struct values *v, const struct pg_value *from, size_t n, const char *statement);
void values_fini(struct values *v);

#endif
