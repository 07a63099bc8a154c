/* stream.c - DetectStream: the pictures of one stream through the queue, a bounded number of them at once. The stream's own
 * thread reads, submits and sends; workers leave their answers, ready to be sent, and wake it. */
#include "answer.h"
#include "detect.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_ROOM (1u << 20) /* 300 objects take a tenth */

/* One picture, from its request until its answer is sent. */
struct item {
    struct queue_job job;
    struct stream *stream;
    struct item *next;
    bool unordered, want_timing;
    bool through;         /* guarded by the stream's mu; all below is there then */
    struct served *model; /* what the answer borrows names from; NULL: none */
    struct arena arena;
    Bloginfer__V1__DetectStreamResponse message;
    Bloginfer__V1__DetectResponse response;
    Bloginfer__V1__DetectError error;
    char id[DETECT_MAX_ID + 1];
    uint8_t image[];
};

struct stream {
    struct rpc_call *call;
    struct detector *detector;
    uint64_t n_requests;
    atomic_bool gone; /* nobody reads the answers any more */

    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t back;
    struct item *first, *last; /* by index */
    size_t n_items, n_queued;
};

/* ---- one picture ---- */

static void item_free(struct item *it)
{
    served_release(it->model);
    arena_fini(&it->arena);
    free(it);
}

static void answer_error(struct item *it, struct status st)
{
    it->error.code = (uint32_t)st.code;
    it->error.message = arena_strdup(&it->arena, st.msg);
    if (!it->error.message)
        it->error.message = "";
    it->message.result_case = BLOGINFER__V1__DETECT_STREAM_RESPONSE__RESULT_ERROR;
    it->message.error = &it->error;
}

static void answer_found(struct item *it, const struct detection *found)
{
    struct status st = answer_fill(&it->response, it->model, found, it->want_timing, &it->arena);

    it->message.result_case = BLOGINFER__V1__DETECT_STREAM_RESPONSE__RESULT_RESPONSE;
    it->message.response = &it->response;
    if (st.code)
        answer_error(it, st);
}

/* The wake-up is under the lock: without it the stream might end between the two. */
static void item_done(struct queue_job *job, struct status st, const struct detection *found)
{
    struct item *it = job->ctx;
    struct stream *s = it->stream;

    if (st.code) {
        answer_error(it, st);
    } else {
        it->model = served_acquire(job->model);
        answer_found(it, found);
    }
    pthread_mutex_lock(&s->mu);
    it->through = true;
    s->n_queued--;
    rpc_wake(s->call);
    pthread_cond_signal(&s->back);
    pthread_mutex_unlock(&s->mu);
}

static bool item_gone(void *ctx)
{
    struct item *it = ctx;

    return atomic_load(&it->stream->gone);
}

static struct item *item_new(struct stream *s, const Bloginfer__V1__DetectRequest *req, bool unordered)
{
    struct item *it = xcalloc(1, sizeof *it + req->image.len);

    it->stream = s;
    it->unordered = unordered;
    it->want_timing = req->want_timing;
    if (req->image.len)
        memcpy(it->image, req->image.data, req->image.len);
    snprintf(it->id, sizeof it->id, "%s", req->id);
    arena_init(&it->arena, ANSWER_ROOM);
    bloginfer__v1__detect_stream_response__init(&it->message);
    bloginfer__v1__detect_response__init(&it->response);
    bloginfer__v1__detect_error__init(&it->error);
    it->message.index = s->n_requests++;
    it->response.id = it->error.id = it->id;
    it->job = (struct queue_job){.data = it->image,
                                 .size = req->image.len,
                                 .held_bytes = req->image.len + sizeof *it,
                                 .threshold = req->threshold,
                                 .deadline = rpc_deadline(s->call),
                                 .gone = item_gone,
                                 .done = item_done,
                                 .ctx = it};
    return it;
}

/* ---- the stream ---- */

