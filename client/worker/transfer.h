/* transfer.h - the bulk half of the federation's wire, as a worker speaks it: parameters in, updates out. */
#ifndef CLIENT_WORKER_TRANSFER_H
#define CLIENT_WORKER_TRANSFER_H

#include "base/base.h"
#include "rpc/rpc.h"

struct transfer {
    struct rpc_client *client;
    const char *run_id;
    uint32_t shard_index;
    uint32_t chunk_bytes; /* of an update's chunks; a multiple of 4 */
    int64_t timeout_ms;   /* of one transfer */
};

/* params (n_params,). ST_PRECONDITION: that version is not current any more; ST_DATA_LOSS: a checksum differs. */
struct status transfer_fetch(const struct transfer *t, uint64_t version, float *params, size_t n_params);

enum transfer_verdict { TRANSFER_ACCEPTED = 1, TRANSFER_DUPLICATE, TRANSFER_LATE, TRANSFER_REJECTED };

/* *verdict is set when OK; reason (of STATUS_MSG_SIZE) says why it was not accepted. */
struct status transfer_submit(const struct transfer *t, uint64_t base_version, uint64_t samples, double loss,
                              const float *update, size_t n_params, enum transfer_verdict *verdict, char *reason);

#endif
