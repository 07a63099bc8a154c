/* oip_request.h - a ModelInferRequest, checked: its texts, the outputs it wants and the parameters that mean something
 * here. Knows no models. Thread-safe. */
#ifndef INFERENCE_OIP_REQUEST_H
#define INFERENCE_OIP_REQUEST_H

#include "oip/oip_tensor.h"

#define OIP_TENSOR_TEXT "text" /* the one input */

enum oip_output { OIP_LABEL, OIP_SCORE, OIP_PROB }; /* all of them, in this order, when a request names none */
#define OIP_N_OUTPUTS 3

struct oip_request {
    struct oip_elements texts;
    size_t outputs[OIP_N_OUTPUTS]; /* of enum oip_output */
    size_t n_outputs;
    bool raw;          /* the form of the answer */
    uint64_t priority; /* 1: the highest, 0: the default */
    int64_t deadline;  /* of the request's own, clock_now() scale; CLOCK_NEVER: none */
};

/* ST_INVALID names the tensor or the parameter, ST_UNIMPLEMENTED: something of the protocol that this server does not
 * do; ST_EXHAUSTED: the arena is full. max: texts. */
struct status oip_request_read(struct oip_request *out, const Inference__ModelInferRequest *req, size_t max,
                               struct arena *arena);

/* "label" and so on. */
const char *oip_output_name(enum oip_output output);

#endif
