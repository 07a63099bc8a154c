/* pool.h - worker threads behind a queue of unary calls, bounded in their number and in the bytes of their requests. */
#ifndef RPC_POOL_H
#define RPC_POOL_H

#include "base/base.h"

#include <stdbool.h>

struct rpc_call;

#define POOL_MAX_BYTES ((size_t)128 << 20) /* that wait, unless it is one call alone */

struct pool {
    void (*run)(struct rpc_call *call);
    pthread_t *threads;
    int n_threads;

    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t changed;
    struct rpc_call **ring;
    size_t cap, first, n;
    size_t n_bytes; /* of the requests that wait */
    int n_idle;     /* threads that wait, less those that were woken already */
    bool stopping;
};

void pool_start(struct pool *p, int n_threads, size_t cap, void (*run)(struct rpc_call *call));

/* False: the queue is full. */
bool pool_push(struct pool *p, struct rpc_call *call);

/* Runs what is queued, then joins. A pool that was never started (all zero) is fine. */
void pool_stop(struct pool *p);

#endif
