/* worker.c - see worker.h. The control stream may break and be opened again any number of times; rows and tokens stay. */
#include "worker.h"

#include "bloginfer/v1/federation.pb-c.h"
#include "client/data/corpus.h"
#include "learner.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PROTOCOL_VERSION 2
#define RECONNECT_MS     500
#define TRANSFER_MS      30000
#define CHUNK_MAX        (1u << 20)
#define EXCHANGES_MAX    1000000u
#define PARAMS_MAX       ((size_t)64 << 20) /* of a model that is trained or scored: 256 MiB, and as much for its update */

struct worker {
    struct worker_config config;
    pthread_t thread;
    struct corpus corpus;
    struct corpus_examples train, eval;
    struct local *local;
    struct transfer transfer;
    struct nn_shape shape; /* of the plan */
    struct status result;  /* written by the thread, read after the join */

    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t changed;
    bool stopping;
    struct rpc_call *call; /* the open control stream */
};

static bool is_stopping(struct worker *w)
{
    pthread_mutex_lock(&w->mu);
    bool stopping = w->stopping;
    pthread_mutex_unlock(&w->mu);
    return stopping;
}

static void pause_briefly(struct worker *w)
{
    struct timespec t = clock_timespec(clock_after_ms(RECONNECT_MS));

    pthread_mutex_lock(&w->mu);
    if (!w->stopping)
        pthread_cond_timedwait(&w->changed, &w->mu, &t);
    pthread_mutex_unlock(&w->mu);
}

static void set_call(struct worker *w, struct rpc_call *call)
{
    pthread_mutex_lock(&w->mu);
    w->call = call;
    pthread_mutex_unlock(&w->mu);
}

/* A new directive's report, or the stop: the control thread looks for itself. */
static void wake_control(void *arg)
{
    struct worker *w = arg;

    pthread_mutex_lock(&w->mu);
    if (w->call)
        rpc_wake(w->call);
    pthread_mutex_unlock(&w->mu);
}

/* ---- before the stream: what the run trains decides which rows are read ---- */

static struct status load_rows(struct worker *w, const Bloginfer__V1__RunConfig *c)
{
    struct status st = corpus_load(&w->corpus, &(struct corpus_query){.task = c->task,
                                                                      .folders = w->config.folders,
                                                                      .n_folders = w->config.n_folders,
                                                                      .shard_index = w->config.shard_index,
                                                                      .shard_count = w->config.shard_count,
                                                                      .partition = c->partition,
                                                                      .seed = c->seed});
    if (!st.code)
        corpus_log(&w->corpus);
    return st;
}

static struct status ask_once(struct worker *w, struct arena *arena, const Bloginfer__V1__Run **run)
{
    Bloginfer__V1__GetRunRequest req = BLOGINFER__V1__GET_RUN_REQUEST__INIT;
    const void *out = NULL;

    req.run_id = (char *)w->config.run_id;
    struct status st = rpc_unary(w->config.client, &bloginfer__v1__federation_service__descriptor, "GetRun", &req, &out,
                                 &(struct rpc_options){.timeout_ms = 2000, .wait_for_ready = true, .arena = arena});
    if (st.code)
        return st;
    *run = ((const Bloginfer__V1__GetRunResponse *)out)->run;
    return *run && (*run)->config ? st : status_errorf(ST_INTERNAL, "the aggregator answered without a run");
}

static bool may_come_back(struct status st)
{
    return st.code == ST_UNAVAILABLE || st.code == ST_DEADLINE || st.code == ST_CANCELLED || st.code == ST_EXHAUSTED ||
           st.code == ST_UNKNOWN || st.code == ST_INTERNAL;
}

static struct status prepare(struct worker *w)
{
    int64_t until = clock_after_ms(w->config.patience_ms);
    const Bloginfer__V1__Run *run = NULL;
    struct arena arena;
    struct status st;

    arena_init(&arena, 4 << 20);
    for (;;) {
        st = ask_once(w, &arena, &run);
        if (!st.code || !may_come_back(st) || clock_now() >= until || is_stopping(w))
            break;
        pause_briefly(w);
        arena_reset(&arena);
    }
    if (!st.code)
        st = load_rows(w, run->config);
    arena_fini(&arena);
    return st;
}

/* ---- the plan ---- */

/* Whatever shape comes, the rows have to fit it, and it this machine. */
static struct status take_shape(struct nn_shape *shape, const char *architecture, const Bloginfer__V1__ModelShape *m)
{
    enum nn_family family;
    struct status st = nn_family_parse(architecture, &family);

