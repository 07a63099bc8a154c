/* classify.c - see classify.h. The texts of a call are tokenised, sorted by length and put through the model in
 * batches of nearly equal lengths, so that a long text does not make short ones wait for padding. */
#include "classify.h"

#include "bloginfer/v1/classify.pb-c.h"
#include "metrics/metrics.h"
#include "text/text.h"

#include <stdlib.h>
#include <string.h>

#define MAX_REQUEST (4u << 20)

/* One call's work: everything is in its arena. */
struct work {
    size_t n;
    struct nn_example *examples; /* (n,), longest first */
    uint32_t *index;             /* (n,): which text example i is; label holds it while they are sorted */
    float *probs;                /* (n,C), in the order of the texts */
};

void classify_init(struct classify *c, struct served *served)
{
    c->served = served;
    c->texts = metric_counter("bloginfer_classify_texts_total", "Texts that were given a label.", "task");
    c->batches = metric_histogram("bloginfer_classify_batch_duration_seconds", "Forward pass of one batch of texts.",
                                  "task", NULL, 0);
}

static struct status no_room(void)
{
    return status_errorf(ST_EXHAUSTED, "the texts are too many for one call: send fewer at a time");
}

static struct status cancelled(void)
{
    return status_errorf(ST_CANCELLED, "the call is over");
}

/* ---- from texts to probabilities ---- */

static int by_length(const void *a, const void *b)
{
    const struct nn_example *x = a, *y = b;

    return (x->n_ids < y->n_ids) - (x->n_ids > y->n_ids);
}

static struct status tokenise(struct work *w, struct rpc_call *call, const struct nn_shape *shape, char **texts)
{
    for (size_t i = 0; i < w->n; i++) {
        struct text_tokens t;
        if (rpc_cancelled(call))
            return cancelled();
        struct status st =
            text_tokenise(&t, rpc_arena(call), texts[i], strlen(texts[i]), shape->max_tokens, shape->buckets);
        if (st.code)
            return status_prefix(st, "texts[%zu]", i);
        w->examples[i] = (struct nn_example){t.ids, t.n_ids, t.ngrams, t.n_ngrams, (uint32_t)i};
    }
    qsort(w->examples, w->n, sizeof *w->examples, by_length);
    for (size_t i = 0; i < w->n; i++) {
        w->index[i] = w->examples[i].label;
        w->examples[i].label = 0;
    }
    return status_ok();
}

static void predict_batch(struct work *w, const struct served_model *m, struct nn_workspace *ws, size_t begin, size_t n)
{
    float probs[WORKSPACES_BATCH * NN_MAX_CLASSES];
    size_t C = m->classifier->shape.classes;

    nn_predict(ws, m->classifier->params, w->examples + begin, (uint32_t)n, probs);
    for (size_t i = 0; i < n; i++)
        memcpy(w->probs + w->index[begin + i] * C, probs + i * C, C * sizeof *probs);
}

static struct status predict(const struct classify *c, struct work *w, struct rpc_call *call, struct served_model *m)
{
    struct status st = status_ok();
    struct series *durations = metric_series(c->batches, m->classifier->task);
    struct nn_workspace *ws = workspaces_take(m->workspaces);

    for (size_t begin = 0; begin < w->n && !st.code; begin += WORKSPACES_BATCH) {
        size_t n = w->n - begin < WORKSPACES_BATCH ? w->n - begin : WORKSPACES_BATCH;
        if (rpc_cancelled(call)) {
            st = cancelled();
        } else {
            int64_t start = clock_now();
            predict_batch(w, m, ws, begin, n);
            series_observe(durations, clock_seconds(start));
        }
    }
    workspaces_give(m->workspaces, ws);
    return st;
}

/* ---- from probabilities to the answer ---- */

/* The labels, copied: the model may be gone when the answer is sent. NULL: no room. */
static char **labels_copy(struct arena *a, const struct classifier *c)
{
    char **labels = arena_alloc(a, c->shape.classes * sizeof *labels);

    for (uint32_t i = 0; labels && i < c->shape.classes; i++)
        if (!(labels[i] = arena_strdup(a, c->labels[i])))
            return NULL;
    return labels;
}

/* Every label with its probability. */
static bool probabilities_fill(struct arena *a, Bloginfer__V1__Classification *out, char **labels, const float *probs,
                               size_t C)
{
    Bloginfer__V1__LabelProbability *rows = arena_alloc(a, C * sizeof *rows);

    out->probabilities = arena_alloc(a, C * sizeof(void *));
    if (!rows || !out->probabilities)
        return false;
    for (size_t i = 0; i < C; i++) {
        bloginfer__v1__label_probability__init(&rows[i]);
        rows[i].label = labels[i];
        rows[i].probability = probs[i];
        out->probabilities[i] = &rows[i];
    }
    out->n_probabilities = C;
    return true;
}

