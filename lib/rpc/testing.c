/* testing.c - see testing.h. */
#include "rpc/testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef Bloginfer__V1__ClassifyRequest classify_request;
typedef Bloginfer__V1__ClassifyResponse classify_response;
typedef Bloginfer__V1__Classification classification;

static bool gate_is_open(struct testing *t)
{
    pthread_mutex_lock(&t->mu);
    bool open = t->open;
    pthread_mutex_unlock(&t->mu);
    return open;
}

static struct status wait_gate(struct testing *t, struct rpc_call *call)
{
    while (!gate_is_open(t)) {
        if (rpc_cancelled(call)) {
            atomic_fetch_add(&t->n_cancelled, 1);
            return status_errorf(ST_CANCELLED, "seen");
        }
        clock_sleep_ms(2);
    }
    return status_ok();
}

static struct status add_label(struct rpc_call *call, classify_response *rep, const char *label)
{
    classification *c = arena_alloc(rpc_arena(call), sizeof *c);

    if (!c || !rep->results)
        return status_errorf(ST_EXHAUSTED, "no memory");
    bloginfer__v1__classification__init(c);
    c->label = arena_strdup(rpc_arena(call), label ? label : "(none)");
    rep->results[rep->n_results++] = c;
    return status_ok();
}

static struct status classify(struct rpc_call *call, const void *in, void *out)
{
    struct testing *t = rpc_service(call);
    const classify_request *req = in;
    classify_response *rep = out;
    struct status st = status_ok();

    atomic_fetch_add(&t->n_classify, 1);
    rep->results = arena_zalloc(rpc_arena(call), req->n_texts + 3, sizeof *rep->results);
    if (!strcmp(req->task, "fail"))
        return status_errorf(ST_PRECONDITION, "no model 模型 has been published");
    if (!strcmp(req->task, "gate"))
        st = wait_gate(t, call);
    if (!strcmp(req->task, "forward")) {
        testing_classify(t->next, "gate", "", (struct rpc_options){.parent = call, .timeout_ms = 60000}, &st);
        while (!rpc_cancelled(call)) /* the inner call may learn of it first */
            clock_sleep_ms(1);
        atomic_fetch_add(&t->n_cancelled, 1);
    }
    if (!strcmp(req->task, "call")) {
        add_label(call, rep, rpc_peer(call));
        add_label(call, rep, rpc_identity(call));
        st = add_label(call, rep, rpc_metadata(call, "x-test"));
        rpc_set_trailer(call, "x-answer", "yes");
        rpc_set_trailer(call, "X-Upper", "dropped");
    }
    for (size_t i = 0; !st.code && i < req->n_texts; i++)
        st = add_label(call, rep, req->texts[i]);
    return st;
}

static struct status list_models(struct rpc_call *call, const void *in, void *out)
{
    (void)call, (void)in, (void)out;
    return status_ok();
}

static struct status detect(struct rpc_call *call, const void *in, void *out)
{
    const Bloginfer__V1__DetectRequest *req = in;
    Bloginfer__V1__DetectResponse *rep = out;

    (void)call;
    rep->image_width = (uint32_t)req->image.len;
    if (!strcmp(req->id, "bad-reply"))
        rep->id = (char *)"\xff\xfe";
    return status_ok();
}

static struct status describe(struct rpc_call *call, const void *in, void *out)
{
    (void)call, (void)in, (void)out;
    return status_ok();
}

static struct status not_found(struct rpc_call *call, const void *in, void *out)
{
    (void)call, (void)in, (void)out;
    return status_errorf(ST_NOT_FOUND, "nothing of that name");
}

static struct status detect_stream(struct rpc_call *call, const void *in)
{
    (void)call, (void)in;
    return status_ok();
}

static void running(struct testing *t, struct rpc_call *call)
{
    pthread_mutex_lock(&t->mu);
    t->control = call;
    pthread_mutex_unlock(&t->mu);
    atomic_fetch_add(&t->n_streams, call ? 1 : -1);
}

