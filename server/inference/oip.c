/* oip.c - see oip.h. ModelInfer goes the way of Classify: the texts are tokenised where the call arrives and left to the
 * batcher, and the answer is made and sent from the thread that computed it. */
#include "oip.h"

#include "classify.h"
#include "metrics/metrics.h"
#include "oip_models.h"
#include "oip_request.h"

#include "inference/grpc_service.pb-c.h"

#include <string.h>

#define MAX_REQUEST ((4u << 20) + (64u << 10)) /* 4 MiB of texts, and what goes around them */

/* A call that waits for its texts; in its arena. */
struct work {
    struct batcher_job job;
    struct oip_request request;
    struct served_query query;
    int64_t started;
    struct model_parameters parameters; /* as they were when the call began */
    bool stood_in;                      /* production has been asked after the candidate */
    const struct oip *service;
    struct rpc_call *call;
    Inference__ModelInferResponse *rep;
};

void oip_init(struct oip *o, struct served *served, struct batcher *batcher)
{
    o->served = served;
    o->batcher = batcher;
    o->texts = metric_counter("bloginfer_classify_texts_total", "Texts that were given a label.", "task");
    atomic_init(&o->draining, false);
}

void oip_drain(struct oip *o)
{
    atomic_store(&o->draining, true);
}

static struct status no_room(void)
{
    return status_errorf(ST_EXHAUSTED, "the texts are too many for one call: send fewer at a time");
}

/* ---- from probabilities to the answer ---- */

/* The label of each text and its prob; labels borrow the model's names. */
static void labels_fill(const struct work *w, struct oip_bytes *labels, float *prob)
{
    const struct batcher_job *job = &w->job;
    const struct classifier *c = job->model->classifier;

    for (size_t i = 0; i < job->n_rows; i++) {
        const char *label =
            c->labels[classifier_label(c, job->probs + i * c->shape.classes, w->parameters.threshold, &prob[i])];
        labels[i] = (struct oip_bytes){label, strlen(label)};
    }
}

static struct status outputs_fill(const struct work *w)
{
    const struct batcher_job *job = &w->job;
    struct arena *a = rpc_arena(w->call);
    struct oip_writer out = {w->rep, a, w->request.raw, false};
    struct oip_bytes *labels = arena_alloc(a, job->n_rows * sizeof *labels);
    float *prob = arena_alloc(a, job->n_rows * sizeof *prob);

    if (!labels || !prob)
        return no_room();
    labels_fill(w, labels, prob);
    for (size_t i = 0; i < w->request.n_outputs; i++) {
        enum oip_output o = (enum oip_output)w->request.outputs[i];
        if (o == OIP_LABEL)
            oip_write_bytes(&out, oip_output_name(o), labels, job->n_rows);
        else if (o == OIP_SCORE)
            oip_write_fp32(&out, oip_output_name(o), job->probs, job->n_rows, job->model->classifier->shape.classes);
        else
            oip_write_fp32(&out, oip_output_name(o), prob, job->n_rows, 0);
    }
    return out.full ? no_room() : status_ok();
}

static struct status answer_fill(const struct work *w)
{
    char version[SERVED_TEXT_MAX];

    w->rep->model_name = (char *)w->job.model->classifier->task;
    w->rep->model_version = arena_strdup(rpc_arena(w->call), served_version_text(w->job.model->version, version));
    return w->rep->model_version ? outputs_fill(w) : no_room();
}

/* Offers the texts to the candidate's shadow, which wants them terminated; none holds a NUL, or it would have been refused.
 * Without room it goes without them. */
static void shadow(const struct work *w)
{
    const struct oip_elements *texts = &w->request.texts;
    struct arena *a = rpc_arena(w->call);
    char **copies = w->parameters.shadow_percent > 0 ? arena_alloc(a, texts->n * sizeof *copies) : NULL;

    for (size_t i = 0; copies && i < texts->n; i++) {
        if (!(copies[i] = arena_alloc(a, texts->rows[i].size + 1)))
            return;
        memcpy(copies[i], texts->rows[i].data, texts->rows[i].size);
        copies[i][texts->rows[i].size] = '\0';
    }
    if (copies)
        served_shadow(w->job.model, &w->query, copies, texts->n, w->job.probs);
}

/* ---- from a request to a job, and from the job to the answer ---- */

static bool work_cancelled(void *work)
{
    struct work *w = work;

    return rpc_cancelled(w->call);
}

static void work_done(struct batcher_job *job, struct status st);

static struct status job_fill(struct work *w, struct served_model *m)
{
    struct arena *a = rpc_arena(w->call);
    const struct oip_elements *texts = &w->request.texts;
    struct status st = batcher_job_init(&w->job, a, m, texts->n);