static struct status results_fill(struct arena *a, Bloginfer__V1__ClassifyResponse *rep, const struct work *w,
                                  const struct classifier *c, double threshold)
{
    size_t C = c->shape.classes;
    char **labels = labels_copy(a, c);
    Bloginfer__V1__Classification *rows = arena_alloc(a, w->n * sizeof *rows);

    rep->results = arena_alloc(a, w->n * sizeof(void *));
    if (!labels || !rows || !rep->results)
        return no_room();
    for (size_t i = 0; i < w->n; i++) {
        bloginfer__v1__classification__init(&rows[i]);
        rows[i].label = labels[classifier_label(c, w->probs + i * C, threshold, &rows[i].prob)];
        if (!probabilities_fill(a, &rows[i], labels, w->probs + i * C, C))
            return no_room();
        rep->results[i] = &rows[i];
    }
    rep->n_results = w->n;
    return status_ok();
}

static struct status answer(const struct classify *c, struct rpc_call *call, struct served_model *m,
                            const Bloginfer__V1__ClassifyRequest *req, Bloginfer__V1__ClassifyResponse *rep)
{
    struct arena *a = rpc_arena(call);
    struct work w = {.n = req->n_texts};

    w.examples = arena_alloc(a, w.n * sizeof *w.examples);
    w.index = arena_alloc(a, w.n * sizeof *w.index);
    w.probs = arena_alloc(a, w.n * m->classifier->shape.classes * sizeof *w.probs);
    rep->task = arena_strdup(a, m->classifier->task);
    rep->version = m->version;
    if (!w.examples || !w.index || !w.probs || !rep->task)
        return no_room();
    struct status st = tokenise(&w, call, &m->classifier->shape, req->texts);
    if (!st.code)
        st = predict(c, &w, call, m);
    if (!st.code)
        st = results_fill(a, rep, &w, m->classifier, served_parameters(m).threshold);
    if (!st.code)
        metric_add(c->texts, (double)w.n, rep->task);
    return st;
}

/* ---- the service ---- */

/* ClassifyService/Classify. */
static struct status classify(struct rpc_call *call, const void *in, void *out)
{
    const struct classify *c = rpc_service(call);
    const Bloginfer__V1__ClassifyRequest *req = in;
    struct served_model *m = NULL;

    if (req->n_texts < 1 || req->n_texts > CLASSIFY_MAX)
        return status_errorf(ST_INVALID, "texts: %zu given, must be 1 to %d", req->n_texts, CLASSIFY_MAX);
    const struct served_query q = {.task = req->task[0] ? req->task : CLASSIFY_TASK};
    struct status st = served_acquire(c->served, &q, &m);
    if (!st.code)
        st = answer(c, call, m, req, out);
    served_release(m);
    return st;
}

static bool model_fill(struct arena *a, Bloginfer__V1__ServedModel *out, const struct served_model *m)
{
    const struct classifier *c = m->classifier;

    bloginfer__v1__served_model__init(out);
    out->task = arena_strdup(a, c->task);
    out->version = m->version;
    out->architecture = (char *)nn_family_name(c->shape.family);
    out->labels = labels_copy(a, c);
    out->sha256 = arena_strdup(a, m->sha256);
    out->parameters = c->n_params;
    out->n_labels = out->labels ? c->shape.classes : 0;
    return out->task && out->labels && out->sha256;
}

/* ClassifyService/ListServedModels. */
static struct status list_served_models(struct rpc_call *call, const void *in, void *out)
{
    const struct classify *c = rpc_service(call);
    Bloginfer__V1__ListServedModelsResponse *rep = out;
    struct served_model *models[SERVED_MAX_MODELS];
    struct arena *a = rpc_arena(call);
    size_t n = served_acquire_all(c->served, models);
    Bloginfer__V1__ServedModel *rows = arena_alloc(a, n * sizeof *rows);
    bool ok = true;

    (void)in;
    rep->models = arena_alloc(a, n * sizeof(void *));
    for (size_t i = 0; i < n; i++) {
        ok = ok && rows && rep->models && model_fill(a, &rows[i], models[i]);
        if (ok)
            rep->models[rep->n_models++] = &rows[i];
        served_release(models[i]);
    }
    return ok ? status_ok() : no_room();
}

const struct rpc_method classify_methods[] = {
    RPC_UNARY("Classify", classify, .max_request = MAX_REQUEST),
    RPC_UNARY("ListServedModels", list_served_models, .max_request = 4096, .arena_limit = 1 << 20),
};
const size_t classify_n_methods = COUNT_OF(classify_methods);
