/* conn.c - libpq without its blocking calls: every wait is a poll() with an end. */
#include "pg/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STOP_LOOK_MS 100 /* how often an attempt to connect looks whether it is still wanted */

/* What holds for every connection. A client that is gone or hangs in a transaction must not hold its locks for long. */
static const char setup[] = "SET idle_in_transaction_session_timeout = '60s';"
                            "SET client_connection_check_interval = '1s';"
                            "SET standard_conforming_strings = on;"
                            "SET timezone = 'UTC'";

/* ---- waiting ---- */

static int64_t with_grace(int64_t deadline)
{
    return deadline > CLOCK_NEVER - CONN_GRACE_MS * CLOCK_MS ? CLOCK_NEVER : deadline + CONN_GRACE_MS * CLOCK_MS;
}

static int poll_ms(int64_t until)
{
    int64_t left = until - clock_now();

    if (until == CLOCK_NEVER)
        return -1;
    return left <= 0 ? 0 : left > 60 * CLOCK_SECOND ? 60000 : (int)((left + CLOCK_MS - 1) / CLOCK_MS);
}

/* False: `until` is over. */
static bool wait_for(PGconn *pq, short events, int64_t until)
{
    struct pollfd p = {.fd = PQsocket(pq), .events = events};
    int n;

    do
        n = poll(&p, 1, poll_ms(until));
    while ((n < 0 && errno == EINTR) || (!n && clock_now() < until));
    return n != 0;
}

/* ---- opening and closing ---- */

/* Messages that answer no statement. Those that end the connection often arrive before its end does. */
static void take_notice(void *arg, const PGresult *res)
{
    const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
    struct pg_conn *c = arg;

    if (severity && (!strcmp(severity, "FATAL") || !strcmp(severity, "PANIC")))
        c->broken = true;
    log_debug("pg_notice", log_s("severity", severity),
              log_s("message", PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY)));
}

static PGconn *start_connecting(const struct pg_config *config)
{
    /* What stands before "dbname", which is the whole url, can be changed by it. */
    const char *const keys[] = {"keepalives_idle", "keepalives_interval",       "keepalives_count", "tcp_user_timeout",
                                "dbname",          "fallback_application_name", "client_encoding",  NULL};
    const char *const values[] = {"30", "10", "3", "20000", config->url, config->program, "UTF8", NULL};

    return PQconnectStartParams(keys, values, 1);
}

static struct status connect_steps(PGconn *pq, int64_t deadline, const atomic_bool *stop)
{
    PostgresPollingStatusType next = PGRES_POLLING_WRITING;

    while (next == PGRES_POLLING_READING || next == PGRES_POLLING_WRITING) {
        int64_t look = clock_after_ms(STOP_LOOK_MS);
        bool is_there =
            wait_for(pq, next == PGRES_POLLING_READING ? POLLIN : POLLOUT, look < deadline ? look : deadline);

        if (atomic_load(stop))
            return status_errorf(ST_CANCELLED, "not wanted any more");
        if (is_there)
            next = PQconnectPoll(pq);
        else if (clock_now() >= deadline)
            return status_errorf(ST_UNAVAILABLE, "the server does not answer");
    }
    return next == PGRES_POLLING_OK ? status_ok() : status_errorf(ST_UNAVAILABLE, "%s", PQerrorMessage(pq));
}

struct status conn_open(struct pg_conn **out, const struct pg_config *config, int64_t deadline, const atomic_bool *stop)
{
    struct pg_conn *c = xcalloc(1, sizeof *c);
    struct status st;

    c->prepared = (struct vec)VEC_INIT(sizeof(const struct pg_statement *), SIZE_MAX / sizeof(void *));
    c->timeout_ms = -1;
    c->pq = start_connecting(config);
    if (!c->pq || PQstatus(c->pq) == CONNECTION_BAD) {
        st = status_errorf(ST_UNAVAILABLE, "%s", c->pq ? PQerrorMessage(c->pq) : "no memory");
        goto out;
    }
    PQsetNoticeReceiver(c->pq, take_notice, c);
    st = connect_steps(c->pq, deadline, stop);
    if (!st.code && PQsetnonblocking(c->pq, 1))
        st = status_errorf(ST_UNAVAILABLE, "%s", PQerrorMessage(c->pq));
    if (!st.code)
        st = conn_command(c, deadline, "setup", setup);
out:
    if (st.code)
        conn_close(c);
    else
        *out = c;
    return st;
}

void conn_close(struct pg_conn *c)
{
    if (!c)
        return;
    PQfinish(c->pq);
    vec_fini(&c->prepared);
    free(c);
}

bool conn_is_alive(struct pg_conn *c)
{
    struct pollfd p = {.fd = PQsocket(c->pq), .events = POLLIN};

    while (!c->broken && poll(&p, 1, 0) > 0) {
        if (!PQconsumeInput(c->pq))
            c->broken = true;
        else
            PQisBusy(c->pq); /* looks at what came: take_notice() */
    }
    return !c->broken;
}

/* ---- asking ---- */

static struct status give_up(struct pg_conn *c)
{
    c->broken = true; /* its answer may still come, and would be taken for that of the next */
    return status_errorf(ST_DEADLINE, "the database has not answered in time");
}

struct status conn_result(struct pg_conn *c, int64_t deadline, PGresult **res)
{
    int64_t until = with_grace(deadline);

    *res = NULL;
    for (;;) {
        int unsent = PQflush(c->pq);

        if (unsent < 0 || (!unsent && !PQisBusy(c->pq)))
            break; /* when it cannot be sent, the result says why */
        if (!wait_for(c->pq, unsent > 0 ? POLLIN | POLLOUT : POLLIN, until))
            return give_up(c);
        if (!PQconsumeInput(c->pq))
            break;
    }
    *res = PQgetResult(c->pq);
    return status_ok();
}

struct status conn_finish(struct pg_conn *c, int64_t deadline, const char *what, struct status st)
{
    PGresult *res;

    for (;;) {
        struct status mine = conn_result(c, deadline, &res);

        if (!mine.code && res)
            mine = conn_error(c, res, what);
        PQclear(res);
        if (mine.code && !st.code)
            st = mine;
        if (c->broken || !res)
            return st;
    }
}

struct status conn_command(struct pg_conn *c, int64_t deadline, const char *what, const char *sql)
{
    if (!PQsendQuery(c->pq, sql))
        return conn_lost(c, what);
    return conn_finish(c, deadline, what, status_ok());
}

/* Rounded down to four significant bits: deadlines differ by microseconds, and each other value would be a command. */
static int64_t rounded_ms(int64_t deadline)
{
    int64_t ms = (deadline - clock_now()) / CLOCK_MS;
    int shift = 0;

    if (deadline == CLOCK_NEVER)
        return 0; /* the server's word for never */
    if (ms > INT32_MAX)
        ms = INT32_MAX;
    while (ms >> shift > 15)
        shift++;
    return ms < 1 ? 1 : ms >> shift << shift;
}

struct status conn_set_timeout(struct pg_conn *c, int64_t deadline)
{
    int64_t ms = rounded_ms(deadline);
    char sql[64];

    if (ms == c->timeout_ms)
        return status_ok();
    snprintf(sql, sizeof sql, "SET statement_timeout = %d", (int)ms);
    struct status st;
    do /* the command itself is still under the timeout of before, which may be a few milliseconds */
        st = conn_command(c, deadline, "timeout", sql);
    while (st.code == ST_DEADLINE && !c->broken && PQtransactionStatus(c->pq) == PQTRANS_IDLE &&
           clock_now() < deadline);
    c->timeout_ms = st.code ? -1 : ms;
    return st;
}
