/* pg.h - PostgreSQL: a pool of connections, prepared statements, rows, transactions, migrations. The only code that
 * includes libpq.
 *
 *     static const struct pg_statement find_user = {"find_user", "SELECT id, name, bio FROM users WHERE name = $1"};
 *
 *     struct status user_find(struct pg *db, const char *name, struct user *out)
 *     {
 *         struct pg_result r;
 *         struct status st = pg_query(db, &r, &find_user, PG_TEXT(name));
 *
 *         if (st.code)
 *             return st;
 *         if (!r.n_rows)
 *             return status_errorf(ST_NOT_FOUND, "user %s", name);
 *         *out = (struct user){pg_int(&r, 0, 0), pg_text(&r, 0, 1), pg_text(&r, 0, 2)};
 *         return st;
 *     }
 *
 *     struct pg db = pg_call(pool, call->deadline, &call->arena);
 *     st = user_find(&db, "ada", &user);
 *
 * Errors. Every call comes back at its deadline, half a second later at most, whatever the server does. Codes:
 *   ST_EXISTS       a unique or exclusion constraint; its name is in db->constraint, as for the next two
 *   ST_PRECONDITION a foreign key: the row it names is not there, or is still named by others
 *   ST_INVALID      a check constraint, a value that its column does not take, text that is not UTF-8 or has a NUL
 *   ST_DEADLINE     the deadline is over; the server has stopped the statement, too
 *   ST_EXHAUSTED    every connection was in use until then; rows beyond the arena; a limit of the server
 *   ST_ABORTED      a serialization failure or a deadlock: worth a retry of the whole transaction
 *   ST_UNAVAILABLE  the server is away, or went away in the middle
 *   ST_INTERNAL     everything else, such as wrong SQL
 * Messages are for anybody: what the server said goes to the log, without the values.
 * A statement or COMMIT that broke off on its way may have been executed all the same: then db->unsure is set.
 *
 * Threads: a pool is for all of them; a struct pg, with what it gave, for one at a time.
 * A statement is prepared at its first use on a connection: between us and the server there must be no pooler that gives
 * every transaction another connection. */
#ifndef PG_PG_H
#define PG_PG_H

#include "base/base.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- the pool ---- */

struct pg_pool;

#define PG_MAX_CONNECTIONS 500

struct pg_config {
    const char *url; /* "postgresql://user:password@host:5432/name" or "host=... dbname=..."; copied, never logged */
    const char *program;   /* shown by the server in pg_stat_activity; copied */
    int64_t n_connections; /* at most so many, 1..PG_MAX_CONNECTIONS; made when they are needed */
};

/* Connects nobody yet, so the server may be away. ST_INVALID: the url is none, without a word of it, or n_connections.
 *
 * One thread of the pool makes the connections, with pauses that double up to a second while the server is away. Who needs
 * one meanwhile waits for the next attempt at most. Connections that the server has closed are found before their use. */
struct status pg_open(struct pg_pool **out, const struct pg_config *config);

/* All calls have returned. NULL is fine. */
void pg_close(struct pg_pool *p);

/* ---- one call's way to the database ---- */

#define PG_NAME_SIZE 64

struct pg {
    struct pg_pool *pool;
    int64_t deadline;    /* of clock_now(); CLOCK_NEVER: waits for ever */
    struct arena *arena; /* takes the rows */

    /* Of the last call that failed: */
    char constraint[PG_NAME_SIZE]; /* that was violated, such as "users_name_key"; "" when it was none */
    bool unsure;                   /* it may have been executed all the same */

    struct pg_conn *conn; /* of the transaction that is open; for lib/pg alone */
};

static inline struct pg pg_call(struct pg_pool *pool, int64_t deadline, struct arena *arena)
{
    return (struct pg){.pool = pool, .deadline = deadline, .arena = arena};
}

/* ---- statements and their values ---- */

/* Static and constant: a connection knows it by its address. The name is for logs and metrics. A transaction of its own
 * unless one is open. */
struct pg_statement {
    const char *name; /* "find_user" */
    const char *sql;  /* one statement, values as $1, $2 ... */
};

#define PG_MAX_VALUES 32
#define PG_MAX_BYTES  ((size_t)32 << 20) /* of the values of one statement together */

/* Values are never part of the SQL. The server takes a value for what stands beside it: an integer column takes PG_INT, a
 * jsonb one PG_TEXT; where nothing does, the SQL says $1::bigint. What a value points to is borrowed for the call. */
struct pg_value {
    enum { PG_KIND_NULL, PG_KIND_INT, PG_KIND_FLOAT, PG_KIND_BOOL, PG_KIND_TIME, PG_KIND_TEXT, PG_KIND_BYTES } kind;
    const void *data;
    size_t size; /* SIZE_MAX: a C string */
    int64_t i;
    double f;
};

