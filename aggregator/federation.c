/* federation.c - the operators' half of FederationService: start, stop, get, list and watch runs, and the method table. */
#include "federation.h"

#include "convert.h"
#include "federation_internal.h"

#include <stdlib.h>
#include <string.h>

#define LIST_DEFAULT 100
#define LIST_MAX     1000
#define PROGRESS_MS  1000 /* WatchRun says at least this often how far the round is */

struct status federation_find(struct rpc_call *call, const char *run_id, struct run **run)
{
    *run = runs_find(rpc_service(call), run_id);
    return *run ? status_ok() : status_errorf(ST_NOT_FOUND, "run \"%.64s\" is not known here", run_id);
}

struct status federation_recv(struct rpc_call *call, const void **in, int64_t until)
{
    enum rpc_event event = rpc_wait(call, in, until);

    if (event == RPC_TIMEOUT)
        return status_errorf(ST_DEADLINE, "nothing came in time");
    return event == RPC_CANCELLED ? status_errorf(ST_CANCELLED, "the worker has gone") : status_ok();
}

/* The run as a message in the call's arena. */
static struct status show(struct rpc_call *call, struct run *r, Bloginfer__V1__Run **out)
{
    struct run_view v;

    Bloginfer__V1__Run *run = arena_alloc(rpc_arena(call), sizeof *run);
    if (!run)
        return status_errorf(ST_EXHAUSTED, "the answer is too large for one message");
    run_view(r, &v);
    struct status st = convert_run(run, &v, rpc_arena(call));
    run_view_fini(&v);
    *out = run;
    return st;
}

static struct status start_run(struct rpc_call *call, const void *in, void *out)
{
    const Bloginfer__V1__StartRunRequest *req = in;
    Bloginfer__V1__StartRunResponse *rep = out;
    struct run_config config;
    struct run *r;
    bool created;
    struct status st = convert_config_from(&config, req->config);

    if (!st.code)
        st = runs_start(rpc_service(call), req->run_id, &config, &r, &created);
    if (st.code)
        return st;
    rep->created = created;
    st = show(call, r, &rep->run);
    run_release(r);
    return st;
}

static struct status stop_run(struct rpc_call *call, const void *in, void *out)
{
    const Bloginfer__V1__StopRunRequest *req = in;
    Bloginfer__V1__StopRunResponse *rep = out;
    struct run *r;
    struct status st = federation_find(call, req->run_id, &r);

    if (st.code)
        return st;
    if (strlen(req->reason) > 200)
        st = status_errorf(ST_INVALID, "reason: longer than 200 bytes");
    if (!st.code) {
        run_stop(r, req->reason[0] ? req->reason : "stopped by the operator");
        st = show(call, r, &rep->run);
    }
    run_release(r);
    return st;
}

static struct status get_run(struct rpc_call *call, const void *in, void *out)
{
    const Bloginfer__V1__GetRunRequest *req = in;
    Bloginfer__V1__GetRunResponse *rep = out;
    struct run *r;
    struct status st = federation_find(call, req->run_id, &r);

    if (st.code)
        return st;
    st = show(call, r, &rep->run);
    run_release(r);
    return st;
}

static struct status list_runs(struct rpc_call *call, const void *in, void *out)
{
    const Bloginfer__V1__ListRunsRequest *req = in;
    Bloginfer__V1__ListRunsResponse *rep = out;
    struct status st = status_ok();
    size_t limit = req->limit ? req->limit : LIST_DEFAULT, n;
    struct run **runs = runs_list(rpc_service(call), req->active_only, limit < LIST_MAX ? limit : LIST_MAX, &n);

    Bloginfer__V1__Run **shown = arena_zalloc(rpc_arena(call), n, sizeof *shown);
    if (!shown)
        st = status_errorf(ST_EXHAUSTED, "too many runs for one message: ask for fewer");
    for (size_t i = 0; i < n; i++) {
        if (shown && !st.code)
            st = show(call, runs[i], &shown[i]);
        run_release(runs[i]);
    }
    free(runs);
    if (!st.code) {
        rep->runs = shown;
        rep->n_runs = n;
    }
    return st;
}

/* ---- WatchRun ---- */

static void wake_call(void *call)
{
    rpc_wake(call);
}

static struct status send_run(struct rpc_call *call, const struct run_view *v)
{
    Bloginfer__V1__WatchRunResponse event = BLOGINFER__V1__WATCH_RUN_RESPONSE__INIT;
    Bloginfer__V1__Run run;
    struct arena arena;

