/* quant.h - how an engine of fewer bits keeps each layer's output: BF16 as it is, integers with scale and zero point from
 * the network's ranges.
 *
 * Layers that only pass values on (maxpool, upsample, route, dropout) share theirs with what they read, so that they
 * work on the integers as they are, and so do all inputs of a concatenation. */
#ifndef DETECTOR_QUANT_H
#define DETECTOR_QUANT_H

#include "executor/tensor.h"
#include "network/network.h"

struct quant_tensor {
    enum tensor_type type; /* the engine's, or TENSOR_F32: heads, and what only float convolutions read */
    float scale;
    int32_t zero;
};

struct quant {
    struct quant_tensor picture;
    struct quant_tensor layers[CFG_MAX_LAYERS]; /* outputs */
    bool keep_float[CFG_MAX_LAYERS];            /* convolutions to be done by a float method */
};

/* type: TENSOR_BF16, TENSOR_S16 or TENSOR_U8. ST_UNAVAILABLE: nobody has measured this network's ranges, which integers
 * need. */
struct status quant_assign(struct quant *out, const struct network *net, enum tensor_type type);

#endif