    for (size_t i = 0; i < texts->n && !st.code; i++)
        st = status_prefix(batcher_job_text(&w->job, a, i, texts->rows[i].data, texts->rows[i].size),
                           OIP_TENSOR_TEXT "[%zu]", i);
    w->job.level = w->request.priority > 1 ? BATCHER_BULK : BATCHER_ONLINE;
    w->job.deadline = rpc_deadline(w->call);
    if (w->request.deadline < w->job.deadline)
        w->job.deadline = w->request.deadline;
    w->job.cancelled = work_cancelled;
    w->job.done = work_done;
    w->job.ctx = w;
    return st;
}

/* The candidate has failed, not the call: production is asked for the answer. False: there is none but this. */
static bool stand_in(struct work *w)
{
    struct served_model *m = w->stood_in ? NULL : served_stand_in(w->job.model, &w->query);
    struct status st = status_ok();

    if (!m)
        return false;
    w->stood_in = true;
    w->started = clock_now();
    st = job_fill(w, m);
    if (!st.code)
        st = batcher_submit(w->service->batcher, &w->job); /* the call may be gone when it returns */
    if (st.code)
        served_release(m);
    return !st.code;
}

/* The model goes last: the answer borrows its names until it is packed. */
static void work_done(struct batcher_job *job, struct status st)
{
    struct work *w = job->ctx;
    struct served_model *m = job->model;

    if (!st.code)
        st = served_check(m, job->probs, job->n_rows);
    if (!st.code)
        st = answer_fill(w);
    served_observe(m, &w->query, st.code, clock_seconds(w->started));
    if (st.code == ST_INTERNAL && stand_in(w)) {
        served_release(m);
        return;
    }
    if (!st.code)
        shadow(w);
    if (!st.code)
        metric_add(w->service->texts, (double)job->n_rows, m->classifier->task);
    rpc_answer(w->call, st);
    served_release(m);
}

/* The model has been acquired. OK: the call belongs to the batcher. */
static struct status submit(struct work *w, const Inference__ModelInferRequest *req, struct served_model *m)
{
    struct status st = oip_request_read(&w->request, req, CLASSIFY_MAX, rpc_arena(w->call));

    if (!st.code)
        st = job_fill(w, m);
    return st.code ? st : batcher_submit(w->service->batcher, &w->job);
}

/* The model comes first: a name that is not there is that, whatever else is wrong. */
static struct status infer(const struct oip *o, struct rpc_call *call, const Inference__ModelInferRequest *req,
                           Inference__ModelInferResponse *rep)
{
    struct work *w = arena_alloc(rpc_arena(call), sizeof *w);
    struct served_model *m = NULL;

    if (!w)
        return no_room();
    w->query = (struct served_query){
        .task = req->model_name, .version = req->model_version, .key = rpc_metadata(call, "x-request-id")};
    w->started = clock_now();
    w->service = o;
    w->call = call;
    w->rep = rep;
    w->stood_in = false;
    rep->id = req->id;
    struct status st = served_acquire(o->served, &w->query, &m);
    if (st.code)
        return st;
    w->parameters = served_parameters(m);
    st = submit(w, req, m);
    if (st.code) {
        served_observe(m, &w->query, st.code, clock_seconds(w->started));
        served_release(m);
    }
    return st;
}

static void model_infer(struct rpc_call *call, const void *in, void *out)
{
    struct status st = infer(rpc_service(call), call, in, out);

    if (st.code)
        rpc_answer(call, st);
}

const struct rpc_method oip_methods[] = {
    RPC_UNARY("ServerLive", oip_server_live, .max_request = 4096, .on_poller = true),
    RPC_UNARY("ServerReady", oip_server_ready, .max_request = 4096, .on_poller = true),
    RPC_UNARY("ModelReady", oip_model_ready, .max_request = 4096),
    RPC_UNARY("ServerMetadata", oip_server_metadata, .max_request = 4096, .on_poller = true),
    RPC_UNARY("ModelMetadata", oip_model_metadata, .max_request = 4096, .arena_limit = 1 << 20),
    RPC_DEFERRED("ModelInfer", model_infer, .max_request = MAX_REQUEST, .on_poller = true,
                 .poller_max = CLASSIFY_SMALL),
    RPC_UNARY("RepositoryIndex", oip_repository_index, .max_request = 4096, .arena_limit = 4 << 20),
    RPC_UNARY("RepositoryModelLoad", oip_repository_load, .max_request = 4096),
    RPC_UNARY("RepositoryModelUnload", oip_repository_unload, .max_request = 4096),
};
const size_t oip_n_methods = COUNT_OF(oip_methods);
