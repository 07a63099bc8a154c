/* v2.c - /v2: the Open Inference Protocol over REST, with the extensions model_repository and binary_tensor_data. The
 * inference service answers over gRPC, and the detector for the models that are its own; here their messages become JSON.
 * Which models are whose they know themselves: the one that is asked second is asked because the first has no such model.
 * Errors are {"error": words}, with the HTTP status
 * that servers of this protocol agree on: 404 not there, 503 not able, 501 not supported, 500 broken, else 400. */
#include "gateway.h"
#include "json.h"
#include "pbjson/pbjson.h"
#include "v2_infer.h"

#include <string.h>

#define MAX_INFER   ((size_t)8 << 20) /* bytes of a body: JSON may write a text in twice its size */
#define MAX_CONTROL ((size_t)4 << 10)

#define SERVICE (&inference__grpcinference_service__descriptor)

static int http_code_of(enum code code)
{
    switch (code) {
    case ST_NOT_FOUND:
        return 404;
    case ST_PRECONDITION: /* the model is not loaded */
    case ST_EXHAUSTED:
    case ST_UNAVAILABLE:
    case ST_CANCELLED:
    case ST_ABORTED:
        return 503;
    case ST_DEADLINE:
        return 504;
    case ST_UNIMPLEMENTED:
        return 501;
    case ST_UNKNOWN:
    case ST_INTERNAL:
    case ST_DATA_LOSS:
        return 500;
    default:
        return 400;
    }
}

/* Answers with the error; what a handler returns then. */
static struct status fail(struct http_call *call, const struct status *st)
{
    http_reply_error(call, http_code_of(st->code), st->msg, NULL);
    return status_ok();
}

/* False: the request has been answered. */
static bool ask(struct http_call *call, const char *method, const void *in, const void **out)
{
    struct gateway *g = http_service(call);
    struct status st = backend_ask(&g->inference, call, g->deadline_ms, SERVICE, method, in, out);

    if (st.code)
        fail(call, &st);
    return !st.code;
}

/* Whether this backend has nothing to say of the model, so that another one may be asked. */
static bool is_stranger(enum code code)
{
    return code == ST_NOT_FOUND || code == ST_UNAVAILABLE || code == ST_UNIMPLEMENTED;
}

static struct status ask_backend(struct http_call *call, struct backend *b, const char *method, const void *in,
                                 const void **out)
{
    struct gateway *g = http_service(call);

    if (b == &g->detector && monitor_state(g->monitor, b->name) == MONITOR_DOWN)
        return status_errorf(ST_UNAVAILABLE, "%s cannot be reached, try again", b->name);
    return backend_ask(b, call, g->deadline_ms, SERVICE, method, in, out);
}

/* About a model, which is the inference service's or the detector's. When neither has it, the answer is that of the one
 * asked first. */
static bool ask_owner(struct http_call *call, bool detector_first, const char *method, const void *in, const void **out)
{
    struct gateway *g = http_service(call);
    struct backend *first = detector_first ? &g->detector : &g->inference;
    struct backend *second = detector_first ? &g->inference : &g->detector;
    struct status st = ask_backend(call, first, method, in, out);

    if (is_stranger(st.code)) {
        struct status other = ask_backend(call, second, method, in, out);

        if (!is_stranger(other.code))
            st = other;
    }
    if (st.code)
        fail(call, &st);
    return !st.code;
}

/* {name}, and {version} or "". */
static char *model_of(struct http_call *call)
{
    return (char *)http_param(call, "model");
}

static char *version_of(struct http_call *call)
{
    const char *version = http_param(call, "version");

    return version ? (char *)version : "";
}

/* ---- health ---- */

static struct status live_get(struct http_call *call)
{
    json_reply(call, 200, json_pack("{s:b}", "live", 1));
    return status_ok();
}

static struct status ready_get(struct http_call *call)
{
    struct gateway *g = http_service(call);
    Inference__ServerReadyRequest req = INFERENCE__SERVER_READY_REQUEST__INIT;
    const void *out;
    struct status st = backend_ask(&g->inference, call, g->deadline_ms, SERVICE, "ServerReady", &req, &out);
    bool ready = !st.code && ((const Inference__ServerReadyResponse *)out)->ready && !atomic_load(&g->draining);

    json_reply(call, ready ? 200 : 503, json_pack("{s:b}", "ready", ready));
    return status_ok();
}

/* The inference service says of a model that it does not know that it is not ready. */
static struct status model_ready_get(struct http_call *call)
{
    struct gateway *g = http_service(call);
    Inference__ModelReadyRequest req = INFERENCE__MODEL_READY_REQUEST__INIT;
    const void *out;
    bool ready;

