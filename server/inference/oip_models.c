/* oip_models.c - readiness, metadata, and the repository of models, which is the store: its index is what lies there and
 * what of it serves. Loading and unloading are served_load() and served_unload(): they make a version available by its
 * number and never touch what production and candidate stand on; that is the registry's. */
#include "oip_models.h"

#include "oip.h"
#include "oip_request.h"

#include "inference/grpc_service.pb-c.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INDEX 4096  /* versions in an index */
#define UNLOAD_MS 30000 /* for the calls that hold a version that is unloaded */

typedef Inference__ModelMetadataResponse__TensorMetadata tensor_metadata;
typedef Inference__RepositoryIndexResponse__ModelIndex model_index;

static struct status no_room(void)
{
    return status_errorf(ST_EXHAUSTED, "the models are too many for one answer");
}

/* ---- health ---- */

struct status oip_server_live(struct rpc_call *call, const void *in, void *out)
{
    (void)call;
    (void)in;
    ((Inference__ServerLiveResponse *)out)->live = true;
    return status_ok();
}

struct status oip_server_ready(struct rpc_call *call, const void *in, void *out)
{
    struct oip *o = rpc_service(call);

    (void)in;
    ((Inference__ServerReadyResponse *)out)->ready = !atomic_load(&o->draining) && !served_ready(o->served).code;
    return status_ok();
}

struct status oip_model_ready(struct rpc_call *call, const void *in, void *out)
{
    struct oip *o = rpc_service(call);
    const Inference__ModelReadyRequest *req = in;
    const struct served_query q = {.task = req->name, .version = req->version};
    struct served_model *m = NULL;

    ((Inference__ModelReadyResponse *)out)->ready = !served_acquire(o->served, &q, &m).code;
    served_release(m);
    return status_ok();
}

/* ---- metadata ---- */

struct status oip_server_metadata(struct rpc_call *call, const void *in, void *out)
{
    static char *extensions[] = {"model_repository", "schedule_policy", "binary_tensor_data"};
    Inference__ServerMetadataResponse *rep = out;

    (void)call;
    (void)in;
    rep->name = "bloginfer";
    rep->version = BLOGINFER_VERSION;
    rep->extensions = extensions;
    rep->n_extensions = COUNT_OF(extensions);
    return status_ok();
}

/* columns 0: [-1], else [-1,columns]. False: no room. */
static bool tensor_fill(struct arena *a, tensor_metadata **out, const char *name, const char *datatype, size_t columns)
{
    tensor_metadata *t = arena_alloc(a, sizeof *t);
    int64_t *shape = arena_alloc(a, 2 * sizeof *shape);

    if (!t || !shape)
        return false;
    inference__model_metadata_response__tensor_metadata__init(t);
    shape[0] = -1;
    shape[1] = (int64_t)columns;
    t->name = (char *)name;
    t->datatype = (char *)datatype;
    t->shape = shape;
    t->n_shape = columns ? 2 : 1;
    *out = t;
    return true;
}

static bool tensors_fill(struct arena *a, Inference__ModelMetadataResponse *rep, size_t classes)
{
    rep->inputs = arena_alloc(a, sizeof *rep->inputs);
    rep->outputs = arena_alloc(a, OIP_N_OUTPUTS * sizeof *rep->outputs);
    if (!rep->inputs || !rep->outputs)
        return false;
    rep->n_inputs = 1;
    rep->n_outputs = OIP_N_OUTPUTS;
    return tensor_fill(a, &rep->inputs[0], OIP_TENSOR_TEXT, "BYTES", 0) &&
           tensor_fill(a, &rep->outputs[0], oip_output_name(OIP_LABEL), "BYTES", 0) &&
           tensor_fill(a, &rep->outputs[1], oip_output_name(OIP_SCORE), "FP32", classes) &&
           tensor_fill(a, &rep->outputs[2], oip_output_name(OIP_PROB), "FP32", 0);
}

static char *version_copy(struct arena *a, uint64_t version)
{
    char text[SERVED_TEXT_MAX];

    return arena_strdup(a, served_version_text(version, text));
}

/* Those of the task that serve. */
static bool versions_fill(struct served *s, struct arena *a, Inference__ModelMetadataResponse *rep, const char *task)
{
    struct served_model *models[SERVED_MAX_MODELS];
    size_t n = served_acquire_all(s, models);
    bool ok = (rep->versions = arena_alloc(a, n * sizeof *rep->versions)) != NULL;

    for (size_t i = 0; i < n; i++) {
        if (ok && strcmp(models[i]->classifier->task, task) == 0)
            ok = (rep->versions[rep->n_versions++] = version_copy(a, models[i]->version)) != NULL;
        served_release(models[i]);
    }
    return ok;
}

