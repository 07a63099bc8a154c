/* status.c - the probes, and GET /api/status: who is up and what they serve. Backends that are down are not asked, so
 * that the page is there when it is needed most. */
#include "bloginfer/v1/classify.pb-c.h"
#include "bloginfer/v1/detect.pb-c.h"
#include "bloginfer/v1/registry.pb-c.h"
#include "gateway.h"
#include "json.h"

#include <string.h>

#define ASK_MS 1000

struct status status_healthz(struct http_call *call)
{
    json_reply(call, 200, json_pack("{s:s}", "status", "ok"));
    return status_ok();
}

struct status status_readyz(struct http_call *call)
{
    struct gateway *g = http_service(call);
    struct status st = monitor_ready(g->monitor);

    if (atomic_load(&g->draining))
        st = status_errorf(ST_UNAVAILABLE, "stopping");
    if (!st.code)
        json_reply(call, 200, json_pack("{s:s}", "status", "ready"));
    return st;
}

/* The answer of a method without arguments, in the arena of the call; NULL: none. */
static const void *ask(const struct backend *b, struct http_call *call, const ProtobufCServiceDescriptor *service,
                       const char *method, const void *in)
{
    struct rpc_options options = {.timeout_ms = ASK_MS, .arena = http_arena(call)};
    const void *out;

    return rpc_unary(b->client, service, method, in, &out, &options).code ? NULL : out;
}

static json_t *inference_models(struct gateway *g, struct http_call *call)
{
    static const Bloginfer__V1__ListServedModelsRequest req = BLOGINFER__V1__LIST_SERVED_MODELS_REQUEST__INIT;
    const Bloginfer__V1__ListServedModelsResponse *rep =
        ask(&g->inference, call, &bloginfer__v1__classify_service__descriptor, "ListServedModels", &req);
    json_t *models = json_array();

    for (size_t i = 0; rep && i < rep->n_models; i++) {
        const Bloginfer__V1__ServedModel *m = rep->models[i];
        json_t *labels = json_array();

        for (size_t k = 0; k < m->n_labels; k++)
            json_array_append_new(labels, json_string(m->labels[k]));
        json_array_append_new(models,
                              json_pack("{s:s, s:I, s:s, s:o, s:s}", "task", m->task, "version", (json_int_t)m->version,
                                        "architecture", m->architecture, "labels", labels, "sha256", m->sha256));
    }
    return models;
}

static json_t *detector_models(struct gateway *g, struct http_call *call)
{
    static const Bloginfer__V1__DescribeDetectorRequest req = BLOGINFER__V1__DESCRIBE_DETECTOR_REQUEST__INIT;
    const Bloginfer__V1__DescribeDetectorResponse *rep =
        ask(&g->detector, call, &bloginfer__v1__detect_service__descriptor, "DescribeDetector", &req);
    json_t *models = json_array();

    if (rep && rep->model[0])
        json_array_append_new(models, json_pack("{s:s, s:i, s:i, s:i, s:s}", "model", rep->model, "input_width",
                                                (int)rep->input_width, "input_height", (int)rep->input_height,
                                                "classes", (int)rep->n_labels, "sha256", rep->weights_sha256));
    return models;
}

static json_t *registry_models(struct gateway *g, struct http_call *call)
{
    static const Bloginfer__V1__ListModelsRequest req = BLOGINFER__V1__LIST_MODELS_REQUEST__INIT;
    const Bloginfer__V1__ListModelsResponse *rep =
        ask(&g->aggregator, call, &bloginfer__v1__model_registry_service__descriptor, "ListModels", &req);
    json_t *models = json_array();

    for (size_t i = 0; rep && i < rep->n_models; i++) {
        const Bloginfer__V1__ModelVersion *m = rep->models[i];

        if (m->production || m->candidate)
            json_array_append_new(models,
                                  json_pack("{s:s, s:I, s:b, s:b}", "task", m->task, "version", (json_int_t)m->version,
                                            "production", m->production, "candidate", m->candidate));
    }
    return models;
}

static void add(struct gateway *g, struct http_call *call, json_t *all, const char *name,
                json_t *(*models)(struct gateway *g, struct http_call *call))
{
    enum monitor_state state = monitor_state(g->monitor, name);
    json_t *one = json_pack("{s:s, s:s}", "name", name, "state", monitor_state_name(state));

    if (models)
        json_object_set_new(one, "models", state == MONITOR_DOWN ? json_array() : models(g, call));
    json_array_append_new(all, one);
}

struct status status_show(struct http_call *call)
{
    struct gateway *g = http_service(call);
    json_t *all = json_array();

    add(g, call, all, "inference", inference_models);
    add(g, call, all, "detector", detector_models);
    add(g, call, all, "aggregator", registry_models);
    add(g, call, all, "trainer", NULL);
    json_reply(call, 200,
               json_pack("{s:s, s:b, s:o}", "version", BLOGINFER_VERSION, "ready", !monitor_ready(g->monitor).code,
                         "services", all));
    return status_ok();
}
