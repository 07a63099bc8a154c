/* worker.h - one worker of one run, from its first word to the aggregator to the run's end. */
#ifndef CLIENT_WORKER_WORKER_H
#define CLIENT_WORKER_WORKER_H

#include "base/base.h"
#include "rpc/rpc.h"

struct worker_config {
    struct rpc_client *client; /* of the aggregator; borrowed */
    const char *run_id;
    uint32_t shard_index, shard_count;
    const char *const *folders; /* where to look for data: corpus.h */
    size_t n_folders;
    int64_t patience_ms; /* how long without the aggregator before giving up */
};

struct worker;

/* Starts its thread, which calls lifecycle_request_stop() when the run has ended for it. config's pointers: borrowed. */
struct worker *worker_start(const struct worker_config *config);

/* Leaves the run if it is still on, joins, frees. The run's end: OK when it finished or was stopped, else why the worker
 * could not go on. */
struct status worker_stop(struct worker *w);

#endif