    req.name = model_of(call);
    req.version = version_of(call);
    struct status st = ask_backend(call, &g->inference, "ModelReady", &req, &out);
    ready = !st.code && ((const Inference__ModelReadyResponse *)out)->ready;
    if (!ready && !ask_backend(call, &g->detector, "ModelReady", &req, &out).code) {
        ready = ((const Inference__ModelReadyResponse *)out)->ready;
        st = ready ? status_ok() : st;
    }
    if (st.code)
        return fail(call, &st);
    json_reply(call, ready ? 200 : 503, json_pack("{s:s, s:b}", "name", req.name, "ready", ready));
    return status_ok();
}

/* ---- metadata ---- */

static struct status server_get(struct http_call *call)
{
    Inference__ServerMetadataRequest req = INFERENCE__SERVER_METADATA_REQUEST__INIT;
    const void *out;

    if (ask(call, "ServerMetadata", &req, &out))
        json_reply(call, 200, pbjson_encode(out));
    return status_ok();
}

static struct status model_get(struct http_call *call)
{
    Inference__ModelMetadataRequest req = INFERENCE__MODEL_METADATA_REQUEST__INIT;
    const void *out;

    req.name = model_of(call);
    req.version = version_of(call);
    if (ask_owner(call, false, "ModelMetadata", &req, &out))
        json_reply(call, 200, pbjson_encode(out));
    return status_ok();
}

/* The models of both, each as RepositoryIndex of its service tells it; one that is not there, or not of this protocol, has
 * none. False: neither answers, and the request has been answered. */
static bool ask_index(struct http_call *call, bool only_ready, const Inference__RepositoryIndexResponse *reps[2])
{
    Inference__RepositoryIndexRequest req = INFERENCE__REPOSITORY_INDEX_REQUEST__INIT;
    static const Inference__RepositoryIndexResponse none = INFERENCE__REPOSITORY_INDEX_RESPONSE__INIT;
    struct gateway *g = http_service(call);
    const void *texts = &none, *pictures = &none;

    req.ready = only_ready;
    struct status other = ask_backend(call, &g->detector, "RepositoryIndex", &req, &pictures);
    struct status st = ask_backend(call, &g->inference, "RepositoryIndex", &req, &texts);
    if (st.code && (st.code != ST_UNAVAILABLE || other.code)) {
        fail(call, &st);
        return false;
    }
    reps[0] = texts ? texts : &none;
    reps[1] = pictures ? pictures : &none;
    return true;
}

static void add_names(json_t *names, const Inference__RepositoryIndexResponse *rep)
{
    for (size_t i = 0; i < rep->n_models; i++) /* by name, then version */
        if (!i || strcmp(rep->models[i]->name, rep->models[i - 1]->name) != 0)
            json_array_append_new(names, json_string(rep->models[i]->name));
}

static struct status models_get(struct http_call *call)
{
    const Inference__RepositoryIndexResponse *reps[2];
    json_t *names;

    if (!ask_index(call, true, reps))
        return status_ok();
    names = json_array();
    add_names(names, reps[0]);
    add_names(names, reps[1]);
    json_reply(call, 200, json_pack("{s:o}", "models", names));
    return status_ok();
}

/* ---- inference ---- */

static struct status infer_reply(struct http_call *call, const struct v2_infer *in,
                                 const Inference__ModelInferResponse *rep)
{
    char *body, length[24];
    size_t size, json_size;
    struct status st = v2_infer_encode(in, rep, http_arena(call), &body, &size, &json_size);

    if (st.code) {
        log_error("v2_answer", log_s("id", http_request_id(call)), log_s("error", st.msg));
        st = status_errorf(ST_INTERNAL, "inference gave an answer that cannot be passed on; the log has it");
        return fail(call, &st);
    }
    if (size > json_size) {
        snprintf(length, sizeof length, "%zu", json_size);
        http_set_header(call, V2_HEADER, length);
    }
    http_reply(call, 200, size > json_size ? "application/octet-stream" : "application/json", body, size);
    return status_ok();
}

static struct status infer_decode(struct http_call *call, struct v2_infer *in)
{
    size_t size;
    const char *body = http_body(call, &size);

    if (http_header(call, "Content-Encoding"))
        return status_errorf(ST_UNIMPLEMENTED, "Content-Encoding: bodies have to come without compression");
    return v2_infer_decode(in, body, size, http_header(call, V2_HEADER), http_arena(call));
}

/* Spares the inference service a picture that it would only turn away. */
static bool wants_picture(const Inference__ModelInferRequest *req)
{
    return req->n_inputs && !strcmp(req->inputs[0]->name, "image");
}

static struct status infer_post(struct http_call *call)
{
    struct v2_infer in = {0};
    struct status st = infer_decode(call, &in);
    const void *out;

