/* explain.h - ClassifyService/Explain: what in a text made the answer. */
#ifndef INFERENCE_EXPLAIN_H
#define INFERENCE_EXPLAIN_H

#include "rpc/rpc.h"

#define EXPLAIN_MAX_REQUEST (128u << 10)
#define EXPLAIN_ARENA       (4u << 20)

rpc_unary_fn explain; /* the service is a struct classify */

#endif
