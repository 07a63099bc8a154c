/* conn.h - one connection, used by one thread at a time: waits are bounded by a deadline, errors are statuses. For this
 * folder alone. */
#ifndef PG_CONN_H
#define PG_CONN_H

#include "pg/pg.h"

#include <libpq-fe.h>
#include <stdatomic.h>

#define CONN_GRACE_MS 500 /* beyond the deadline, for the server's own word that it has stopped the statement */

struct pg_conn {
    PGconn *pq;
    bool broken;         /* to be closed, not used again */
    struct vec prepared; /* of const struct pg_statement *; the i-th is called "s<i>" on the server */
    int64_t timeout_ms;  /* the server's statement_timeout; -1: not known */

    /* Of the last statement that failed on the server: */
    char sqlstate[6]; /* "" when it was not the server that said so */
    char constraint[PG_NAME_SIZE];

    struct pg_conn *next; /* in the pool's list */
};

/* Gives up, and says so, when *stop becomes true. The message has no password in it. */
struct status conn_open(struct pg_conn **out, const struct pg_config *config, int64_t deadline,
                        const atomic_bool *stop);
void conn_close(struct pg_conn *c); /* NULL is fine */

/* Whether it may be used, from what the server has sent since: asks nothing. */
bool conn_is_alive(struct pg_conn *c);

/* Commands without values, one or several; rows are passed over. what: for the log. */
struct status conn_command(struct pg_conn *c, int64_t deadline, const char *what, const char *sql);

/* Makes the server stop statements that begin from now on at the deadline or up to an eighth before. */
struct status conn_set_timeout(struct pg_conn *c, int64_t deadline);

/* The next result of what was sent, to PQclear(); NULL when the server is through with it. */
struct status conn_result(struct pg_conn *c, int64_t deadline, PGresult **res);

/* Reads what is left of the answer. The first error of it counts, or that of st. */
struct status conn_finish(struct pg_conn *c, int64_t deadline, const char *what, struct status st);

/* The status of a result that is an error, which is logged; OK for others. */
struct status conn_error(struct pg_conn *c, const PGresult *res, const char *what);

/* The connection broke: the status of that, and it is marked. */
struct status conn_lost(struct pg_conn *c, const char *what);

#endif
