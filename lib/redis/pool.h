/* pool.h - connections that callers take and give back. Private to lib/redis. Thread-safe. */
#ifndef REDIS_POOL_H
#define REDIS_POOL_H

#include "redis/conn.h"

/* *out: the caller's, to pool_release(). ST_UNAVAILABLE: the server is away, told at once. ST_EXHAUSTED: all
 * connections are in use until the deadline; ST_DEADLINE: the first one was not made by then. */
struct status pool_acquire(struct redis *r, int64_t deadline, struct conn **out);

enum pool_fate {
    POOL_KEEP,  /* it may be used again */
    POOL_CLOSE, /* what it still would bring is not wanted */
    POOL_BROKE, /* and nothing came: the pool looks whether the server is still there */
};
void pool_release(struct redis *r, struct conn *c, enum pool_fate fate);

#endif
