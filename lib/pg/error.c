/* error.c - what the server says, as a status for anybody and a log line for the operator. Neither has values in it: the
 * server's DETAIL does, and is left out.
 * Codes: https://www.postgresql.org/docs/15/errcodes-appendix.html */
#include "pg/conn.h"

#include <stdio.h>
#include <string.h>

struct kind {
    const char *sqlstate; /* or its beginning; the first that fits counts */
    enum code code;
    const char *message;
};

static const struct kind kinds[] = {
    {"23505", ST_EXISTS, "it is there already"},
    {"23P01", ST_EXISTS, "it is there already"},
    {"23503", ST_PRECONDITION, "what it belongs to is not there, or is still needed"},
    {"23", ST_INVALID, "a value is not allowed"},
    {"22", ST_INVALID, "a value is not allowed"},
    {"54", ST_INVALID, "a value is too large"},
    {"57014", ST_DEADLINE, "the database has stopped it in time"},
    {"57P", ST_UNAVAILABLE, "the database is stopping or starting"},
    {"25006", ST_UNAVAILABLE, "the database takes no changes now"},
    {"08P01", ST_INTERNAL, "the database did not take the message"},
    {"08", ST_UNAVAILABLE, "the database went away"},
    {"53", ST_EXHAUSTED, "the database has reached a limit"},
    {"40001", ST_ABORTED, "another change came in between"},
    {"40P01", ST_ABORTED, "another change came in between"},
    {"", ST_INTERNAL, "the database did not do it"},
};

static const struct kind *kind_of(const char *sqlstate)
{
    const struct kind *k = kinds;

    while (strncmp(sqlstate, k->sqlstate, strlen(k->sqlstate)) != 0)
        k++;
    return k;
}

/* What callers handle is no news; what nobody expects is. */
static enum log_level level_of(enum code code)
{
    return code == ST_INTERNAL ? LOG_ERROR : code == ST_UNAVAILABLE || code == ST_EXHAUSTED ? LOG_WARN : LOG_DEBUG;
}

static void copy_field(char *to, size_t size, const PGresult *res, int field)
{
    const char *value = PQresultErrorField(res, field);

    snprintf(to, size, "%s", value ? value : "");
}

struct status conn_error(struct pg_conn *c, const PGresult *res, const char *what)
{
    ExecStatusType status = PQresultStatus(res);
    char severity[16];

    if (status != PGRES_FATAL_ERROR && status != PGRES_BAD_RESPONSE)
        return status_ok();
    copy_field(c->sqlstate, sizeof c->sqlstate, res, PG_DIAG_SQLSTATE);
    copy_field(c->constraint, sizeof c->constraint, res, PG_DIAG_CONSTRAINT_NAME);
    if (!*c->sqlstate)
        return conn_lost(c, what);
    copy_field(severity, sizeof severity, res, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (strcmp(severity, "ERROR") != 0) /* FATAL or PANIC: the connection's end */
        c->broken = true;
    const struct kind *k = kind_of(c->sqlstate);
    LOG_AT(level_of(k->code), "pg_error", log_s("statement", what), log_s("sqlstate", c->sqlstate),
           log_s("message", PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY)), log_s("constraint", c->constraint));
    return status_errorf(k->code, "%s: %s (SQLSTATE %s)", what, k->message, c->sqlstate);
}

struct status conn_lost(struct pg_conn *c, const char *what)
{
    c->broken = true;
    log_warn("pg_connection_lost", log_s("statement", what), log_s("error", PQerrorMessage(c->pq)));
    return status_errorf(ST_UNAVAILABLE, "%s: the database went away", what);
}
