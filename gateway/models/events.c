/* events.c - GET /api/runs/{id}/events: a run as Server-Sent Events, from the aggregator's WatchRun, which pushes.
 *
 *     retry: 2000
 *     id: 1          event: round     data: RoundResult, each once and in order
 *                    event: run       data: Run without its rounds, whenever its state changes
 *                    event: progress  data: RoundProgress, about once a second while exchanges go on
 *     id: 5.end      event: run       data: the run, which has ended; then the stream ends
 *     : a comment when nothing else came for a while
 *
 * A reader that comes back with Last-Event-ID hears what it has not heard; one that has heard the end gets 204, which tells
 * a browser to come no more. While the aggregator is away the stream stays and watches again when it is back. */
#include "bloginfer/v1/federation.pb-c.h"
#include "metrics/metrics.h"
#include "models.h"
#include "pbjson/pbjson.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE    (&bloginfer__v1__federation_service__descriptor)
#define LOOK_MS    500    /* between two looks whether the reader is still there */
#define AGAIN_MS   1000   /* before it is watched again */
#define AWAY_MS    300000 /* how long an aggregator may be away */
#define RETRY_LINE "retry: 2000\n\n"

struct watch {
    struct http_call *call;
    const char *run_id;
    uint32_t seen; /* rounds that the reader has */
    bool seen_end; /* it has the end, too */
    bool begun, over, late;
    int64_t beat_ms, beat; /* of silence before a comment; when it is due */
    int64_t give_up;       /* on the first event */
    int64_t away;          /* since when the aggregator is; 0: it is not */
};

uint32_t event_seen(const char *id, bool *ended)
{
    size_t digits = id ? strspn(id, "0123456789") : 0;

    *ended = false;
    if (!digits || digits > 9 || (id[digits] && strcmp(id + digits, ".end") != 0))
        return 0;
    *ended = id[digits] != '\0';
    return (uint32_t)strtoul(id, NULL, 10);
}

/* The stream, which begins with its first event. False: it is over, or answered otherwise. */
static bool begin(struct watch *w)
{
    if (w->begun)
        return true;
    http_set_header(w->call, "Cache-Control", "no-cache");
    http_set_header(w->call, "X-Accel-Buffering", "no"); /* nginx would hold events back */
    w->begun = http_stream_begin(w->call, "text/event-stream");
    w->over = !w->begun;
    return w->begun && http_stream_write(w->call, RETRY_LINE, sizeof RETRY_LINE - 1);
}

/* id: NULL: none. */
static bool send_event(struct watch *w, const char *id, const char *name, json_t *data)
{
    struct buf event = BUF_INIT((size_t)1 << 20);
    char *text = json_dumps(data, JSON_COMPACT);
    bool sent = text && begin(w);

    if (id)
        buf_printf(&event, "id: %s\n", id);
    buf_printf(&event, "event: %s\ndata: ", name);
    buf_puts(&event, text ? text : "{}");
    buf_puts(&event, "\n\n");
    sent = sent && http_stream_write(w->call, event.data, event.size);
    w->beat = clock_after_ms(w->beat_ms);
    buf_fini(&event);
    free(text);
    json_decref(data);
    return sent;
}

static bool tell_round(struct watch *w, const Bloginfer__V1__RoundResult *r)
{
    char id[16];

    if (r->round <= w->seen)
        return true;
    snprintf(id, sizeof id, "%" PRIu32, r->round);
    if (!send_event(w, id, "round", pbjson_encode(&r->base)))
        return false;
    w->seen = r->round;
    return true;
}

static bool has_ended(const Bloginfer__V1__Run *run)
{
    return run->state == BLOGINFER__V1__RUN_STATE__RUN_STATE_FINISHED ||
           run->state == BLOGINFER__V1__RUN_STATE__RUN_STATE_FAILED ||
           run->state == BLOGINFER__V1__RUN_STATE__RUN_STATE_STOPPED;
}

static bool tell_run(struct watch *w, const Bloginfer__V1__Run *run)
{
    bool ended = has_ended(run);
    char id[24];
    json_t *data;

    if (ended && w->seen_end) {
        http_reply(w->call, 204, NULL, NULL, 0);
        w->over = true;
        return true;
    }
    snprintf(id, sizeof id, "%" PRIu32 ".end", w->seen);
    data = pbjson_encode(&run->base);
    json_object_del(data, "rounds"); /* they have been events */
    w->over = ended;
    return send_event(w, ended ? id : NULL, "run", data);
}

