/* classify.h - bloginfer.v1.ClassifyService: texts in, labels and probabilities out, by the models of served.h. */
#ifndef INFERENCE_CLASSIFY_H
#define INFERENCE_CLASSIFY_H

#include "batcher.h"
#include "rpc/rpc.h"
#include "served.h"

#define CLASSIFY_SERVICE "bloginfer.v1.ClassifyService"
#define CLASSIFY_TASK    "sentiment" /* when none is named */
#define CLASSIFY_MAX     256         /* texts in a call */
#define CLASSIFY_SMALL   (16u << 10) /* bytes of a request that are tokenised on a poller: a quarter of a millisecond */

struct classify {
    struct served *served;   /* borrowed */
    struct batcher *batcher; /* borrowed; outlives every call */
    struct metric *texts;
};

void classify_init(struct classify *c, struct served *served, struct batcher *batcher);

/* For rpc_server_add() with bloginfer__v1__classify_service__descriptor; the service is the struct classify. */
extern const struct rpc_method classify_methods[];
extern const size_t classify_n_methods;

#endif