static void append(struct stream *s, struct item *it)
{
    pthread_mutex_lock(&s->mu);
    *(s->last ? &s->last->next : &s->first) = it;
    s->last = it;
    s->n_items++;
    s->n_queued++; /* until proven otherwise */
    pthread_mutex_unlock(&s->mu);
}

static void add(struct stream *s, const Bloginfer__V1__DetectStreamRequest *in)
{
    static const Bloginfer__V1__DetectRequest none = BLOGINFER__V1__DETECT_REQUEST__INIT;
    const Bloginfer__V1__DetectRequest *req = in->request ? in->request : &none;
    struct item *it = item_new(s, req, in->unordered);
    struct status st = status_ok();
    int64_t retry_ms;

    append(s, it);
    if (strlen(req->id) > DETECT_MAX_ID)
        st = status_errorf(ST_INVALID, "id has %zu bytes, at most %d are taken", strlen(req->id), DETECT_MAX_ID);
    if (!st.code)
        st = detector_submit(s->detector, req->model, &it->job, &retry_ms);
    if (st.code) {
        answer_error(it, st);
        pthread_mutex_lock(&s->mu);
        it->through = true;
        s->n_queued--;
        pthread_mutex_unlock(&s->mu);
    }
}

static void unlink_locked(struct stream *s, struct item **link)
{
    struct item *it = *link, *before = NULL;

    *link = it->next;
    for (struct item *i = s->first; i; i = i->next)
        before = i;
    s->last = before;
    s->n_items--;
}

/* The next answer that may go: any that is unordered, else only the first of the others. */
static struct item *take_ready(struct stream *s)
{
    struct item *found = NULL;
    bool blocked = false;

    pthread_mutex_lock(&s->mu);
    for (struct item **link = &s->first; *link && !found; link = &(*link)->next) {
        struct item *it = *link;
        if (it->through && (it->unordered || !blocked)) {
            found = it;
            unlink_locked(s, link);
            break;
        }
        blocked |= !it->unordered;
    }
    pthread_mutex_unlock(&s->mu);
    return found;
}

static struct status send_ready(struct stream *s)
{
    struct status st = status_ok();

    for (struct item *it; !st.code && (it = take_ready(s));) {
        st = rpc_send(s->call, &it->message);
        item_free(it);
    }
    return st;
}

static struct status serve(struct stream *s, size_t most)
{
    bool closed = false;

    for (;;) {
        struct status st = send_ready(s);
        const void *in = NULL;
        if (st.code || (closed && !s->n_items)) /* n_items: only this thread changes it */
            return st;
        switch (rpc_wait(s->call, closed || s->n_items >= most ? NULL : &in, CLOCK_NEVER)) {
        case RPC_MESSAGE:
            if (in)
                add(s, in);
            break;
        case RPC_HALF_CLOSED:
            closed = true;
            break;
        case RPC_CANCELLED:
            return status_errorf(ST_CANCELLED, "the call is over");
        case RPC_WOKEN:
        case RPC_TIMEOUT:
            break;
        }
    }
}

/* What is still in the queue is dropped there as soon as its turn comes. */
static void abandon(struct stream *s)
{
    atomic_store(&s->gone, true);
    pthread_mutex_lock(&s->mu);
    while (s->n_queued)
        pthread_cond_wait(&s->back, &s->mu);
    pthread_mutex_unlock(&s->mu);
    for (struct item *it; (it = s->first);) {
        s->first = it->next;
        item_free(it);
    }
}

struct status detect_stream(struct rpc_call *call, const void *in)
{
    struct detect_service *service = rpc_service(call);
    struct stream s = {.call = call, .detector = service->detector};

    (void)in;
    pthread_mutex_init(&s.mu, NULL);
    cond_init_monotonic(&s.back);
    struct status st = serve(&s, 2 * models_config(detector_models(s.detector))->n_workers + 2);
    abandon(&s);
    pthread_cond_destroy(&s.back);
    pthread_mutex_destroy(&s.mu);
    return st;
}