/* False: the reader has had enough. */
static bool tell(struct watch *w, const Bloginfer__V1__WatchRunResponse *news)
{
    switch (news->event_case) {
    case BLOGINFER__V1__WATCH_RUN_RESPONSE__EVENT_ROUND:
        return tell_round(w, news->round);
    case BLOGINFER__V1__WATCH_RUN_RESPONSE__EVENT_RUN:
        return tell_run(w, news->run);
    case BLOGINFER__V1__WATCH_RUN_RESPONSE__EVENT_PROGRESS:
        return send_event(w, NULL, "progress", pbjson_encode(&news->progress->base));
    default:
        return true;
    }
}

/* Whether to go on for a reader, who is told that the line is alive. */
static bool attend(struct watch *w)
{
    if (!w->begun) {
        w->late = clock_now() >= w->give_up;
        return !w->late && !http_abandoned(w->call);
    }
    if (clock_now() >= w->beat) {
        http_stream_write(w->call, ":\n\n", 3);
        w->beat = clock_after_ms(w->beat_ms);
    }
    return http_stream_open(w->call);
}

/* Until the watch or its reader ends. */
static void follow(struct watch *w, struct rpc_call *rpc)
{
    const void *in;

    while (!w->over) {
        enum rpc_event event = rpc_wait(rpc, &in, clock_after_ms(LOOK_MS));

        if (event == RPC_HALF_CLOSED || event == RPC_CANCELLED)
            return;
        if (event == RPC_MESSAGE) {
            w->away = 0;
            w->over = !tell(w, in) || w->over;
        }
        w->over = w->over || !attend(w);
    }
    rpc_cancel(rpc);
}

static struct status watch_once(struct watch *w)
{
    struct gateway *g = http_service(w->call);
    const char *metadata[] = {"x-request-id", http_request_id(w->call), NULL};
    const struct rpc_options options = {.timeout_ms = -1, .metadata = metadata};
    Bloginfer__V1__WatchRunRequest req = BLOGINFER__V1__WATCH_RUN_REQUEST__INIT;
    struct rpc_call *rpc;
    struct status st = rpc_stream_open(&rpc, g->aggregator.client, SERVICE, "WatchRun", &options);

    if (st.code)
        return st;
    req.run_id = (char *)w->run_id;
    if (!rpc_send(rpc, &req).code && !rpc_send_done(rpc).code)
        follow(w, rpc);
    st = rpc_stream_finish(rpc);
    if (w->late)
        return status_errorf(ST_DEADLINE, "WatchRun: no event in time");
    return w->over ? status_ok() : st;
}

/* A while of silence; false: nobody waits any more. */
static bool pause_watch(struct watch *w)
{
    w->away = w->away ? w->away : clock_now();
    for (int64_t until = clock_after_ms(AGAIN_MS); clock_now() < until; clock_sleep_ms(LOOK_MS / 5))
        if (!attend(w))
            return false;
    return clock_now() - w->away < AWAY_MS * CLOCK_MS;
}

static struct metric *watching(void)
{
    return metric_gauge("bloginfer_gateway_run_watchers", "Open streams of runs' events.", NULL);
}

static struct status stay(struct watch *w)
{
    struct gateway *g = http_service(w->call);
    const struct question q = {SERVICE, "WatchRun"};
    struct status st;

    do
        st = watch_once(w);
    while (w->begun && st.code == ST_UNAVAILABLE && pause_watch(w));
    if (w->begun || !st.code)
        return st.code == ST_CANCELLED ? status_ok() : st;
    st = backend_for_outsiders(&g->aggregator, w->call, &st);
    ask_failed(w->call, &q, &st);
    return status_ok();
}

struct status run_events(struct http_call *call)
{
    const struct gateway *g = http_service(call);
    struct watch w = {.call = call,
                      .run_id = http_param(call, "id"),
                      .beat_ms = g->beat_ms,
                      .give_up = clock_after_ms(g->deadline_ms)};
    struct status st;

    if (!run_id_valid(w.run_id))
        return status_errorf(ST_NOT_FOUND, "there is no such run");
    w.seen = event_seen(http_header(call, "Last-Event-ID"), &w.seen_end);
    metric_add(watching(), 1);
    st = stay(&w);
    metric_add(watching(), -1);
    return st;
}
