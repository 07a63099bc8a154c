/* health.c - the protocol: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
 * A watch holds one reference of its call while it is in the list and one while a send is under way. Batches start
 * under the mutex, so that a step on another poller sees them as started; gRPC runs no step of ours inside. */
#include "rpc/health.h"

#include "rpc/message.h"
#include "rpc/server.h"

#include "grpc/health/v1/health.pb-c.h"

#include <stdlib.h>
#include <string.h>

#define SERVING         GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define NOT_SERVING     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
#define SERVICE_UNKNOWN GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN
#define MAX_SERVICES    1000
#define MAX_WATCHES     4096

struct entry {
    char *service;
    bool serving;
};

struct watch {
    struct watch *prev, *next;
    struct rpc_call *call;
    const char *service;
    struct tag sent;
    int last; /* the status sent last; -1: none yet */
    bool sending, closed, answered;
};

struct health {
    pthread_mutex_t mu; /* guards all below, and the watches */
    struct vec entries; /* of struct entry */
    struct watch *watches;
    bool ending;
};

static struct entry *find_locked(struct health *h, const char *service)
{
    for (size_t i = 0; i < h->entries.n; i++) {
        struct entry *e = VEC_AT(&h->entries, struct entry, i);

        if (!strcmp(e->service, service))
            return e;
    }
    return NULL;
}

static int status_locked(struct health *h, const char *service)
{
    const struct entry *e = find_locked(h, service);

    return !e ? (int)SERVICE_UNKNOWN : e->serving ? (int)SERVING : (int)NOT_SERVING;
}

static struct status check(struct rpc_call *call, const void *in, void *out)
{
    struct health *h = rpc_service(call);
    const Grpc__Health__V1__HealthCheckRequest *req = in;
    Grpc__Health__V1__HealthCheckResponse *rep = out;

    pthread_mutex_lock(&h->mu);
    int status = status_locked(h, req->service);
    pthread_mutex_unlock(&h->mu);
    if (status == (int)SERVICE_UNKNOWN)
        return status_errorf(ST_NOT_FOUND, "service %s is not known here", req->service);
    rep->status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
    return status_ok();
}

/* One entry of the reply's map, in the call's arena. */
static Grpc__Health__V1__HealthListResponse__StatusesEntry *list_entry(struct arena *a, const struct entry *e)
{
    Grpc__Health__V1__HealthListResponse__StatusesEntry *item = arena_alloc(a, sizeof *item);
    Grpc__Health__V1__HealthCheckResponse *value = arena_alloc(a, sizeof *value);

    if (!item || !value)
        return NULL;
    grpc__health__v1__health_list_response__statuses_entry__init(item);
    grpc__health__v1__health_check_response__init(value);
    value->status = e->serving ? SERVING : NOT_SERVING;
    item->key = arena_strdup(a, e->service);
    item->value = value;
    return item->key ? item : NULL;
}

static struct status list(struct rpc_call *call, const void *in, void *out)
{
    struct health *h = rpc_service(call);
    Grpc__Health__V1__HealthListResponse *rep = out;
    bool ok;

    (void)in;
    pthread_mutex_lock(&h->mu);
    rep->statuses = arena_zalloc(rpc_arena(call), h->entries.n, sizeof *rep->statuses);
    ok = rep->statuses;
    for (size_t i = 0; ok && i < h->entries.n; i++) {
        rep->statuses[i] = list_entry(rpc_arena(call), VEC_AT(&h->entries, struct entry, i));
        ok = rep->statuses[i];
        rep->n_statuses += ok;
    }
    pthread_mutex_unlock(&h->mu);
    return ok ? status_ok() : status_errorf(ST_EXHAUSTED, "the list does not fit");
}

/* ---- Watch ---- */

static void step_locked(struct health *h, struct watch *w);

static void unlink_locked(struct health *h, struct watch *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        h->watches = w->next;
    if (w->next)
        w->next->prev = w->prev;
}

static void watch_sent(struct rpc_call *call, bool ok)
{
    struct health *h = rpc_service(call);
    struct watch *w = call->state;

    (void)ok; /* a failure is followed by the end of the call */
    pthread_mutex_lock(&h->mu);
    w->sending = false;
    step_locked(h, w);
    pthread_mutex_unlock(&h->mu);
    call_unref(call);
}

static void watch_closed(struct rpc_call *call)
{
    struct health *h = rpc_service(call);
    struct watch *w = call->state;

    pthread_mutex_lock(&h->mu);
    w->closed = true;
    unlink_locked(h, w);
    step_locked(h, w);
    pthread_mutex_unlock(&h->mu);
    atomic_fetch_sub(&call->method->n_streams, 1);
    call_unref(call);
}