struct status oip_model_metadata(struct rpc_call *call, const void *in, void *out)
{
    struct oip *o = rpc_service(call);
    const Inference__ModelMetadataRequest *req = in;
    Inference__ModelMetadataResponse *rep = out;
    const struct served_query q = {.task = req->name, .version = req->version};
    struct arena *a = rpc_arena(call);
    struct served_model *m = NULL;

    struct status st = served_acquire(o->served, &q, &m);
    if (st.code)
        return st;
    rep->name = arena_strdup(a, m->classifier->task);
    rep->platform = arena_printf(a, "bloginfer_%s", nn_family_name(m->classifier->shape.family));
    if (!rep->name || !rep->platform || !tensors_fill(a, rep, m->classifier->shape.classes) ||
        !versions_fill(o->served, a, rep, m->classifier->task))
        st = no_room();
    served_release(m);
    return st;
}

/* ---- the index ---- */

/* An index under construction. */
struct index {
    struct served *served;
    struct arena *arena;
    Inference__RepositoryIndexResponse *rep;
    struct served_model *models[SERVED_MAX_MODELS]; /* what serves, by task and version */
    size_t n_models, capacity;
    bool only_ready;
};

/* Why a version serves: "production, candidate, loaded". */
static char *reason_of(struct arena *a, const struct served_model *m)
{
    const struct served_state state = served_state(m);
    const char *words[3];
    size_t n = 0;

    if (state.production)
        words[n++] = "production";
    if (state.candidate)
        words[n++] = "candidate";
    if (state.loads)
        words[n++] = "loaded";
    return arena_printf(a, "%s%s%s%s%s", n > 0 ? words[0] : "", n > 1 ? ", " : "", n > 1 ? words[1] : "",
                        n > 2 ? ", " : "", n > 2 ? words[2] : "");
}

/* m NULL: it does not serve. False: no room. */
static bool index_add(struct index *x, const char *task, uint64_t version, const struct served_model *m)
{
    model_index *row = arena_alloc(x->arena, sizeof *row);

    if (!row || x->rep->n_models == x->capacity)
        return false;
    inference__repository_index_response__model_index__init(row);
    row->name = arena_strdup(x->arena, task);
    row->version = version_copy(x->arena, version);
    row->state = m ? "READY" : "UNAVAILABLE";
    row->reason = m ? reason_of(x->arena, m) : "not loaded";
    x->rep->models[x->rep->n_models++] = row;
    return row->name && row->version && row->reason;
}

static const struct served_model *serving(const struct index *x, const char *task, uint64_t version)
{
    for (size_t i = 0; i < x->n_models; i++)
        if (x->models[i]->version == version && strcmp(x->models[i]->classifier->task, task) == 0)
            return x->models[i];
    return NULL;
}

/* The versions of a task that lie in the store and do not serve. */
static struct status index_add_stored(struct index *x, const char *task)
{
    uint64_t *versions = NULL;
    size_t n = 0;
    struct status st = store_list(served_dir(x->served), task, &versions, &n);

    for (size_t i = 0; i < n && !st.code; i++)
        if (!serving(x, task, versions[i]) && !index_add(x, task, versions[i], NULL))
            st = no_room();
    free(versions);
    return st;
}

/* By task, then version; a version is a number, or the word for the built-in model, which is 0. */
static int by_name(const void *a, const void *b)
{
    const model_index *x = *(const model_index *const *)a, *y = *(const model_index *const *)b;
    uint64_t v = strtoull(x->version, NULL, 10), w = strtoull(y->version, NULL, 10);
    int names = strcmp(x->name, y->name);

    return names ? names : (v > w) - (v < w);
}

static struct status index_fill(struct index *x)
{
    char **tasks = NULL;
    size_t n = 0;
    struct status st = status_ok();

    for (size_t i = 0; i < x->n_models && !st.code; i++)
        if (!index_add(x, x->models[i]->classifier->task, x->models[i]->version, x->models[i]))
            st = no_room();
    if (!st.code && !x->only_ready)
        st = store_tasks(served_dir(x->served), &tasks, &n);
    for (size_t i = 0; i < n && !st.code; i++)
        st = index_add_stored(x, tasks[i]);
    free(tasks);
    if (x->rep->n_models)
        qsort(x->rep->models, x->rep->n_models, sizeof *x->rep->models, by_name);
    return st;
}