static struct status watch_run(struct rpc_call *call, const void *in)
{
    struct testing *t = rpc_service(call);
    Bloginfer__V1__RoundProgress progress = BLOGINFER__V1__ROUND_PROGRESS__INIT;
    Bloginfer__V1__WatchRunResponse rep = BLOGINFER__V1__WATCH_RUN_RESPONSE__INIT;
    const Bloginfer__V1__WatchRunRequest *req = in;
    struct status st = status_ok();
    enum rpc_event event = RPC_WOKEN;

    rep.event_case = BLOGINFER__V1__WATCH_RUN_RESPONSE__EVENT_PROGRESS;
    rep.progress = &progress;
    progress.exchanges = (uint32_t)strlen(req->run_id);
    running(t, call);
    while (!st.code && (event = rpc_wait(call, &in, CLOCK_NEVER)) == RPC_WOKEN) {
        progress.exchange++;
        st = rpc_send(call, &rep);
    }
    running(t, NULL);
    if (event == RPC_CANCELLED)
        atomic_fetch_add(&t->n_cancelled, 1);
    return st;
}

static struct status control(struct rpc_call *call, const void *in)
{
    struct testing *t = rpc_service(call);
    Bloginfer__V1__WaitDirective wait = BLOGINFER__V1__WAIT_DIRECTIVE__INIT;
    Bloginfer__V1__EvaluateDirective evaluate = BLOGINFER__V1__EVALUATE_DIRECTIVE__INIT;
    Bloginfer__V1__ControlResponse rep = BLOGINFER__V1__CONTROL_RESPONSE__INIT;
    struct status st = status_ok();
    enum rpc_event event = RPC_WOKEN;

    running(t, call);
    while (!st.code && (event = rpc_wait(call, &in, CLOCK_NEVER)) != RPC_CANCELLED && event != RPC_HALF_CLOSED) {
        rep.body_case = event == RPC_WOKEN ? BLOGINFER__V1__CONTROL_RESPONSE__BODY_EVALUATE
                                           : BLOGINFER__V1__CONTROL_RESPONSE__BODY_WAIT;
        if (event == RPC_WOKEN)
            rep.evaluate = &evaluate;
        else
            rep.wait = &wait;
        if (event == RPC_MESSAGE)
            wait.wait_ms = (uint32_t)((const Bloginfer__V1__ControlRequest *)in)->heartbeat->rows_done;
        st = rpc_send(call, &rep);
    }
    running(t, NULL);
    if (event == RPC_CANCELLED)
        atomic_fetch_add(&t->n_cancelled, 1);
    return st;
}

static struct status fetch(struct rpc_call *call, const void *in)
{
    struct testing *t = rpc_service(call);
    Bloginfer__V1__FetchResponse rep = BLOGINFER__V1__FETCH_RESPONSE__INIT;
    struct status st = status_ok();

    (void)in;
    running(t, call);
    rep.data.len = 64 << 10;
    rep.data.data = arena_zalloc(rpc_arena(call), 1, rep.data.len);
    for (int i = 0; i < 100 && !st.code; i++, rep.offset += rep.data.len)
        st = rpc_send(call, &rep);
    running(t, NULL);
    return st;
}

static struct status submit(struct rpc_call *call, const void *in)
{
    struct testing *t = rpc_service(call);
    Bloginfer__V1__SubmitResponse rep = BLOGINFER__V1__SUBMIT_RESPONSE__INIT;
    struct status st;
    size_t bytes = 0;

    (void)in;
    running(t, call);
    while (!(st = rpc_recv(call, &in)).code && in)
        bytes += ((const Bloginfer__V1__SubmitRequest *)in)->chunk->data.len;
    running(t, NULL);
    if (st.code) {
        atomic_fetch_add(&t->n_broken, 1);
        return st;
    }
    rep.reason = arena_printf(rpc_arena(call), "%zu", bytes);
    return bytes == 1 ? st : rpc_send(call, &rep); /* one byte: forgets its answer */
}

