/* rows.h - how libpq's rows become a struct pg_result. For this folder alone. */
#ifndef PG_ROWS_H
#define PG_ROWS_H

#include "pg/conn.h"

/* Rows on their way into an arena. */
struct rows {
    struct arena *arena;
    struct pg_result *to;
    struct pg_cell *cells; /* what `to` shows */
    size_t n_cells_max;
};

void rows_init(struct rows *rows, struct pg_result *to, struct arena *arena);

/* Appends the rows of res, which may have none. ST_EXHAUSTED: the arena is full; ST_INTERNAL: a type that is not read. */
struct status rows_add(struct rows *rows, const PGresult *res, const char *statement);

#endif
