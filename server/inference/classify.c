/* classify.c - see classify.h. A call's texts are tokenised where it arrives and left to the batcher; the answer is made
 * and sent from the thread that computed it, so that no thread waits for another on behalf of one call. */
#include "classify.h"

#include "answering.h"
#include "bloginfer/v1/classify.pb-c.h"
#include "explain.h"
#include "metrics/metrics.h"
#include "served_list.h"

#include <string.h>

#define MAX_REQUEST (4u << 20)

struct work {
    struct answering answering;
    double threshold;
    const Bloginfer__V1__ClassifyRequest *req;
    Bloginfer__V1__ClassifyResponse *rep;
};

void classify_init(struct classify *c, struct served *served, struct batcher *batcher)
{
    c->served = served;
    c->batcher = batcher;
    c->texts = metric_counter("bloginfer_classify_texts_total", "Texts that were given a label.", "task");
}

/* ---- from probabilities to the answer ---- */

/* Where the parts of an answer lie, so that each kind is one allocation. */
struct parts {
    Bloginfer__V1__Classification *rows;                     /* (n,) */
    Bloginfer__V1__LabelProbability *probabilities, **lists; /* (n,C) */
};

static struct status parts_new(struct parts *p, struct arena *a, Bloginfer__V1__ClassifyResponse *rep, size_t n,
                               size_t C)
{
    p->rows = arena_alloc(a, n * sizeof *p->rows);
    p->probabilities = arena_alloc(a, n * C * sizeof *p->probabilities);
    p->lists = arena_alloc(a, n * C * sizeof *p->lists);
    rep->results = arena_alloc(a, n * sizeof(void *));
    return p->rows && p->probabilities && p->lists && rep->results ? status_ok() : answering_no_room();
}

/* Row i: every label with its probability, and the one that is the answer. Names are the model's. */
static void row_fill(const struct parts *p, size_t i, const struct classifier *c, double threshold, const float *probs)
{
    Bloginfer__V1__Classification *row = &p->rows[i];
    size_t C = c->shape.classes;

    bloginfer__v1__classification__init(row);
    row->label = (char *)c->labels[classifier_label(c, probs, threshold, &row->prob)];
    row->n_probabilities = C;
    row->probabilities = p->lists + i * C;
    for (size_t k = 0; k < C; k++) {
        Bloginfer__V1__LabelProbability *out = &p->probabilities[i * C + k];
        bloginfer__v1__label_probability__init(out);
        out->label = (char *)c->labels[k];
        out->probability = probs[k];
        row->probabilities[k] = out;
    }
}

static struct status answer(const struct answering *a)
{
    const struct work *w = (const struct work *)a;
    const struct classifier *c = a->job.model->classifier;
    size_t n = a->job.n_rows, C = c->shape.classes;
    struct parts parts;
    struct status st = parts_new(&parts, rpc_arena(a->call), w->rep, n, C);

    if (st.code)
        return st;
    for (size_t i = 0; i < n; i++) {
        row_fill(&parts, i, c, w->threshold, a->job.probs + i * C);
        w->rep->results[i] = &parts.rows[i];
    }
    w->rep->n_results = n;
    w->rep->task = (char *)c->task;
    w->rep->version = a->job.model->version;
    return st;
}

/* ---- from texts to a job ---- */

static struct status fill(struct answering *a, struct served_model *m)
{
    const Bloginfer__V1__ClassifyRequest *req = ((struct work *)a)->req;
    struct arena *arena = rpc_arena(a->call);
    struct status st = batcher_job_init(&a->job, arena, m, req->n_texts);

    for (size_t i = 0; i < req->n_texts && !st.code; i++)
        st = status_prefix(batcher_job_text(&a->job, arena, i, req->texts[i], strlen(req->texts[i])), "texts[%zu]", i);
    a->job.level = req->priority == BLOGINFER__V1__PRIORITY__PRIORITY_BULK ? BATCHER_BULK : BATCHER_ONLINE;
    a->job.deadline = rpc_deadline(a->call);
    return st;
}

static void shadow(const struct answering *a)
{
    served_shadow(a->job.model, &a->query, ((const struct work *)a)->req->texts, a->job.n_rows, a->job.probs);
}

static const struct answering_kind kind = {fill, answer, shadow};

static struct status request_check(const Bloginfer__V1__ClassifyRequest *req)
{
    if (req->n_texts < 1 || req->n_texts > CLASSIFY_MAX)
        return status_errorf(ST_INVALID, "texts: %zu given, must be 1 to %d", req->n_texts, CLASSIFY_MAX);
    if (req->priority < 0 || req->priority > BLOGINFER__V1__PRIORITY__PRIORITY_BULK)
        return status_errorf(ST_INVALID, "priority: %d is none", (int)req->priority);
    return status_ok();
}

/* OK: the call belongs to the batcher. */
static struct status submit(struct work *w, struct served *served)
{
    struct served_model *m = NULL;
    struct status st = request_check(w->req);

    if (!st.code)
        st = served_acquire(served, &w->answering.query, &m);
    if (st.code)
        return st;
    w->threshold = served_parameters(m).threshold;
    return answering_submit(&w->answering, m);
}

/* ---- the service ---- */

/* ClassifyService/Classify. */
static void classify(struct rpc_call *call, const void *in, void *out)
{
    const Bloginfer__V1__ClassifyRequest *req = in;
    const struct classify *c = rpc_service(call);
    struct work *w = arena_alloc(rpc_arena(call), sizeof *w);
    struct status st = answering_no_room();

    if (w) {
        w->answering.query = (struct served_query){.task = req->task[0] ? req->task : CLASSIFY_TASK,
                                                   .version = req->version,
                                                   .key = rpc_metadata(call, "x-request-id")};
        w->answering.kind = &kind;
        w->answering.call = call;
        w->answering.batcher = c->batcher;
        w->answering.texts = c->texts;
        w->answering.started = clock_now();
        w->req = req;
        w->rep = out;
        st = submit(w, c->served);
    }
    if (st.code)
        rpc_answer(call, st);
}

/* ClassifyService/ListServedModels. */
static struct status list_served_models(struct rpc_call *call, const void *in, void *out)
{
    const struct classify *c = rpc_service(call);

    (void)in;
    return served_list(c->served, rpc_arena(call), out);
}

const struct rpc_method classify_methods[] = {
    RPC_DEFERRED("Classify", classify, .max_request = MAX_REQUEST, .on_poller = true, .poller_max = CLASSIFY_SMALL),
    RPC_UNARY("Explain", explain, .max_request = EXPLAIN_MAX_REQUEST, .arena_limit = EXPLAIN_ARENA),
    RPC_UNARY("ListServedModels", list_served_models, .max_request = 4096, .arena_limit = 1 << 20),
};
const size_t classify_n_methods = COUNT_OF(classify_methods);