    if (st.code || !m)
        return status_errorf(ST_PRECONDITION, "%s", st.code ? st.msg : "there is no shape");
    *shape = (struct nn_shape){.family = family,
                               .vocab = m->vocab,
                               .embed = m->embed,
                               .hidden = m->hidden,
                               .buckets = m->buckets,
                               .classes = m->classes,
                               .max_tokens = m->max_tokens};
    st = nn_shape_check(shape);
    if (st.code)
        return st;
    if (shape->classes != CORPUS_N_LABELS || shape->vocab != nn_shape_preset(family)->vocab)
        return status_errorf(ST_PRECONDITION, "%u classes over %u ids do not fit this worker's rows", shape->classes,
                             shape->vocab);
    if (nn_n_params(shape) > PARAMS_MAX)
        return status_errorf(ST_PRECONDITION, "a model of %zu parameters: at most %zu are taken", nn_n_params(shape),
                             PARAMS_MAX);
    return st;
}

static bool is_probability(float p)
{
    return p >= 0 && p < 1; /* NaN is not */
}

static struct status take_objective(struct nn_objective *o, const Bloginfer__V1__Objective *m)
{
    if (!m)
        return status_errorf(ST_PRECONDITION, "there is no objective");
    *o = (struct nn_objective){.token_dropout = m->token_dropout,
                               .embed_dropout = m->embed_dropout,
                               .output_dropout = m->output_dropout,
                               .ngram_dropout = m->ngram_dropout,
                               .label_smoothing = m->label_smoothing};
    if (!is_probability(o->token_dropout) || !is_probability(o->embed_dropout) || !is_probability(o->output_dropout) ||
        !is_probability(o->ngram_dropout) || !is_probability(o->label_smoothing))
        return status_errorf(ST_PRECONDITION, "a probability of the objective is out of range");
    return nn_loss_parse(m->loss, &o->loss);
}

static struct status check_plan(const struct worker *w, const Bloginfer__V1__Plan *p, struct local_plan *plan)
{
    struct status st = take_shape(&plan->shape, p->architecture, p->shape);

    if (!st.code)
        st = take_objective(&plan->objective, p->objective);
    if (st.code)
        return status_prefix(st, "plan");
    if (!p->config || p->n_labels != CORPUS_N_LABELS)
        return status_errorf(ST_PRECONDITION, "plan: %zu labels", p->n_labels);
    for (size_t i = 0; i < p->n_labels; i++)
        if (strcmp(p->labels[i], w->corpus.labels[i]) != 0)
            return status_errorf(ST_PRECONDITION, "plan: label %zu is \"%.32s\", the rows' is \"%s\"", i, p->labels[i],
                                 w->corpus.labels[i]);
    if (!p->heartbeat_ms || !p->max_chunk_bytes || p->config->local_epochs > 1000 || p->local_batch > 8192)
        return status_errorf(ST_PRECONDITION, "plan: a number is out of range");
    return status_ok();
}

/* The first plan makes the learner's model; a later one (after a broken stream) is the same. */
static struct status adopt_plan(struct worker *w, const Bloginfer__V1__Plan *p)
{
    struct local_plan plan = {.shard = w->config.shard_index};
    struct status st = check_plan(w, p, &plan);

    if (st.code || w->local)
        return st;
    plan.seed = p->config->seed;
    plan.local_epochs = p->config->local_epochs;
    plan.local_learning_rate = p->local_learning_rate;
    plan.local_batch = p->local_batch ? p->local_batch : 32;
    corpus_tokenise(&w->train, &w->corpus.train, plan.shape.max_tokens, plan.shape.buckets);
    corpus_tokenise(&w->eval, &w->corpus.eval, plan.shape.max_tokens, plan.shape.buckets);
    w->local = local_new(&plan, w->train.rows, (uint32_t)w->train.n, w->eval.rows, (uint32_t)w->eval.n);
    w->shape = plan.shape;
    uint32_t chunk = p->max_chunk_bytes < CHUNK_MAX ? p->max_chunk_bytes : CHUNK_MAX;
    w->transfer = (struct transfer){.client = w->config.client,
                                    .run_id = w->config.run_id,
                                    .shard_index = w->config.shard_index,
                                    .chunk_bytes = chunk & ~3u,
                                    .timeout_ms = TRANSFER_MS};
    return w->transfer.chunk_bytes ? st : status_errorf(ST_PRECONDITION, "plan: chunks of %u bytes", chunk);
}