    if (st.code) {
        fail(call, &st);
    } else {
        in.req.model_name = model_of(call);
        in.req.model_version = version_of(call);
        if (ask_owner(call, wants_picture(&in.req), "ModelInfer", &in.req, &out))
            infer_reply(call, &in, out);
    }
    v2_infer_fini(&in);
    return status_ok();
}

/* ---- the repository ---- */

/* The body as JSON, *out NULL when there is none; to json_decref(). */
static struct status optional_body(struct http_call *call, json_t **out)
{
    size_t size;
    const char *body = http_body(call, &size);

    *out = NULL;
    return size ? json_parse(body, size, out) : status_ok();
}

static struct status index_post(struct http_call *call)
{
    const Inference__RepositoryIndexResponse *reps[2];
    json_t *in, *models;
    struct status st = optional_body(call, &in);
    bool only_ready = json_is_true(json_object_get(in, "ready"));

    json_decref(in);
    if (st.code)
        return fail(call, &st);
    if (!ask_index(call, only_ready, reps))
        return status_ok();
    models = json_array();
    for (size_t i = 0; i < COUNT_OF(reps); i++) {
        json_t *index = pbjson_encode((const ProtobufCMessage *)reps[i]);

        json_array_extend(models, json_object_get(index, "models"));
        json_decref(index);
    }
    json_reply(call, 200, models);
    return status_ok();
}

/* Loading and unloading are for whoever runs the gateway to allow. */
static bool model_control(struct http_call *call, json_t **in)
{
    const struct gateway *g = http_service(call);
    struct status st = optional_body(call, in);

    if (!st.code && !g->model_control)
        st = status_errorf(ST_UNAVAILABLE, "loading and unloading models is off at this gateway: --model-control");
    if (st.code)
        fail(call, &st);
    return !st.code;
}

static const char *const no_names[] = {NULL};

static void control(struct http_call *call, const char *method, const void *req, const struct status *st)
{
    const void *out;

    if (st->code)
        fail(call, st);
    else if (ask(call, method, req, &out))
        http_reply(call, 200, NULL, NULL, 0);
}

static struct status load_post(struct http_call *call)
{
    Inference__RepositoryModelLoadRequest req = INFERENCE__REPOSITORY_MODEL_LOAD_REQUEST__INIT;
    json_t *in;

    req.model_name = model_of(call);
    if (model_control(call, &in)) {
        struct status st = v2_parameters(&req.parameters, &req.n_parameters,
                                         &inference__repository_model_load_request__parameters_entry__descriptor,
                                         json_object_get(in, "parameters"), no_names, http_arena(call));
        control(call, "RepositoryModelLoad", &req, &st);
    }
    json_decref(in);
    return status_ok();
}

static struct status unload_post(struct http_call *call)
{
    Inference__RepositoryModelUnloadRequest req = INFERENCE__REPOSITORY_MODEL_UNLOAD_REQUEST__INIT;
    json_t *in;

    req.model_name = model_of(call);
    if (model_control(call, &in)) {
        struct status st = v2_parameters(&req.parameters, &req.n_parameters,
                                         &inference__repository_model_unload_request__parameters_entry__descriptor,
                                         json_object_get(in, "parameters"), no_names, http_arena(call));
        control(call, "RepositoryModelUnload", &req, &st);
    }
    json_decref(in);
    return status_ok();
}

const struct http_route v2_routes[] = {
    {"GET", "/v2", server_get, 0, .light = true},
    {"GET", "/v2/health/live", live_get, 0, .light = true},
    {"GET", "/v2/health/ready", ready_get, 0, .light = true},
    {"GET", "/v2/models", models_get, 0, .light = true},
    {"GET", "/v2/models/{model}", model_get, 0, .light = true},
    {"GET", "/v2/models/{model}/ready", model_ready_get, 0, .light = true},
    {"POST", "/v2/models/{model}/infer", infer_post, MAX_INFER, .light = true},
    {"GET", "/v2/models/{model}/versions/{version}", model_get, 0, .light = true},
    {"GET", "/v2/models/{model}/versions/{version}/ready", model_ready_get, 0, .light = true},
    {"POST", "/v2/models/{model}/versions/{version}/infer", infer_post, MAX_INFER, .light = true},
    {"POST", "/v2/repository/index", index_post, MAX_CONTROL, .light = true},
    {"POST", "/v2/repository/models/{model}/load", load_post, MAX_CONTROL, .light = true},
    {"POST", "/v2/repository/models/{model}/unload", unload_post, MAX_CONTROL, .light = true},
};
const size_t v2_n_routes = COUNT_OF(v2_routes);
