/* gateway.h - the gateway's parts as its routes see them. It holds no state of its own: any gateway answers any call. */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include "backend.h"
#include "caller.h"
#include "http/http.h"
#include "monitor.h"

#include <stdatomic.h>

struct gateway {
    struct backend inference, detector, aggregator;
    struct monitor *monitor;
    const char *trainer; /* HOST:PORT or URL */
    struct admin_token admin_token;
    int64_t deadline_ms; /* of a request, from its arrival */
    int64_t beat_ms;     /* of silence in a stream of events, before a comment */
    int64_t max_image_bytes;
    bool model_control;   /* callers may load and unload models */
    atomic_bool draining; /* serves on, but wants no more */
};

#define PREDICT_MAX_TEXT ((size_t)64 << 10)  /* bytes, as in classify.proto */
#define PREDICT_MAX_BODY ((size_t)512 << 10) /* such a text, each character as \uXXXX */

/* POST /predict {"text": "...", "task"?: "sentiment"} -> {"label", "prob", "version"} */
http_handler predict_post;

/* POST /{model}/predict {"input": "..."} or {"text": "..."} -> {"output": label, "label", "prob", "version", "model"};
 * a model that is not there: 400 "Invalid model!" */
http_handler predict_model_post;

/* POST /explain {"text", "task"?, "version"?, "max_ngrams"?} -> ExplainResponse (classify.proto) as JSON */
http_handler explain_post;

/* POST /api/object_detection {"id", "image": base64, "threshold"?, "model"?, "timing"?} ->
 * {"id", "objects": [{"label", "accuracy", "rectangle": {"height", "left", "top", "width"}}]}, and with timing also
 * "model", "size": {"height", "width"} and "timing_ms": {"queue", "decode", "resize", "forward", "boxes"}. The same by
 * multipart/form-data with the file as part "image", or with the file as body and the rest in the query; see
 * picture.h. */
http_handler detect_post;
size_t detect_max_body(int64_t max_image_bytes);

/* GET /api/detectors -> {"detectors": [{"model", "default", "ready", "engine", "precision", "threshold", ...}]} */
http_handler detectors_get;

http_handler status_healthz; /* GET /healthz: the process lives */
http_handler status_readyz;  /* GET /readyz: inference or the detector is reachable, and it does not stop */
http_handler status_show;    /* GET /api/status: every backend with what it serves */

/* /v2: the Open Inference Protocol, see v2.c. */
extern const struct http_route v2_routes[];
extern const size_t v2_n_routes;

/* /params, /api/models, /api/train, /api/runs: see models/. */
extern const struct http_route models_routes[];
extern const size_t models_n_routes;

/* GET /, /docs, /openapi.json, /static/{name}: files of web/, embedded. */
http_handler pages_get;

#endif
