/* oip.c - see oip.h. The pictures of a ModelInfer are jobs of their own; whoever has the last one answers. */
#include "oip.h"

#include "detect.h"
#include "oip/oip_parameter.h"
#include "oip/oip_tensor.h"

#include <stdlib.h>
#include <string.h>

#define REQUEST_ROOM (64u << 10) /* of a request beside its pictures */

const char *const oip_output_names[OIP_N_OUTPUTS] = {"boxes", "scores", "labels", "image_index"};

static const struct oip_input image_input = {OIP_TENSOR_IMAGE, "images", OIP_MAX_IMAGES};

/* One picture of a call. */
struct picture {
    struct queue_job job;
    struct infer *infer;
    struct status st;
    struct box_object *objects; /* (n_objects,), from malloc */
    size_t n_objects;
};

/* A call; in its arena, with its pictures. */
struct infer {
    struct rpc_call *call;
    struct oip_service *service;
    Inference__ModelInferResponse *rep;
    struct served *model;
    struct oip_elements images;
    size_t wanted[OIP_N_OUTPUTS], n_wanted;
    bool raw;
    double threshold;
    int64_t deadline;
    struct picture *pictures; /* (images.n,) */
    atomic_bool failed;       /* one of them: the others are not wanted any more */
    atomic_size_t n_left;     /* that are not through */
};

static struct status no_room(void)
{
    return status_errorf(ST_EXHAUSTED, "the images are too many for one call: send fewer at a time");
}

/* ---- the answer ---- */

/* What was found in all pictures, one after the other. */
struct found {
    float *boxes, *scores; /* (n,4), (n,) */
    struct oip_bytes *labels;
    int32_t *image;
    size_t n;
};

static struct status found_fill(struct found *f, const struct infer *in)
{
    struct arena *a = rpc_arena(in->call);
    size_t n = 0;

    for (size_t i = 0; i < in->images.n; i++)
        n += in->pictures[i].n_objects;
    f->boxes = arena_alloc(a, (n + 1) * 4 * sizeof *f->boxes);
    f->scores = arena_alloc(a, (n + 1) * sizeof *f->scores);
    f->labels = arena_alloc(a, (n + 1) * sizeof *f->labels);
    f->image = arena_alloc(a, (n + 1) * sizeof *f->image);
    if (!f->boxes || !f->scores || !f->labels || !f->image)
        return no_room();
    for (size_t i = 0; i < in->images.n; i++)
        for (size_t k = 0; k < in->pictures[i].n_objects; k++, f->n++) {
            const struct box_object *o = &in->pictures[i].objects[k];
            const char *label = in->model->model->labels[o->class_id];
            memcpy(f->boxes + 4 * f->n, (float[]){o->left, o->top, o->width, o->height}, 4 * sizeof(float));
            f->scores[f->n] = o->confidence;
            f->labels[f->n] = (struct oip_bytes){label, strlen(label)};
            f->image[f->n] = (int32_t)i;
        }
    return status_ok();
}

static struct status outputs_fill(const struct infer *in)
{
    struct oip_writer out = {in->rep, rpc_arena(in->call), in->raw, false};
    struct found f = {.n = 0};
    struct status st = found_fill(&f, in);

    for (size_t i = 0; !st.code && i < in->n_wanted; i++) {
        const char *name = oip_output_names[in->wanted[i]];
        if (in->wanted[i] == OIP_BOXES)
            oip_write_fp32(&out, name, f.boxes, f.n, 4);
        else if (in->wanted[i] == OIP_SCORES)
            oip_write_fp32(&out, name, f.scores, f.n, 0);
        else if (in->wanted[i] == OIP_LABELS)
            oip_write_bytes(&out, name, f.labels, f.n);
        else
            oip_write_int32(&out, name, f.image, f.n);
    }
    return out.full ? no_room() : st;
}

/* The first picture's that failed by itself, not because another one did. */
static struct status first_failure(const struct infer *in)
{
    struct status st = status_ok();

    for (size_t i = 0; i < in->images.n; i++) {
        const struct picture *p = &in->pictures[i];
        if (p->st.code && (!st.code || st.code == ST_CANCELLED))
            st = status_prefix(p->st, OIP_TENSOR_IMAGE "[%zu]", i);
    }
    return st;
}

static void answer(struct infer *in)
{
    struct served *model = in->model;
    struct status st = first_failure(in);

    in->rep->model_name = model->model->name;
    in->rep->model_version = arena_printf(rpc_arena(in->call), "%.*s", OIP_VERSION_SIZE, model->model->sha256);
    if (!st.code)
        st = in->rep->model_version ? outputs_fill(in) : no_room();
    for (size_t i = 0; i < in->images.n; i++)
        free(in->pictures[i].objects);
    rpc_answer(in->call, st);
    served_release(model);
}

/* n more pictures are through. */
static void through(struct infer *in, size_t n)
{
    if (atomic_fetch_sub(&in->n_left, n) == n)
        answer(in);
}

/* ---- the pictures ---- */

static bool picture_gone(void *ctx)
{
    struct picture *p = ctx;

    return atomic_load(&p->infer->failed) || rpc_cancelled(p->infer->call);
}

