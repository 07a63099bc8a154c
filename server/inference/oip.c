/* oip.c - see oip.h. ModelInfer goes the way of Classify: the texts are tokenised where the call arrives and left to the
 * batcher, and the answer is made and sent from the thread that computed it. */
#include "oip.h"

#include "answering.h"
#include "classify.h"
#include "metrics/metrics.h"
#include "oip_models.h"
#include "oip_request.h"

#include "inference/grpc_service.pb-c.h"

#include <string.h>

#define MAX_REQUEST ((4u << 20) + (64u << 10)) /* 4 MiB of texts, and what goes around them */

struct work {
    struct answering answering;
    struct oip_request request;
    struct model_parameters parameters; /* as they were when the call began */
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

/* ---- from probabilities to the answer ---- */

/* The label of each text and its prob; labels borrow the model's names. */
static void labels_fill(const struct work *w, struct oip_bytes *labels, float *prob)
{
    const struct batcher_job *job = &w->answering.job;
    const struct classifier *c = job->model->classifier;

    for (size_t i = 0; i < job->n_rows; i++) {
        const char *label =
            c->labels[classifier_label(c, job->probs + i * c->shape.classes, w->parameters.threshold, &prob[i])];
        labels[i] = (struct oip_bytes){label, strlen(label)};
    }
}

static struct status outputs_fill(const struct work *w)
{
    const struct batcher_job *job = &w->answering.job;
    struct arena *a = rpc_arena(w->answering.call);
    struct oip_writer out = {w->rep, a, w->request.raw, false};
    struct oip_bytes *labels = arena_alloc(a, job->n_rows * sizeof *labels);
    float *prob = arena_alloc(a, job->n_rows * sizeof *prob);

    if (!labels || !prob)
        return answering_no_room();
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
    return out.full ? answering_no_room() : status_ok();
}

static struct status answer(const struct answering *a)
{
    const struct work *w = (const struct work *)a;
    char version[SERVED_TEXT_MAX];

    w->rep->model_name = (char *)a->job.model->classifier->task;
    w->rep->model_version = arena_strdup(rpc_arena(a->call), served_version_text(a->job.model->version, version));
    return w->rep->model_version ? outputs_fill(w) : answering_no_room();
}

/* Offers the texts to the candidate's shadow, which wants them terminated; none holds a NUL, or it would have been refused.
 * Without room it goes without them. */
static void shadow(const struct answering *a)
{
    const struct work *w = (const struct work *)a;
    const struct oip_elements *texts = &w->request.texts;
    struct arena *arena = rpc_arena(a->call);
    char **copies = w->parameters.shadow_percent > 0 ? arena_alloc(arena, texts->n * sizeof *copies) : NULL;

    for (size_t i = 0; copies && i < texts->n; i++) {
        if (!(copies[i] = arena_alloc(arena, texts->rows[i].size + 1)))
            return;
        memcpy(copies[i], texts->rows[i].data, texts->rows[i].size);
        copies[i][texts->rows[i].size] = '\0';
    }
    if (copies)
        served_shadow(a->job.model, &a->query, copies, texts->n, a->job.probs);
}

/* ---- from a request to a job ---- */

static struct status fill(struct answering *a, struct served_model *m)
{
    const struct oip_request *request = &((struct work *)a)->request;
    struct arena *arena = rpc_arena(a->call);
    const struct oip_elements *texts = &request->texts;
    struct status st = batcher_job_init(&a->job, arena, m, texts->n);

    for (size_t i = 0; i < texts->n && !st.code; i++)
        st = status_prefix(batcher_job_text(&a->job, arena, i, texts->rows[i].data, texts->rows[i].size),
                           OIP_TENSOR_TEXT "[%zu]", i);
    a->job.level = request->priority > 1 ? BATCHER_BULK : BATCHER_ONLINE;
    a->job.deadline = rpc_deadline(a->call);
    if (request->deadline < a->job.deadline)
        a->job.deadline = request->deadline;
    return st;
}

static const struct answering_kind kind = {fill, answer, shadow};

/* The model comes first: a name that is not there is that, whatever else is wrong. */
static struct status submit(struct work *w, struct served *served, const Inference__ModelInferRequest *req)
{
    struct served_model *m = NULL;
    struct status st = served_acquire(served, &w->answering.query, &m);

    if (st.code)
        return st;
    w->parameters = served_parameters(m);
    st = oip_request_read(&w->request, req, CLASSIFY_MAX, rpc_arena(w->answering.call));
    if (st.code) {
        served_release(m);
        return st;
    }
    return answering_submit(&w->answering, m);
}

static struct status infer(const struct oip *o, struct rpc_call *call, const Inference__ModelInferRequest *req,
                           Inference__ModelInferResponse *rep)
{
    struct work *w = arena_alloc(rpc_arena(call), sizeof *w);

    if (!w)
        return answering_no_room();
    w->answering.query = (struct served_query){
        .task = req->model_name, .version = req->model_version, .key = rpc_metadata(call, "x-request-id")};
    w->answering.kind = &kind;
    w->answering.call = call;
    w->answering.batcher = o->batcher;
    w->answering.texts = o->texts;
    w->answering.started = clock_now();
    w->rep = rep;
    rep->id = req->id;
    return submit(w, o->served, req);
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