/* ---- the stream ---- */

struct session {
    struct worker *w;
    struct rpc_call *call;
    struct learner *learner;
    int64_t heartbeat_ms;
    bool ended; /* the run has ended for this worker */
};

static struct status send_join(struct session *s)
{
    Bloginfer__V1__ControlRequest message = BLOGINFER__V1__CONTROL_REQUEST__INIT;
    Bloginfer__V1__Join join = BLOGINFER__V1__JOIN__INIT;
    struct worker *w = s->w;

    join.run_id = (char *)w->config.run_id;
    join.shard_index = w->config.shard_index;
    join.shard_count = w->config.shard_count;
    join.train_rows = w->corpus.train.n;
    join.eval_rows = w->corpus.eval.n;
    join.protocol = PROTOCOL_VERSION;
    join.program_version = BLOGINFER_VERSION;
    join.data_source = (char *)w->corpus.source;
    join.data_digest = w->corpus.digest;
    message.body_case = BLOGINFER__V1__CONTROL_REQUEST__BODY_JOIN;
    message.join = &join;
    return rpc_send(s->call, &message);
}

static struct status send_heartbeat(struct session *s)
{
    Bloginfer__V1__ControlRequest message = BLOGINFER__V1__CONTROL_REQUEST__INIT;
    Bloginfer__V1__Heartbeat heartbeat = BLOGINFER__V1__HEARTBEAT__INIT;

    if (s->learner) {
        heartbeat.base_version = learner_at_work(s->learner);
        heartbeat.rows_done = local_rows_done(s->w->local);
    }
    message.body_case = BLOGINFER__V1__CONTROL_REQUEST__BODY_HEARTBEAT;
    message.heartbeat = &heartbeat;
    return rpc_send(s->call, &message);
}

static struct status send_report(struct session *s)
{
    Bloginfer__V1__ControlRequest message = BLOGINFER__V1__CONTROL_REQUEST__INIT;
    Bloginfer__V1__EvaluationReport report = BLOGINFER__V1__EVALUATION_REPORT__INIT;
    struct learner_report r;

    if (!s->learner || !learner_take_report(s->learner, &r))
        return status_ok();
    report.base_version = r.base_version;
    report.rows = r.score.rows;
    report.correct = r.score.correct;
    report.loss_sum = r.score.loss_sum;
    message.body_case = BLOGINFER__V1__CONTROL_REQUEST__BODY_REPORT;
    message.report = &report;
    return rpc_send(s->call, &message);
}

static struct status take_plan(struct session *s, const Bloginfer__V1__Plan *plan)
{
    struct status st = adopt_plan(s->w, plan);

    if (st.code)
        return st;
    if (s->learner)
        return status_errorf(ST_PRECONDITION, "a second plan");
    s->heartbeat_ms = plan->heartbeat_ms;
    s->learner = learner_start(&(struct learner_config){.local = s->w->local,
                                                        .shape = &s->w->shape,
                                                        .eval = &s->w->corpus.eval,
                                                        .transfer = &s->w->transfer,
                                                        .on_report = wake_control,
                                                        .arg = s->w});
    return st;
}

static struct status take_train(struct session *s, const Bloginfer__V1__TrainDirective *d)
{
    if (!s->learner || !d->exchanges || d->exchanges > EXCHANGES_MAX || d->exchange >= d->exchanges)
        return status_errorf(ST_PRECONDITION, "exchange %u of %u", d->exchange, d->exchanges);
    learner_direct(s->learner, &(struct learner_directive){.kind = LEARNER_TRAIN,
                                                           .round = d->round,
                                                           .exchange = d->exchange,
                                                           .exchanges = d->exchanges,
                                                           .base_version = d->base_version});
    return status_ok();
}

static struct status take_evaluate(struct session *s, const Bloginfer__V1__EvaluateDirective *d)
{
    struct learner_directive directive = {.kind = LEARNER_EVALUATE, .round = d->round, .base_version = d->base_version};

    if (!s->learner)
        return status_errorf(ST_PRECONDITION, "an evaluation before the plan");
    struct status st = take_shape(&directive.shape, d->architecture, d->shape);
    if (st.code)
        return status_prefix(st, "evaluation");
    learner_direct(s->learner, &directive);
    return st;
}