    arena_init(&arena, 1 << 20);
    struct status st = convert_run(&run, v, &arena);
    event.event_case = BLOGINFER__V1__WATCH_RUN_RESPONSE__EVENT_RUN;
    event.run = &run;
    if (!st.code)
        st = rpc_send(call, &event);
    arena_fini(&arena);
    return st;
}

static struct status send_rounds(struct rpc_call *call, const struct run_view *v, uint32_t *sent)
{
    Bloginfer__V1__WatchRunResponse event = BLOGINFER__V1__WATCH_RUN_RESPONSE__INIT;
    Bloginfer__V1__RoundResult round;
    struct status st = status_ok();

    event.event_case = BLOGINFER__V1__WATCH_RUN_RESPONSE__EVENT_ROUND;
    event.round = &round;
    for (; *sent < v->n_rounds && !st.code; ++*sent) {
        convert_round(&round, &v->rounds[*sent]);
        st = rpc_send(call, &event);
    }
    return st;
}

static struct status send_progress(struct rpc_call *call, const struct run_view *v)
{
    Bloginfer__V1__WatchRunResponse event = BLOGINFER__V1__WATCH_RUN_RESPONSE__INIT;
    Bloginfer__V1__RoundProgress progress;

    convert_progress(&progress, v);
    event.event_case = BLOGINFER__V1__WATCH_RUN_RESPONSE__EVENT_PROGRESS;
    event.progress = &progress;
    return rpc_send(call, &event);
}

struct watch {
    uint32_t rounds_sent;
    enum run_state state; /* last one sent; 0: none */
    char message[STATUS_MSG_SIZE];
    int64_t progress_due;
};

/* Sends what is new; *over when the run has ended. */
static struct status send_news(struct rpc_call *call, struct run *r, struct watch *w, bool *over)
{
    struct run_view v;

    run_view(r, &v);
    struct status st = send_rounds(call, &v, &w->rounds_sent);
    if (!st.code && (v.state != w->state || strcmp(v.message, w->message) != 0)) {
        st = send_run(call, &v);
        w->state = v.state;
        memcpy(w->message, v.message, sizeof w->message);
    }
    if (!st.code && v.state == RUN_TRAINING && v.exchanges && clock_now() >= w->progress_due) {
        st = send_progress(call, &v);
        w->progress_due = clock_after_ms(PROGRESS_MS);
    }
    *over = run_state_ended(v.state);
    run_view_fini(&v);
    return st;
}

static struct status watch_run(struct rpc_call *call, const void *in)
{
    const Bloginfer__V1__WatchRunRequest *req = in;
    struct watch w = {0};
    bool over = false;
    struct run *r;
    const void *none;
    struct status st = federation_find(call, req->run_id, &r);

    if (st.code)
        return st;
    struct run_watcher watcher = {.wake = wake_call, .arg = call};
    run_watch(r, &watcher);
    while (!st.code && !over) {
        st = send_news(call, r, &w, &over);
        if (!st.code && !over && rpc_wait(call, &none, clock_after_ms(PROGRESS_MS)) == RPC_CANCELLED)
            st = status_errorf(ST_CANCELLED, "the watcher has gone");
    }
    run_unwatch(r, &watcher);
    run_release(r);
    return st;
}

static const struct rpc_method methods[] = {
    RPC_UNARY("StartRun", start_run, .max_request = 64 << 10, .arena_limit = 4 << 20),
    RPC_UNARY("StopRun", stop_run, .max_request = 64 << 10, .arena_limit = 4 << 20),
    RPC_UNARY("GetRun", get_run, .max_request = 64 << 10, .arena_limit = 4 << 20),
    RPC_UNARY("ListRuns", list_runs, .max_request = 64 << 10, .arena_limit = 4 << 20),
    RPC_STREAM("WatchRun", watch_run, .max_request = 64 << 10, .max_streams = 256, .endless = true),
    RPC_STREAM("Control", federation_control, .max_request = 64 << 10, .max_streams = 256, .endless = true),
    RPC_STREAM("Fetch", federation_fetch, .max_request = 64 << 10, .max_streams = 256),
    RPC_STREAM("Submit", federation_submit, .max_request = 1 << 20, .max_total = 1u << 30, .max_streams = 256),
};

struct status federation_add(struct rpc_server *server, struct runs *runs)
{
    return rpc_server_add(server, &bloginfer__v1__federation_service__descriptor, methods, COUNT_OF(methods), runs);
}
