/* pool.h - the pool as the rest of this folder sees it. */
#ifndef PG_POOL_H
#define PG_POOL_H

#include "pg/conn.h"

/* A connection that was alive a moment ago, to pool_release(). ST_EXHAUSTED, ST_UNAVAILABLE as in pg.h. */
struct status pool_acquire(struct pg_pool *p, int64_t deadline, struct pg_conn **out);

/* Takes it back; one that is broken or not idle is closed. */
void pool_release(struct pg_pool *p, struct pg_conn *c);

#endif