#define PG_NULL         ((struct pg_value){.kind = PG_KIND_NULL})
#define PG_INT(v)       ((struct pg_value){.kind = PG_KIND_INT, .i = (v)})
#define PG_FLOAT(v)     ((struct pg_value){.kind = PG_KIND_FLOAT, .f = (v)})
#define PG_BOOL(v)      ((struct pg_value){.kind = PG_KIND_BOOL, .i = (v)})
#define PG_TIME(wall)   ((struct pg_value){.kind = PG_KIND_TIME, .i = (wall)})                   /* as clock_wall() */
#define PG_TEXT(s)      ((struct pg_value){.kind = PG_KIND_TEXT, .data = (s), .size = SIZE_MAX}) /* NULL is NULL */
#define PG_TEXT_N(s, n) ((struct pg_value){.kind = PG_KIND_TEXT, .data = (s), .size = (n)})
#define PG_BYTES(data_, n)                                                                                             \
    ((struct pg_value){.kind = PG_KIND_BYTES, .data = (data_), .size = (n)}) /* bytea; NULL is NULL */

/* ---- rows ---- */

struct pg_cell {
    const char *data; /* NULL: SQL's NULL */
    size_t size;
};

struct pg_result {
    size_t n_rows;
    int n_columns;
    int64_t n_affected; /* rows that INSERT, UPDATE or DELETE changed, or SELECT gave */
    const uint32_t *types;
    const struct pg_cell *cells; /* (n_rows, n_columns) */
};

/* Runs the statement with its values, and puts its rows into *r and db->arena, where they stay as long as the arena's
 * content. r NULL: no rows are wanted. Columns of these types are read: boolean, smallint, integer, bigint, real, double
 * precision, text, varchar, char, name, json, jsonb, uuid, bytea, timestamptz; others are cast to one of them in the SQL. */
#define pg_query(db, r, statement, ...)                                                                                \
    pg_query_values((db), (r), (statement), PG_VALUES(__VA_ARGS__) + 1, PG_N_VALUES(__VA_ARGS__))

/* For many rows: `row` gets each as it comes, as a result of one row that is valid until it returns, and memory is that of
 * one row, which has to fit db->arena's limit. A status other than OK ends the reading and is its result. The connection
 * is busy meanwhile: `row` asks nothing of the same struct pg. */
#define pg_each(db, row, ctx, statement, ...)                                                                          \
    pg_each_values((db), (row), (ctx), (statement), PG_VALUES(__VA_ARGS__) + 1, PG_N_VALUES(__VA_ARGS__))

typedef struct status pg_row_fn(void *ctx, const struct pg_result *row);

/* The same with values in an array. */
struct status pg_query_values(struct pg *db, struct pg_result *r, const struct pg_statement *statement,
                              const struct pg_value *values, size_t n_values);
struct status pg_each_values(struct pg *db, pg_row_fn *row, void *ctx, const struct pg_statement *statement,
                             const struct pg_value *values, size_t n_values);

#define PG_VALUES(...)   ((const struct pg_value[]){PG_NULL, ##__VA_ARGS__})
#define PG_N_VALUES(...) (sizeof PG_VALUES(__VA_ARGS__) / sizeof(struct pg_value) - 1)

/* Cells by row and column, both from 0. Of NULL: true, "", 0, false. A row, column or type that is not there is our bug and
 * ends the process. */
bool pg_is_null(const struct pg_result *r, size_t row, int column);
int64_t pg_int(const struct pg_result *r, size_t row, int column);          /* smallint, integer, bigint */
double pg_float(const struct pg_result *r, size_t row, int column);         /* real, double precision */
bool pg_bool(const struct pg_result *r, size_t row, int column);            /* boolean */
int64_t pg_time(const struct pg_result *r, size_t row, int column);         /* timestamptz, as clock_wall() */
const char *pg_text(const struct pg_result *r, size_t row, int column);     /* the texts, JSON, uuid; NUL-terminated */
struct pg_cell pg_bytes(const struct pg_result *r, size_t row, int column); /* bytea and the texts; {NULL, 0} of NULL */

/* ---- transactions ---- */

enum pg_isolation {
    PG_READ_COMMITTED, /* each statement sees what was committed before it */
    PG_SERIALIZABLE,   /* as if the transactions ran one after the other, or ST_ABORTED */
};

/* Runs fn(db, ctx) in a transaction: COMMIT when it returns OK, ROLLBACK and its status otherwise. On ST_ABORTED it runs
 * again, three times at most, so it has to be as good the second time. OK means that it is on the server's disk.
 * Inside another transaction fn joins that one, which then fails as a whole: there are no savepoints. */
struct status pg_transaction(struct pg *db, enum pg_isolation isolation, struct status (*fn)(struct pg *db, void *ctx),
                             void *ctx);

/* ---- migrations ---- */

/* One step from an empty database to what a program needs, embedded by bi_embed(). */
struct pg_migration {
    const char *name;          /* "users" */
    const char *sql, *sql_end; /* any number of statements, none that begins or ends a transaction */
};

/* Applies those of list[0..n-1] that table schema_migrations(version, name, sha256, applied_at) does not have, in their
 * order, each in a transaction of its own; list[i] is version i + 1. Programs that do it at once wait for each other.
 * ST_PRECONDITION: the text of an applied one is not the one in the list, which is named; or the database is newer than
 * the list. Then nothing has been changed. */
struct status pg_migrate(struct pg *db, const struct pg_migration *list, size_t n);

#endif