static struct status take_stop(struct session *s, const Bloginfer__V1__StopDirective *d)
{
    s->ended = true;
    log_info("run_over", log_s("run", s->w->config.run_id), log_i("state", d->state), log_s("reason", d->reason));
    return status_ok();
}

static struct status take(struct session *s, const Bloginfer__V1__ControlResponse *m)
{
    switch (m->body_case) {
    case BLOGINFER__V1__CONTROL_RESPONSE__BODY_PLAN:
        return take_plan(s, m->plan);
    case BLOGINFER__V1__CONTROL_RESPONSE__BODY_TRAIN:
        return take_train(s, m->train);
    case BLOGINFER__V1__CONTROL_RESPONSE__BODY_EVALUATE:
        return take_evaluate(s, m->evaluate);
    case BLOGINFER__V1__CONTROL_RESPONSE__BODY_WAIT:
        log_info("waiting", log_s("reason", m->wait->reason));
        return status_ok();
    case BLOGINFER__V1__CONTROL_RESPONSE__BODY_STOP:
        return take_stop(s, m->stop);
    default:
        return status_errorf(ST_PRECONDITION, "a message that this worker does not know");
    }
}

static struct status converse(struct session *s)
{
    int64_t heartbeat_due = clock_after_ms(1000);
    struct status st = send_join(s);
    const void *in;

    while (!st.code && !s->ended && !is_stopping(s->w)) {
        enum rpc_event event = rpc_wait(s->call, &in, heartbeat_due);

        if (event == RPC_MESSAGE)
            st = take(s, in);
        else if (event == RPC_HALF_CLOSED || event == RPC_CANCELLED)
            st = status_errorf(ST_CANCELLED, "the aggregator ended the stream");
        if (!st.code)
            st = send_report(s);
        if (!st.code && clock_now() >= heartbeat_due) {
            st = send_heartbeat(s);
            heartbeat_due = clock_after_ms(s->heartbeat_ms);
        }
    }
    return st;
}

/* One control stream from join to end. */
static struct status run_session(struct worker *w, bool *ended)
{
    struct session s = {.w = w, .heartbeat_ms = 1000};
    struct status st = rpc_stream_open(&s.call, w->config.client, &bloginfer__v1__federation_service__descriptor,
                                       "Control", &(struct rpc_options){.timeout_ms = -1});

    if (st.code)
        return st;
    set_call(w, s.call);
    st = converse(&s);
    set_call(w, NULL);
    learner_stop(s.learner);
    rpc_cancel(s.call);
    struct status final = rpc_stream_finish(s.call);
    *ended = s.ended;
    /* What broke the stream is in its final status, unless it was we who left. */
    return st.code == ST_CANCELLED && final.code ? final : st;
}

static struct status run_sessions(struct worker *w)
{
    int64_t until = clock_after_ms(w->config.patience_ms);
    struct status st = status_ok();
    bool ended = false;

    while (!ended && !is_stopping(w)) {
        int64_t start = clock_now();

        st = run_session(w, &ended);
        if (ended || is_stopping(w))
            return status_ok();
        if (clock_now() - start > 2 * RECONNECT_MS * CLOCK_MS)
            until = clock_after_ms(w->config.patience_ms); /* it was on for a while */
        if (!may_come_back(st) || clock_now() >= until)
            return st;
        log_warn("stream_broken", log_s("error", st.msg));
        pause_briefly(w);
    }
    return status_ok();
}

static void *run(void *arg)
{
    struct worker *w = arg;

    w->result = prepare(w);
    if (!w->result.code)
        w->result = run_sessions(w);
    lifecycle_request_stop();
    return NULL;
}

struct worker *worker_start(const struct worker_config *config)
{
    struct worker *w = xcalloc(1, sizeof *w);

    w->config = *config;
    pthread_mutex_init(&w->mu, NULL);
    cond_init_monotonic(&w->changed);
    w->thread = thread_start("control", 0, run, w);
    return w;
}

struct status worker_stop(struct worker *w)
{
    pthread_mutex_lock(&w->mu);
    w->stopping = true;
    if (w->call)
        rpc_wake(w->call);
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mu);
    pthread_join(w->thread, NULL);
    struct status st = w->result;
    local_free(w->local);
    corpus_examples_fini(&w->train);
    corpus_examples_fini(&w->eval);
    corpus_fini(&w->corpus);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->mu);
    free(w);
    return st;
}
