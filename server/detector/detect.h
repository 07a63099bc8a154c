/* detect.h - DetectService over a detector: messages in, messages out. A Detect call holds no thread while its picture
 * waits. */
#ifndef DETECTOR_DETECT_H
#define DETECTOR_DETECT_H

#include "detector.h"
#include "rpc/rpc.h"

#define DETECT_SERVICE "bloginfer.v1.DetectService"

struct detect_service {
    struct detector *detector;
    struct rpc_method methods[4];
};

/* Registers it; service and detector are borrowed until the server has stopped. */
struct status detect_service_add(struct rpc_server *server, struct detect_service *service, struct detector *detector,
                                 int64_t max_image_bytes);

/* Memory that a call holds beside its messages while it waits, as far as one can tell. */
#define DETECT_CALL_BYTES (16u << 10)

#define DETECT_POLLER_MAX (1u << 20) /* bytes of a request that a poller copies: tens of microseconds */

/* When to come again, as gRPC's own retries read it. */
#define DETECT_RETRY_TRAILER "grpc-retry-pushback-ms"
void detect_set_retry(struct rpc_call *call, int64_t retry_ms);

/* ---- inside ---- */

#define DETECT_MAX_ID 256
rpc_stream_fn detect_stream;

#endif
