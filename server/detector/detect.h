/* detect.h - DetectService over a detector: messages in, messages out. */
#ifndef DETECTOR_DETECT_H
#define DETECTOR_DETECT_H

#include "detector.h"
#include "rpc/rpc.h"

#define DETECT_SERVICE "bloginfer.v1.DetectService"

struct detect_service {
    struct detector *detector;
    struct rpc_method methods[2];
};

/* Registers it; service and detector are borrowed until the server has stopped. */
struct status detect_service_add(struct rpc_server *server, struct detect_service *service, struct detector *detector,
                                 int64_t max_image_bytes);

/* Health tells whether there is a model, for the service and the whole server: call after rpc_server_start(). */
void detect_service_show(struct rpc_server *server, const struct detect_service *service);

#endif
