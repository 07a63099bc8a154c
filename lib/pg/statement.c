/* statement.c - a statement from its values to its last row. Rows come one by one (libpq's single-row mode), so that what
 * is held is what the arena may hold, whatever the statement selects.
 *
 * Until the statement itself is sent nothing can have been executed: should the connection break before, or the server
 * refuse a plan of before a migration, the whole is done again on another connection. */
#include "metrics/metrics.h"
#include "pg/pool.h"
#include "pg/rows.h"
#include "pg/values.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TRIES 3

/* Where rows go: to->r, or one by one to row(). */
struct sink {
    struct pg_result *r;
    struct arena *arena;
    pg_row_fn *row;
    void *ctx;
};

static struct metric *durations;

static void count_init(void)
{
    durations = metric_histogram("bloginfer_pg_statement_duration_seconds",
                                 "Statements, the wait for a connection included.", "statement,code", NULL, 0);
}

/* ---- preparing ---- */

#define NAME_SIZE 24

static void write_name(char *name, size_t index)
{
    snprintf(name, NAME_SIZE, "s%zu", index);
}

static struct status prepare(struct pg_conn *c, int64_t deadline, const struct pg_statement *statement, char *name)
{
    size_t i = 0;

    while (i < c->prepared.n && *VEC_AT(&c->prepared, const struct pg_statement *, i) != statement)
        i++;
    write_name(name, i);
    if (i < c->prepared.n)
        return status_ok();
    if (!PQsendPrepare(c->pq, name, statement->sql, 0, NULL))
        return conn_lost(c, statement->name);
    struct status st = conn_finish(c, deadline, statement->name, status_ok());
    if (!st.code)
        *(const struct pg_statement **)vec_push(&c->prepared) = statement;
    return st;
}

/* ---- rows ---- */

static struct status pass_rows(const struct sink *sink, struct rows *rows, const PGresult *res, const char *name)
{
    struct pg_result one;
    struct status st;

    if (!sink->row)
        return sink->r ? rows_add(rows, res, name) : status_ok();
    if (!PQntuples(res))
        return status_ok();
    arena_reset(sink->arena);
    rows_init(rows, &one, sink->arena);
    st = rows_add(rows, res, name);
    return st.code ? st : sink->row(sink->ctx, &one);
}

static int64_t affected(const PGresult *res)
{
    return strtoll(PQcmdTuples((PGresult *)res), NULL, 10); /* "" of statements that change nothing */
}

/* Rows that are not wanted any more are not read: the connection goes. */
static struct status receive(struct pg_conn *c, int64_t deadline, const char *name, const struct sink *sink)
{
    struct rows rows = {0};
    struct status st = status_ok();
    PGresult *res;

    if (sink->r)
        rows_init(&rows, sink->r, sink->arena);
    for (;;) {
        st = conn_result(c, deadline, &res);
        if (st.code || !res)
            return st;
        st = conn_error(c, res, name);
        bool failed = st.code;
        if (!failed)
            st = pass_rows(sink, &rows, res, name);
        if (sink->r && !st.code)
            sink->r->n_affected += affected(res);
        PQclear(res);
        if (failed)
            return c->broken ? st : conn_finish(c, deadline, name, st);
        if (st.code) {
            c->broken = true;
            return st;
        }
    }
}

/* ---- one try ---- */

static struct status run_on(struct pg_conn *c, int64_t deadline, const struct pg_statement *statement,
                            const struct values *v, const struct sink *sink, bool *sent)
{
    char name[NAME_SIZE];
    struct status st;

    *c->sqlstate = *c->constraint = '\0';
    st = conn_set_timeout(c, deadline);
    if (!st.code)
        st = prepare(c, deadline, statement, name);
    if (st.code)
        return st;
    *sent = true;
    if (!PQsendQueryPrepared(c->pq, name, v->n, v->data, v->sizes, v->formats, 1) || !PQsetSingleRowMode(c->pq))
        return conn_lost(c, statement->name);
    return receive(c, deadline, statement->name, sink);
}

/* The plan was made for tables that have changed since, or has been thrown away. */
static bool is_stale(const struct pg_conn *c)
{
    return !strcmp(c->sqlstate, "0A000") || !strcmp(c->sqlstate, "26000");
}

/* On a connection from the pool. *again: nothing has been executed, and another connection may do better. */
static struct status try_once(struct pg *db, const struct pg_statement *statement, const struct values *v,
                              const struct sink *sink, bool *again)
{
    struct pg_conn *c;
    bool sent = false;
    struct status st = pool_acquire(db->pool, db->deadline, &c);

    *again = false;
    if (st.code)
        return st;
    st = run_on(c, db->deadline, statement, v, sink, &sent);
    if (st.code && !c->broken && is_stale(c))
        *again = c->broken = true;
    else if (st.code && c->broken)
        *again = !sent && st.code == ST_UNAVAILABLE;
    db->unsure = st.code && c->broken && sent && !*again;
    if (st.code)
        memcpy(db->constraint, c->constraint, sizeof db->constraint);
    pool_release(db->pool, c);
    return st;
}

static struct status run_in_transaction(struct pg *db, const struct pg_statement *statement, const struct values *v,
                                        const struct sink *sink)
{
    bool sent = false;
    struct status st = run_on(db->conn, db->deadline, statement, v, sink, &sent);

    if (st.code)
        memcpy(db->constraint, db->conn->constraint, sizeof db->constraint);
    if (st.code && is_stale(db->conn))
        db->conn->broken = true;
    return st;
}

static struct status run(struct pg *db, const struct pg_statement *statement, const struct values *v,
                         const struct sink *sink)
{
    bool again = true;
    struct status st = status_ok();

    if (db->conn && db->conn->broken)
        return status_errorf(ST_UNAVAILABLE, "%s: the database went away", statement->name);
    if (clock_now() >= db->deadline)
        return status_errorf(ST_DEADLINE, "%s: no time left", statement->name);
    if (db->conn)
        return run_in_transaction(db, statement, v, sink);
    for (int i = 0; i < MAX_TRIES && again; i++)
        st = try_once(db, statement, v, sink, &again);
    return st;
}

/* ---- the whole ---- */

static struct status run_values(struct pg *db, const struct pg_statement *statement, const struct pg_value *values,
                                size_t n_values, const struct sink *sink)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int64_t start = clock_now();
    struct values v;

    pthread_once(&once, count_init);
    *db->constraint = '\0';
    db->unsure = false;
    struct status st = values_init(&v, values, n_values, statement->name);
    if (!st.code)
        st = run(db, statement, &v, sink);
    values_fini(&v);
    metric_observe(durations, clock_seconds(start), statement->name, code_name(st.code));
    return st;
}

struct status pg_query_values(struct pg *db, struct pg_result *r, const struct pg_statement *statement,
                              const struct pg_value *values, size_t n_values)
{
    return run_values(db, statement, values, n_values, &(struct sink){.r = r, .arena = db->arena});
}

struct status pg_each_values(struct pg *db, pg_row_fn *row, void *ctx, const struct pg_statement *statement,
                             const struct pg_value *values, size_t n_values)
{
    struct arena arena;

    arena_init(&arena, db->arena->limit);
    struct status st =
        run_values(db, statement, values, n_values, &(struct sink){.arena = &arena, .row = row, .ctx = ctx});
    arena_fini(&arena);
    return st;
}
