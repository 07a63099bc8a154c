/* oip.h - inference.GRPCInferenceService: the Open Inference Protocol v2 on the models of served.h. A model is a task,
 * its input the tensor text, its outputs label, score and prob; see protos/inference/grpc_service.proto. */
#ifndef INFERENCE_OIP_H
#define INFERENCE_OIP_H

#include "batcher.h"
#include "rpc/rpc.h"
#include "served.h"

#include <stdatomic.h>

#define OIP_SERVICE "inference.GRPCInferenceService"

struct oip {
    struct served *served;   /* borrowed */
    struct batcher *batcher; /* borrowed; outlives every call */
    struct metric *texts;
    atomic_bool draining;
};

void oip_init(struct oip *o, struct served *served, struct batcher *batcher);

/* From now on ServerReady says no. Any thread. */
void oip_drain(struct oip *o);

/* For rpc_server_add() with inference__grpcinference_service__descriptor; the service is the struct oip. */
extern const struct rpc_method oip_methods[];
extern const size_t oip_n_methods;

#endif