static void picture_done(struct queue_job *job, struct status st, const struct detection *found)
{
    struct picture *p = job->ctx;
    struct infer *in = p->infer;

    p->st = st;
    if (st.code) {
        atomic_store(&in->failed, true);
    } else if (found->n_objects) {
        p->objects = xcalloc(found->n_objects, sizeof *p->objects);
        memcpy(p->objects, found->objects, found->n_objects * sizeof *p->objects);
        p->n_objects = found->n_objects;
    }
    through(in, 1);
}

/* From here on the call is answered by whoever has the last picture. */
static void submit_all(struct infer *in)
{
    size_t n = in->images.n, held = rpc_arena(in->call)->used / n + DETECT_CALL_BYTES;

    for (size_t i = 0; i < n; i++) {
        struct picture *p = &in->pictures[i];
        int64_t retry_ms = 0;
        p->infer = in;
        p->job = (struct queue_job){.data = (const uint8_t *)in->images.rows[i].data,
                                    .size = in->images.rows[i].size,
                                    .held_bytes = held,
                                    .threshold = (float)in->threshold,
                                    .deadline = in->deadline,
                                    .gone = picture_gone,
                                    .done = picture_done,
                                    .ctx = p};
        struct status st = detector_submit_to(in->service->detector, in->model, &p->job, &retry_ms);
        if (st.code) {
            if (st.code == ST_EXHAUSTED)
                detect_set_retry(in->call, retry_ms);
            p->st = st;
            atomic_store(&in->failed, true);
            through(in, n - i);
            return;
        }
    }
}

/* ---- the request ---- */

struct status oip_acquire(struct oip_service *service, const char *name, const char *version, struct served **out)
{
    struct status st = models_acquire(detector_models(service->detector), name, out);

    if (st.code || !*version ||
        (strlen(version) == OIP_VERSION_SIZE && strncmp(version, (*out)->model->sha256, OIP_VERSION_SIZE) == 0))
        return st;
    st = status_errorf(ST_NOT_FOUND, "model %s has the version %.*s, none \"%.40s\"", (*out)->model->name,
                       OIP_VERSION_SIZE, (*out)->model->sha256, version);
    served_release(*out);
    *out = NULL;
    return st;
}

static struct status read_request(struct infer *in, const Inference__ModelInferRequest *req)
{
    struct arena *a = rpc_arena(in->call);
    struct status st = oip_elements_read(&in->images, req, &image_input, a);

    in->deadline = rpc_deadline(in->call);
    if (!st.code)
        st = oip_outputs_read(req, oip_output_names, OIP_N_OUTPUTS, in->wanted, &in->n_wanted);
    if (!st.code)
        st = oip_fraction_read(req, "threshold", &in->threshold);
    if (!st.code)
        st = oip_deadline_read(req, &in->deadline);
    if (!st.code)
        st = oip_form_read(req, in->images.raw, &in->raw);
    if (!st.code && !(in->pictures = arena_zalloc(a, in->images.n, sizeof *in->pictures)))
        st = no_room();
    return st;
}

/* OK: the call is on its way. The model comes first: a name that is not there is that, whatever else is wrong. */
static struct status infer(struct rpc_call *call, const Inference__ModelInferRequest *req,
                           Inference__ModelInferResponse *rep)
{
    struct infer *in = arena_zalloc(rpc_arena(call), 1, sizeof *in);

    if (!in)
        return no_room();
    in->call = call;
    in->service = rpc_service(call);
    in->rep = rep;
    rep->id = req->id;
    struct status st = oip_acquire(in->service, req->model_name, req->model_version, &in->model);
    if (st.code)
        return st;
    st = read_request(in, req);
    if (st.code) {
        served_release(in->model);
        return st;
    }
    atomic_init(&in->n_left, in->images.n);
    submit_all(in);
    return st;
}

static void model_infer(struct rpc_call *call, const void *in, void *out)
{
    struct status st = infer(call, in, out);

    if (st.code)
        rpc_answer(call, st);
}

/* ---- the service ---- */

struct status oip_service_add(struct rpc_server *server, struct oip_service *service, struct detector *detector,
                              int64_t max_image_bytes)
{
    size_t max_request = 2 * (size_t)max_image_bytes + REQUEST_ROOM;
    const struct rpc_method methods[] = {
        RPC_UNARY("ServerLive", oip_server_live, .max_request = 4096, .on_poller = true),
        RPC_UNARY("ServerReady", oip_server_ready, .max_request = 4096, .on_poller = true),
        RPC_UNARY("ModelReady", oip_model_ready, .max_request = 4096, .on_poller = true),
        RPC_UNARY("ServerMetadata", oip_server_metadata, .max_request = 4096, .on_poller = true),
        RPC_UNARY("ModelMetadata", oip_model_metadata, .max_request = 4096),
        RPC_DEFERRED("ModelInfer", model_infer, .max_request = max_request, .arena_limit = 3 * max_request,
                     .on_poller = true, .poller_max = DETECT_POLLER_MAX),
        RPC_UNARY("RepositoryIndex", oip_repository_index, .max_request = 4096),
        RPC_UNARY("RepositoryModelLoad", oip_repository_fixed, .max_request = 4096),
        RPC_UNARY("RepositoryModelUnload", oip_repository_fixed, .max_request = 4096),
    };

    memcpy(service->methods, methods, sizeof methods);
    service->detector = detector;
    atomic_init(&service->draining, false);
    return rpc_server_add(server, &inference__grpcinference_service__descriptor, service->methods,
                          COUNT_OF(service->methods), service);
}

void oip_service_drain(struct oip_service *service)
{
    atomic_store(&service->draining, true);
}
