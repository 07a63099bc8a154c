/* oip.h - inference.GRPCInferenceService over a detector: the Open Inference Protocol v2. A model is one of the detector's;
 * input and outputs: see protos/inference/grpc_service.proto. */
#ifndef DETECTOR_OIP_H
#define DETECTOR_OIP_H

#include "detector.h"
#include "rpc/rpc.h"

#include <stdatomic.h>

#define OIP_SERVICE    "inference.GRPCInferenceService"
#define OIP_MAX_IMAGES 64 /* in a call */

struct oip_service {
    struct detector *detector;
    atomic_bool draining;
    struct rpc_method methods[9];
};

/* Registers it; service and detector are borrowed until the server has stopped. A request holds twice max_image_bytes. */
struct status oip_service_add(struct rpc_server *server, struct oip_service *service, struct detector *detector,
                              int64_t max_image_bytes);

/* From now on ServerReady says no. Any thread. */
void oip_service_drain(struct oip_service *service);

/* ---- inside ---- */

/* The outputs in their order. */
enum { OIP_BOXES, OIP_SCORES, OIP_LABELS, OIP_IMAGE_INDEX, OIP_N_OUTPUTS };
extern const char *const oip_output_names[OIP_N_OUTPUTS];
#define OIP_TENSOR_IMAGE "image"

/* The version of a model is the beginning of its weights' SHA-256. ST_NOT_FOUND: it has another one than asked for, which
 * "" never is. *out is to be released. */
#define OIP_VERSION_SIZE 12
struct status oip_acquire(struct oip_service *service, const char *name, const char *version, struct served **out);

rpc_unary_fn oip_server_live, oip_server_ready, oip_model_ready;
rpc_unary_fn oip_server_metadata, oip_model_metadata;
rpc_unary_fn oip_repository_index, oip_repository_fixed;

#endif
