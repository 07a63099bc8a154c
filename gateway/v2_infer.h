/* v2_infer.h - the bodies of POST /v2/models/M/infer: JSON, perhaps with binary tensors behind it, to the message of the
 * Open Inference Protocol and back. Tensors go to the service in raw form whatever form they came in, and come back so;
 * what is wrong with their names, types, shapes and sizes is the service's to say. Knows no HTTP but the one header. */
#ifndef GATEWAY_V2_INFER_H
#define GATEWAY_V2_INFER_H

#include "base/base.h"

#include "inference/grpc_service.pb-c.h"

#include <jansson.h>
#include <stdbool.h>

#define V2_MAX_TENSORS ((size_t)4 << 20) /* bytes of all inputs of a request, raw */
#define V2_HEADER      "Inference-Header-Content-Length"

struct v2_infer {
    Inference__ModelInferRequest req; /* without model_name and model_version */
    bool binary;                      /* outputs that say nothing of their own come back as binary data */
    const bool **output_binary;       /* (req.n_outputs,): what they say; NULL: nothing */
    json_t *root;                     /* owns the strings of req */
};

/* body: borrowed until v2_infer_fini(), of at most a few MiB. header: the value of V2_HEADER, NULL: absent; then
 * all of the body is JSON. ST_INVALID names the field or the tensor; ST_EXHAUSTED: the arena is full, or the tensors are
 * over V2_MAX_TENSORS. v2_infer_fini() is due whatever it returns. */
struct status v2_infer_decode(struct v2_infer *out, const char *body, size_t size, const char *header,
                              struct arena *arena);
void v2_infer_fini(struct v2_infer *in);

/* Body of the answer: size bytes in the arena, of which the first json_size are JSON and the rest is binary data; with
 * none of it the two are equal. ST_INTERNAL: the message is not of the protocol; ST_EXHAUSTED: the arena is full. */
struct status v2_infer_encode(const struct v2_infer *in, const Inference__ModelInferResponse *rep, struct arena *arena,
                              char **body, size_t *size, size_t *json_size);

/* The members of a JSON object of parameters, all but those named in skip (NULL-terminated), as the entries of a map
 * whose values are InferParameter or ModelRepositoryParameter. params NULL: none. ST_INVALID names the parameter. */
struct status v2_parameters(void *entries, size_t *n, const ProtobufCMessageDescriptor *entry, const json_t *params,
                            const char *const *skip, struct arena *arena);

#endif
