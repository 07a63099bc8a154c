/* testing.h - for tests: a real PostgreSQL of their own, in a folder below /tmp, listening there on a socket alone. One for
 * a test program. A helper process removes it as soon as the program ends, in whatever way. Helpers die on failure. */
#ifndef PG_TESTING_H
#define PG_TESTING_H

#include "pg/pg.h"

#include <sys/types.h>

struct pg_testing {
    char folder[32];
    char url[96]; /* of database "postgres" */
    pid_t server; /* 0: it does not run */
    pid_t keeper;
    int life; /* the keeper waits for the end of this pipe */
};

/* False: there is no PostgreSQL on this machine, as it then says: the program has nothing to test. */
bool pg_testing_installed(void);

void pg_testing_start(struct pg_testing *t);
void pg_testing_stop(struct pg_testing *t);

/* The server alone: every process of it by SIGKILL; in order, ending connections; on again. Return when it is so. */
void pg_testing_kill(struct pg_testing *t);
void pg_testing_shutdown(struct pg_testing *t);
void pg_testing_launch(struct pg_testing *t);

/* The server's processes do nothing until they are let go on: as if its machine were hung. */
void pg_testing_freeze(struct pg_testing *t, bool frozen);

/* A pool of at most n connections, to pg_close(). database NULL: "postgres". */
struct pg_pool *pg_testing_pool(const struct pg_testing *t, const char *database, int n);

/* Runs SQL beside every pool. */
void pg_testing_run(const struct pg_testing *t, const char *database, const char *sql);

#endif