/* Sends the status with, the first time, the headers. */
static void send_locked(struct watch *w, int status)
{
    Grpc__Health__V1__HealthCheckResponse rep = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    grpc_op ops[2] = {{.op = GRPC_OP_SEND_MESSAGE}, {.op = GRPC_OP_SEND_INITIAL_METADATA}};
    size_t n_ops = w->call->headers_sent ? 1 : 2;
    grpc_byte_buffer *packed;

    rep.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
    if (message_pack(&packed, &rep.base).code)
        return;
    ops[0].data.send_message.send_message = packed;
    w->call->bytes_out += grpc_byte_buffer_length(packed);
    w->sending = true;
    call_ref(w->call);
    if (!call_batch(w->call, &w->sent, watch_sent, ops, n_ops)) {
        w->sending = false; /* cannot be the last reference: the list holds one */
        call_unref(w->call);
    }
    w->call->headers_sent = true;
    w->last = status;
    grpc_byte_buffer_destroy(packed);
}

/* What is to be done next, if it can be done now: only changes are sent, at most one at a time. */
static void step_locked(struct health *h, struct watch *w)
{
    int status = status_locked(h, w->service);

    if (w->sending || w->answered)
        return;
    if (w->closed || h->ending) {
        w->answered = true;
        call_answer(w->call, status_errorf(w->closed ? ST_CANCELLED : ST_UNAVAILABLE, "the server is stopping"), NULL);
    } else if (status != w->last) {
        send_locked(w, status);
    }
}

static void watch_open(struct rpc_call *call)
{
    struct health *h = rpc_service(call);
    struct watch *w = arena_zalloc(&call->arena, 1, sizeof *w);
    const void *in = NULL;
    struct status st = w ? call_request(call, &in) : status_errorf(ST_EXHAUSTED, "no memory for the call");

    if (!st.code && atomic_fetch_add(&call->method->n_streams, 1) >= call->method->max_streams) {
        atomic_fetch_sub(&call->method->n_streams, 1);
        st = status_errorf(ST_EXHAUSTED, "more than %d watches", call->method->max_streams);
    }
    if (st.code) {
        call_answer(call, st, NULL);
        return;
    }
    const Grpc__Health__V1__HealthCheckRequest *req = in;
    *w = (struct watch){.call = call, .service = req->service, .last = -1};
    call->state = w;
    call->on_closed = watch_closed;
    call_ref(call); /* the list's; call_answer() gives up the owner's */
    pthread_mutex_lock(&h->mu);
    w->next = h->watches;
    if (w->next)
        w->next->prev = w;
    h->watches = w;
    step_locked(h, w);
    pthread_mutex_unlock(&h->mu);
}

/* ---- the rest of the server's side ---- */

static void step_all_locked(struct health *h)
{
    for (struct watch *w = h->watches; w; w = w->next)
        step_locked(h, w);
}

void health_set(struct health *h, const char *service, bool serving)
{
    pthread_mutex_lock(&h->mu);
    struct entry *e = find_locked(h, service);

    if (!e && (e = vec_push(&h->entries)))
        e->service = xstrdup(service);
    if (e)
        e->serving = serving;
    step_all_locked(h);
    pthread_mutex_unlock(&h->mu);
}

void health_set_all(struct health *h, bool serving)
{
    pthread_mutex_lock(&h->mu);
    for (size_t i = 0; i < h->entries.n; i++)
        VEC_AT(&h->entries, struct entry, i)->serving = serving;
    step_all_locked(h);
    pthread_mutex_unlock(&h->mu);
}

void health_end_watches(struct health *h)
{
    pthread_mutex_lock(&h->mu);
    h->ending = true;
    step_all_locked(h);
    pthread_mutex_unlock(&h->mu);
}

struct health *health_new(void)
{
    struct health *h = xcalloc(1, sizeof *h);

    pthread_mutex_init(&h->mu, NULL);
    h->entries = (struct vec)VEC_INIT(sizeof(struct entry), MAX_SERVICES);
    return h;
}

void health_free(struct health *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < h->entries.n; i++)
        free(VEC_AT(&h->entries, struct entry, i)->service);
    vec_fini(&h->entries);
    pthread_mutex_destroy(&h->mu);
    free(h);
}

struct status health_register(struct health *h, struct rpc_server *s)
{
    static const struct rpc_method methods[] = {
        RPC_UNARY("Check", check, .max_request = 4096, .on_poller = true),
        RPC_UNARY("List", list, .max_request = 4096, .arena_limit = 1 << 20, .on_poller = true),
        {.name = "Watch", .max_request = 4096, .max_streams = MAX_WATCHES},
    };

    return server_add(s, &grpc__health__v1__health__descriptor, methods, COUNT_OF(methods), h, "Watch", watch_open);
}