static const struct rpc_method classify_methods[] = {
    RPC_UNARY("Classify", classify, .max_request = 1 << 20, .arena_limit = 2 << 20),
    RPC_UNARY("Explain", not_found),
    RPC_UNARY("ListServedModels", list_models),
};

static const struct rpc_method detect_methods[] = {
    RPC_UNARY("Detect", detect, .max_request = 64 << 10),
    RPC_STREAM("DetectStream", detect_stream),
    RPC_UNARY("DescribeDetector", describe, .on_poller = true),
    RPC_UNARY("ListDetectors", describe),
};

static const struct rpc_method federation_methods[] = {
    RPC_UNARY("StartRun", not_found),
    RPC_UNARY("StopRun", not_found),
    RPC_UNARY("GetRun", not_found),
    RPC_UNARY("ListRuns", not_found),
    RPC_STREAM("WatchRun", watch_run, .endless = true, .max_streams = 4),
    RPC_STREAM("Control", control),
    RPC_STREAM("Fetch", fetch, .arena_limit = 1 << 20),
    RPC_STREAM("Submit", submit, .max_request = 2 << 20, .max_total = 1 << 30),
};

void testing_start(struct testing *t, const struct rpc_server_config *config)
{
    struct rpc_server_config c = *config;

    *t = (struct testing){.port = 0};
    pthread_mutex_init(&t->mu, NULL);
    c.drain_ms = c.drain_ms ? c.drain_ms : 2000;
    or_die(rpc_server_new(&t->server, &c));
    or_die(rpc_server_add(t->server, CLASSIFY, classify_methods, COUNT_OF(classify_methods), t));
    or_die(rpc_server_add(t->server, DETECT, detect_methods, COUNT_OF(detect_methods), t));
    or_die(rpc_server_add(t->server, FEDERATION, federation_methods, COUNT_OF(federation_methods), t));
    or_die(rpc_server_start(t->server));
    t->port = rpc_server_port(t->server);
    snprintf(t->target, sizeof t->target, "127.0.0.1:%d", t->port);
}

void testing_stop(struct testing *t)
{
    testing_open_gate(t);
    rpc_server_stop(t->server);
    pthread_mutex_destroy(&t->mu);
}

void testing_open_gate(struct testing *t)
{
    pthread_mutex_lock(&t->mu);
    t->open = true;
    pthread_mutex_unlock(&t->mu);
}

void testing_wake(struct testing *t)
{
    pthread_mutex_lock(&t->mu);
    if (t->control)
        rpc_wake(t->control);
    pthread_mutex_unlock(&t->mu);
}

struct rpc_client *testing_client(const char *target)
{
    struct rpc_client *c;

    or_die(rpc_client_new(&c, &(struct rpc_client_config){.target = target}));
    return c;
}

void testing_await(atomic_int *value, int want)
{
    int64_t until = clock_after_ms(20000);

    while (atomic_load(value) < want) {
        if (clock_now() > until)
            or_die(status_errorf(ST_DEADLINE, "waited for %d, have %d", want, atomic_load(value)));
        clock_sleep_ms(1);
    }
}

const char *testing_classify(struct rpc_client *c, const char *task, const char *text, struct rpc_options options,
                             struct status *st)
{
    static _Thread_local char label[256];
    classify_request req = BLOGINFER__V1__CLASSIFY_REQUEST__INIT;
    struct arena arena;
    const void *out;
    char *texts[] = {(char *)text};

    arena_init(&arena, 1 << 20);
    if (!options.arena)
        options.arena = &arena;
    req.task = (char *)task;
    req.n_texts = 1;
    req.texts = texts;
    *st = rpc_unary(c, CLASSIFY, "Classify", &req, &out, &options);
    const classify_response *rep = out;
    snprintf(label, sizeof label, "%s", !st->code && rep->n_results ? rep->results[0]->label : "");
    arena_fini(&arena);
    return label;
}
