/* transaction.c - BEGIN, what the caller does, COMMIT or ROLLBACK. */
#include "pg/pool.h"

#include <assert.h>
#include <string.h>

#define MAX_TRIES    3
#define BEGIN_TRIES  3 /* nothing can have happened yet */
#define PAUSE_MAX_MS 20

static const char *begin_of(enum pg_isolation isolation)
{
    return isolation == PG_SERIALIZABLE ? "BEGIN ISOLATION LEVEL SERIALIZABLE" : "BEGIN ISOLATION LEVEL READ COMMITTED";
}

static struct status begin(struct pg *db, enum pg_isolation isolation)
{
    struct status st = status_ok();
    struct pg_conn *c;

    for (int i = 0; i < BEGIN_TRIES; i++) {
        st = pool_acquire(db->pool, db->deadline, &c);
        if (st.code)
            return st;
        st = conn_set_timeout(c, db->deadline);
        if (!st.code)
            st = conn_command(c, db->deadline, "begin", begin_of(isolation));
        if (!st.code) {
            db->conn = c;
            return st;
        }
        pool_release(db->pool, c);
        if (st.code != ST_UNAVAILABLE)
            break;
    }
    return st;
}

/* COMMIT of a transaction that has failed is a ROLLBACK, and no error to the server. */
static struct status commit(struct pg *db)
{
    struct pg_conn *c = db->conn;
    struct status st = status_ok();

    if (c->broken)
        return status_errorf(ST_UNAVAILABLE, "commit: the database went away");
    if (PQtransactionStatus(c->pq) != PQTRANS_INTRANS)
        return status_errorf(ST_INTERNAL, "commit: the transaction has failed before");
    *c->constraint = '\0';
    st = conn_set_timeout(c, db->deadline);
    if (st.code)
        return st;
    st = conn_command(c, db->deadline, "commit", "COMMIT");
    if (st.code)
        memcpy(db->constraint, c->constraint, sizeof db->constraint);
    db->unsure = st.code && c->broken;
    return st;
}

static void roll_back(struct pg_conn *c)
{
    c->timeout_ms = -1; /* what was set in the transaction is not any more */
    if (!c->broken && PQtransactionStatus(c->pq) != PQTRANS_IDLE)
        conn_command(c, clock_now(), "rollback", "ROLLBACK"); /* within the grace */
}

static struct status run_once(struct pg *db, enum pg_isolation isolation, struct status (*fn)(struct pg *, void *),
                              void *ctx)
{
    struct status st = begin(db, isolation);

    if (st.code)
        return st;
    st = fn(db, ctx);
    if (!st.code)
        st = commit(db);
    if (st.code)
        roll_back(db->conn);
    pool_release(db->pool, db->conn);
    db->conn = NULL;
    return st;
}

/* Those that met must not meet again. */
static void pause_briefly(int64_t deadline)
{
    int64_t ms = 1 + clock_now() / 1000 % PAUSE_MAX_MS;

    if (clock_after_ms(ms) < deadline)
        clock_sleep_ms(ms);
}

struct status pg_transaction(struct pg *db, enum pg_isolation isolation, struct status (*fn)(struct pg *db, void *ctx),
                             void *ctx)
{
    struct status st = status_ok();

    if (db->conn)
        return fn(db, ctx);
    *db->constraint = '\0';
    db->unsure = false;
    if (clock_now() >= db->deadline)
        return status_errorf(ST_DEADLINE, "transaction: no time left");
    for (int i = 0; i < MAX_TRIES; i++) {
        if (i)
            pause_briefly(db->deadline);
        st = run_once(db, isolation, fn, ctx);
        if (st.code != ST_ABORTED)
            break;
    }
    return st;
}
