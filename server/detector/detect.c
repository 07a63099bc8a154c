/* detect.c - the handlers; all work and all limits of pictures are behind detector.h. */
#include "detect.h"

#include "answer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_ROOM 4096 /* of a request beside its image */

static struct status no_room(void)
{
    return status_errorf(ST_EXHAUSTED, "the answer does not fit into the call's memory");
}

void detect_set_retry(struct rpc_call *call, int64_t retry_ms)
{
    char text[32];

    snprintf(text, sizeof text, "%" PRId64, retry_ms);
    rpc_set_trailer(call, DETECT_RETRY_TRAILER, text);
}

/* ---- Detect ---- */

/* A call whose picture is on its way; in its arena. */
struct work {
    struct queue_job job;
    struct rpc_call *call;
    const Bloginfer__V1__DetectRequest *req;
    Bloginfer__V1__DetectResponse *rep;
};

static bool work_gone(void *ctx)
{
    struct work *w = ctx;

    return rpc_cancelled(w->call);
}

static void work_done(struct queue_job *job, struct status st, const struct detection *found)
{
    struct work *w = job->ctx;

    w->rep->id = w->req->id;
    if (!st.code)
        st = answer_fill(w->rep, job->model, found, w->req->want_timing, rpc_arena(w->call));
    rpc_answer(w->call, st);
}

/* OK: the call belongs to the queue. */
static struct status submit(const struct detect_service *service, struct rpc_call *call,
                            const Bloginfer__V1__DetectRequest *req, Bloginfer__V1__DetectResponse *rep)
{
    struct work *w = arena_alloc(rpc_arena(call), sizeof *w);
    int64_t retry_ms = 0;

    if (!w)
        return no_room();
    if (strlen(req->id) > DETECT_MAX_ID)
        return status_errorf(ST_INVALID, "id has %zu bytes, at most %d are taken", strlen(req->id), DETECT_MAX_ID);
    *w = (struct work){.call = call, .req = req, .rep = rep};
    w->job = (struct queue_job){.data = req->image.data,
                                .size = req->image.len,
                                .held_bytes = rpc_arena(call)->used + DETECT_CALL_BYTES,
                                .threshold = req->threshold,
                                .deadline = rpc_deadline(call),
                                .gone = work_gone,
                                .done = work_done,
                                .ctx = w};
    struct status st = detector_submit(service->detector, req->model, &w->job, &retry_ms);
    if (st.code == ST_EXHAUSTED)
        detect_set_retry(call, retry_ms);
    return st;
}

static void handle_detect(struct rpc_call *call, const void *in, void *out)
{
    struct status st = submit(rpc_service(call), call, in, out);

    if (st.code)
        rpc_answer(call, st);
}

/* ---- what there is ---- */

static struct status describe(const struct detect_service *service, Bloginfer__V1__DescribeDetectorResponse *rep,
                              size_t i, struct arena *arena)
{
    struct models_entry e = models_get(detector_models(service->detector), i);
    struct status st = answer_describe(rep, &e, detector_stages(service->detector), arena);

    served_release(e.served);
    return st;
}

static struct status handle_describe(struct rpc_call *call, const void *in, void *out)
{
    struct detect_service *service = rpc_service(call);
    const Bloginfer__V1__DescribeDetectorRequest *req = in;
    struct models *models = detector_models(service->detector);
    struct served *s = NULL;
    struct status st = models_acquire(models, req->model, &s);

    served_release(s);
    for (size_t i = 0, n = models_count(models); !st.code && i < n; i++) {
        struct models_entry e = models_get(models, i);
        bool found = !*req->model || strcmp(e.name, req->model) == 0;
        served_release(e.served);
        if (found)
            return describe(service, out, i, rpc_arena(call));
    }
    return st;
}

static struct status handle_list(struct rpc_call *call, const void *in, void *out)
{
    struct detect_service *service = rpc_service(call);
    Bloginfer__V1__ListDetectorsResponse *rep = out;
    size_t n = models_count(detector_models(service->detector));
    struct arena *arena = rpc_arena(call);
    Bloginfer__V1__DescribeDetectorResponse *rows = arena_alloc(arena, n * sizeof *rows);
    struct status st = status_ok();

    (void)in;
    rep->models = arena_alloc(arena, n * sizeof *rep->models);
    if (!rows || !rep->models)
        return no_room();
    for (size_t i = 0; i < n && !st.code; i++) {
        bloginfer__v1__describe_detector_response__init(&rows[i]);
        rep->models[rep->n_models++] = &rows[i];
        st = describe(service, &rows[i], i, arena);
    }
    return st;
}

/* Detect runs on a poller, unless it is large: it only checks and queues, and so no bounded pool of threads refuses what the
 * queue would take. */
struct status detect_service_add(struct rpc_server *server, struct detect_service *service, struct detector *detector,
                                 int64_t max_image_bytes)
{
    size_t max_request = (size_t)max_image_bytes + MESSAGE_ROOM;
    const struct rpc_method methods[] = {
        RPC_DEFERRED("Detect", handle_detect, .max_request = max_request, .arena_limit = 2 * max_request + (1 << 20),
                     .on_poller = true, .poller_max = DETECT_POLLER_MAX),
        RPC_STREAM("DetectStream", detect_stream, .max_request = max_request,
                   .arena_limit = 2 * max_request + (1 << 20)),
        RPC_UNARY("DescribeDetector", handle_describe, .max_request = MESSAGE_ROOM, .arena_limit = 4 << 20),
        RPC_UNARY("ListDetectors", handle_list, .max_request = MESSAGE_ROOM, .arena_limit = 64 << 20),
    };

    memcpy(service->methods, methods, sizeof methods);
    service->detector = detector;
    return rpc_server_add(server, &bloginfer__v1__detect_service__descriptor, service->methods,
                          COUNT_OF(service->methods), service);
}