struct status oip_repository_index(struct rpc_call *call, const void *in, void *out)
{
    struct oip *o = rpc_service(call);
    struct index x = {.served = o->served, .arena = rpc_arena(call), .rep = out, .capacity = MAX_INDEX};

    x.only_ready = ((const Inference__RepositoryIndexRequest *)in)->ready;
    x.n_models = served_acquire_all(o->served, x.models);
    x.rep->models = arena_alloc(x.arena, x.capacity * sizeof *x.rep->models);
    struct status st = x.rep->models ? index_fill(&x) : no_room();
    for (size_t i = 0; i < x.n_models; i++)
        served_release(x.models[i]);
    return st;
}

/* ---- load and unload ---- */

static struct status version_parse(const char *text, uint64_t *version)
{
    char *end;

    errno = 0;
    *version = strtoull(text, &end, 10);
    if (errno || *end || text[0] < '1' || text[0] > '9')
        return status_errorf(ST_INVALID, "parameter version: must be a whole number of at least 1, not \"%s\"", text);
    return status_ok();
}

/* The parameter "version"; *version stays 0 when it is absent. */
static struct status version_parameter(const char *key, const Inference__ModelRepositoryParameter *value,
                                       uint64_t *version)
{
    if (strcmp(key, "config") == 0 || strncmp(key, "file:", 5) == 0)
        return status_errorf(ST_UNIMPLEMENTED, "models come from the store alone: no parameter \"%s\" here", key);
    if (strcmp(key, "version") != 0 || !value)
        return status_ok();
    if (value->parameter_choice_case == INFERENCE__MODEL_REPOSITORY_PARAMETER__PARAMETER_CHOICE_STRING_PARAM)
        return version_parse(value->string_param, version);
    if (value->parameter_choice_case != INFERENCE__MODEL_REPOSITORY_PARAMETER__PARAMETER_CHOICE_INT64_PARAM ||
        value->int64_param < 1)
        return status_errorf(ST_INVALID, "parameter version: must be a whole number of at least 1");
    *version = (uint64_t)value->int64_param;
    return status_ok();
}

/* The newest version in the store. */
static struct status version_newest(const struct served *s, const char *task, uint64_t *version)
{
    uint64_t *versions = NULL;
    size_t n = 0;
    struct status st = store_task_check(task);

    if (!st.code)
        st = store_list(served_dir(s), task, &versions, &n);
    if (!st.code && !n)
        st = status_errorf(ST_NOT_FOUND, "task %s has no versions in the store", task);
    if (!st.code)
        *version = versions[n - 1];
    free(versions);
    return st;
}

struct status oip_repository_load(struct rpc_call *call, const void *in, void *out)
{
    struct oip *o = rpc_service(call);
    const Inference__RepositoryModelLoadRequest *req = in;
    struct status st = status_ok();
    uint64_t version = 0;

    (void)out;
    for (size_t i = 0; i < req->n_parameters && !st.code; i++)
        st = version_parameter(req->parameters[i]->key, req->parameters[i]->value, &version);
    if (!st.code && !version)
        st = version_newest(o->served, req->model_name, &version);
    return st.code ? st : served_load(o->served, req->model_name, version);
}

/* The newest version that a load made available. */
static struct status version_loaded(struct served *s, const char *task, uint64_t *version)
{
    struct served_model *models[SERVED_MAX_MODELS];
    size_t n = served_acquire_all(s, models);

    for (size_t i = 0; i < n; i++) {
        if (strcmp(models[i]->classifier->task, task) == 0 && served_state(models[i]).loads)
            *version = models[i]->version;
        served_release(models[i]);
    }
    return *version ? status_ok() : status_errorf(ST_NOT_FOUND, "no version was loaded of a model named \"%s\"", task);
}

struct status oip_repository_unload(struct rpc_call *call, const void *in, void *out)
{
    struct oip *o = rpc_service(call);
    const Inference__RepositoryModelUnloadRequest *req = in;
    struct status st = status_ok();
    uint64_t version = 0;

    (void)out;
    for (size_t i = 0; i < req->n_parameters && !st.code; i++)
        st = version_parameter(req->parameters[i]->key, req->parameters[i]->value, &version);
    if (!st.code && !version)
        st = version_loaded(o->served, req->model_name, &version);
    int64_t deadline = clock_after_ms(UNLOAD_MS);
    if (rpc_deadline(call) < deadline)
        deadline = rpc_deadline(call);
    return st.code ? st : served_unload(o->served, req->model_name, version, deadline);
}
