/* oip_models.c - the methods of oip.h that speak about servers and models, not to them. */
#include "oip.h"

#include "inference/grpc_service.pb-c.h"

typedef Inference__ModelMetadataResponse__TensorMetadata tensor_metadata;
typedef Inference__RepositoryIndexResponse__ModelIndex model_index;

static struct status no_room(void)
{
    return status_errorf(ST_EXHAUSTED, "the models are too many for one answer");
}

/* ---- health ---- */

struct status oip_server_live(struct rpc_call *call, const void *in, void *out)
{
    (void)call, (void)in;
    ((Inference__ServerLiveResponse *)out)->live = true;
    return status_ok();
}

struct status oip_server_ready(struct rpc_call *call, const void *in, void *out)
{
    struct oip_service *o = rpc_service(call);

    (void)in;
    ((Inference__ServerReadyResponse *)out)->ready =
        !atomic_load(&o->draining) && !models_ready(detector_models(o->detector)).code;
    return status_ok();
}

struct status oip_model_ready(struct rpc_call *call, const void *in, void *out)
{
    const Inference__ModelReadyRequest *req = in;
    struct served *s = NULL;

    ((Inference__ModelReadyResponse *)out)->ready = !oip_acquire(rpc_service(call), req->name, req->version, &s).code;
    served_release(s);
    return status_ok();
}

/* ---- metadata ---- */

struct status oip_server_metadata(struct rpc_call *call, const void *in, void *out)
{
    static char *extensions[] = {"model_repository(index)", "binary_tensor_data"};
    Inference__ServerMetadataResponse *rep = out;

    (void)call, (void)in;
    rep->name = "bloginfer-detector";
    rep->version = BLOGINFER_VERSION;
    rep->extensions = extensions;
    rep->n_extensions = COUNT_OF(extensions);
    return status_ok();
}

/* columns 0: [-1], else [-1,columns]. NULL: no room. */
static tensor_metadata *tensor_new(struct arena *a, const char *name, const char *datatype, int64_t columns)
{
    tensor_metadata *t = arena_alloc(a, sizeof *t);
    int64_t *shape = arena_alloc(a, 2 * sizeof *shape);

    if (!t || !shape)
        return NULL;
    inference__model_metadata_response__tensor_metadata__init(t);
    shape[0] = -1;
    shape[1] = columns;
    t->name = (char *)name;
    t->datatype = (char *)datatype;
    t->shape = shape;
    t->n_shape = columns ? 2 : 1;
    return t;
}

static bool tensors_fill(struct arena *a, Inference__ModelMetadataResponse *rep)
{
    static const char *const datatypes[OIP_N_OUTPUTS] = {"FP32", "FP32", "BYTES", "INT32"};

    rep->inputs = arena_alloc(a, sizeof *rep->inputs);
    rep->outputs = arena_alloc(a, OIP_N_OUTPUTS * sizeof *rep->outputs);
    if (!rep->inputs || !rep->outputs || !(rep->inputs[0] = tensor_new(a, OIP_TENSOR_IMAGE, "BYTES", 0)))
        return false;
    rep->n_inputs = 1;
    for (size_t i = 0; i < OIP_N_OUTPUTS; i++)
        if (!(rep->outputs[rep->n_outputs++] =
                  tensor_new(a, oip_output_names[i], datatypes[i], i == OIP_BOXES ? 4 : 0)))
            return false;
    return true;
}

static char *version_of(struct arena *a, const struct served *s)
{
    return arena_printf(a, "%.*s", OIP_VERSION_SIZE, s->model->sha256);
}

struct status oip_model_metadata(struct rpc_call *call, const void *in, void *out)
{
    const Inference__ModelMetadataRequest *req = in;
    Inference__ModelMetadataResponse *rep = out;
    struct arena *a = rpc_arena(call);
    struct served *s = NULL;

    struct status st = oip_acquire(rpc_service(call), req->name, req->version, &s);
    if (st.code)
        return st;
    rep->name = arena_strdup(a, s->model->name);
    rep->platform = arena_printf(a, "bloginfer_darknet_%s", s->kind->name);
    rep->versions = arena_alloc(a, sizeof *rep->versions);
    if (rep->versions && (rep->versions[0] = version_of(a, s)))
        rep->n_versions = 1;
    if (!rep->name || !rep->platform || !rep->n_versions || !tensors_fill(a, rep))
        st = no_room();
    served_release(s);
    return st;
}

/* ---- the repository ---- */

static bool index_add(Inference__RepositoryIndexResponse *rep, const struct models_entry *e, struct arena *a)
{
    model_index *row = arena_alloc(a, sizeof *row);

    if (!row)
        return false;
    inference__repository_index_response__model_index__init(row);
    row->name = (char *)e->name;
    row->version = e->served ? version_of(a, e->served) : "";
    row->state = e->served ? "READY" : "UNAVAILABLE";
    row->reason = arena_strdup(a, e->problem.msg);
    rep->models[rep->n_models++] = row;
    return row->version && row->reason;
}

struct status oip_repository_index(struct rpc_call *call, const void *in, void *out)
{
    struct oip_service *o = rpc_service(call);
    Inference__RepositoryIndexResponse *rep = out;
    struct models *models = detector_models(o->detector);
    size_t n = models_count(models);
    bool only_ready = ((const Inference__RepositoryIndexRequest *)in)->ready, ok = true;

    rep->models = arena_alloc(rpc_arena(call), n * sizeof *rep->models);
    for (size_t i = 0; rep->models && ok && i < n; i++) {
        struct models_entry e = models_get(models, i);
        if (e.served || !only_ready)
            ok = index_add(rep, &e, rpc_arena(call));
        served_release(e.served);
    }
    return rep->models && ok ? status_ok() : no_room();
}

/* Load and unload. */
struct status oip_repository_fixed(struct rpc_call *call, const void *in, void *out)
{
    (void)call, (void)in, (void)out;
    return status_errorf(
        ST_UNIMPLEMENTED,
        "the detector serves the files in its folders, and follows them by itself: nothing to load here");
}
