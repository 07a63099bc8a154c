/* migrate.c - one transaction for each step: look what has been applied, under a lock that holds until its end, check it
 * against the list, apply the next. So it does not matter who else does it at the same time, or dies in the middle. */
#include "pg/pool.h"

#include <stdlib.h>
#include <string.h>

#define LOCK INT64_C(0x626c6f67696e6672) /* "bloginfr": of this database's migrations */

static const char create_table[] =
    "CREATE TABLE IF NOT EXISTS schema_migrations (version integer PRIMARY KEY, name text NOT NULL, "
    "sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())";
static const struct pg_statement lock = {"migrate_lock", "SELECT pg_advisory_xact_lock($1)"};
static const struct pg_statement applied = {"migrate_applied",
                                            "SELECT version, name, sha256 FROM schema_migrations ORDER BY version"};
static const struct pg_statement record = {"migrate_record",
                                           "INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)"};

struct migration {
    const struct pg_migration *list;
    size_t n;
    bool done;
};

#define DIGEST_SIZE (2 * SHA256_SIZE + 1)

static void digest_of(const struct pg_migration *m, char *hex)
{
    uint8_t digest[SHA256_SIZE];

    sha256(m->sql, (size_t)(m->sql_end - m->sql), digest);
    hex_encode(digest, sizeof digest, hex);
}

static struct status check_applied(const struct migration *m, const struct pg_result *r)
{
    char hex[DIGEST_SIZE];

    if (r->n_rows > m->n)
        return status_errorf(ST_PRECONDITION,
                             "the database is newer than this program: it has migration %d \"%.64s\", the program "
                             "knows %zu",
                             (int)pg_int(r, r->n_rows - 1, 0), pg_text(r, r->n_rows - 1, 1), m->n);
    for (size_t i = 0; i < r->n_rows; i++) {
        if (pg_int(r, i, 0) != (int64_t)i + 1)
            return status_errorf(ST_PRECONDITION, "migration %zu is missing in the database, later ones are there",
                                 i + 1);
        digest_of(&m->list[i], hex);
        if (strcmp(hex, pg_text(r, i, 2)) != 0)
            return status_errorf(ST_PRECONDITION,
                                 "migration %zu \"%.64s\" was applied as \"%.64s\" with another text: a change needs a "
                                 "migration of its own",
                                 i + 1, m->list[i].name, pg_text(r, i, 1));
    }
    return status_ok();
}

static struct status apply(struct pg *db, const struct pg_migration *m, size_t version)
{
    char *sql = xstrndup(m->sql, (size_t)(m->sql_end - m->sql));
    char hex[DIGEST_SIZE];
    struct status st = conn_command(db->conn, db->deadline, m->name, sql);

    free(sql);
    if (!st.code && PQtransactionStatus(db->conn->pq) != PQTRANS_INTRANS)
        st = status_errorf(ST_INTERNAL, "it ended its transaction");
    if (st.code)
        return status_prefix(st, "migration %zu \"%.64s\"", version, m->name);
    digest_of(m, hex);
    st = pg_query(db, NULL, &record, PG_INT((int64_t)version), PG_TEXT(m->name), PG_TEXT(hex));
    if (!st.code)
        log_info("migrated", log_i("version", (int64_t)version), log_s("name", m->name));
    return st;
}

static struct status step(struct pg *db, void *ctx)
{
    struct migration *m = ctx;
    struct pg_result r;
    struct status st = pg_query(db, NULL, &lock, PG_INT(LOCK));

    if (!st.code)
        st = conn_command(db->conn, db->deadline, "migrate_create", create_table);
    if (!st.code)
        st = pg_query(db, &r, &applied);
    if (!st.code)
        st = check_applied(m, &r);
    if (st.code)
        return st;
    m->done = r.n_rows == m->n;
    return m->done ? st : apply(db, &m->list[r.n_rows], r.n_rows + 1);
}

struct status pg_migrate(struct pg *db, const struct pg_migration *list, size_t n)
{
    struct migration m = {list, n, false};
    struct status st = status_ok();

    while (!st.code && !m.done)
        st = pg_transaction(db, PG_READ_COMMITTED, step, &m);
    return st;
}
