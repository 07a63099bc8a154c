/* serve.c - a server's calls from arrival to answer. The order of things matters: state first, batch last, because a
 * step may run on another poller before the batch's start returns; a method is armed again before anything else. */
#include "rpc/server.h"

#include "rpc/message.h"

#include <grpc/grpc_security.h>
#include <stdlib.h>
#include <string.h>

#define EXTRA_STREAMS 16                /* calls over max_streams that are told so at once; further ones are cut off */
#define SPARE_BYTES   ((size_t)8 << 10) /* that a call may have used, for its memory to be kept */
#ifdef __SANITIZE_ADDRESS__
#define MAX_SPARE 0 /* so that who uses a call after its end is found */
#else
#define MAX_SPARE 64 /* of a method */
#endif

/* ---- references, the end of a call ---- */

static void ended_locked(struct rpc_server *s)
{
    s->n_calls--;
    pthread_cond_broadcast(&s->changed);
}

static void call_ended(struct rpc_server *s)
{
    pthread_mutex_lock(&s->mu);
    ended_locked(s);
    pthread_mutex_unlock(&s->mu);
}

/* Keeps the memory of an ordinary call for a later one of its method. */
static void call_recycle(struct rpc_call *call)
{
    struct rpc_server *s = call->server;
    struct method *m = call->method;

    if (m && call->arena.used <= SPARE_BYTES) {
        call_reset(call);
    } else {
        call_free(call);
        call = NULL;
    }
    pthread_mutex_lock(&s->mu);
    if (call && m->n_spare < MAX_SPARE) {
        call->next = m->spare;
        m->spare = call;
        m->n_spare++;
        call = NULL;
    }
    ended_locked(s);
    pthread_mutex_unlock(&s->mu);
    call_free(call);
}

static struct rpc_call *call_take(struct method *m)
{
    struct rpc_server *s = m->server;

    pthread_mutex_lock(&s->mu);
    struct rpc_call *call = m->spare;
    if (call) {
        m->spare = call->next;
        m->n_spare--;
        call->next = NULL;
    }
    pthread_mutex_unlock(&s->mu);
    return call ? call : call_new(m->arena_limit);
}

void call_ref(struct rpc_call *call)
{
    atomic_fetch_add(&call->refs, 1);
}

void call_unref(struct rpc_call *call)
{
    if (atomic_fetch_sub(&call->refs, 1) == 1)
        call_recycle(call);
}

static void step_answered(struct rpc_call *call, bool ok)
{
    (void)ok;
    call_unref(call);
}

static void step_closed(struct rpc_call *call, bool ok)
{
    (void)ok;
    if (call->cancelled_flag)
        atomic_store(&call->cancelled, true);
    if (call->on_closed)
        call->on_closed(call);
    call_unref(call);
}

/* ---- answering ---- */

static grpc_op close_op(struct rpc_call *call)
{
    return (grpc_op){.op = GRPC_OP_RECV_CLOSE_ON_SERVER, .data.recv_close_on_server.cancelled = &call->cancelled_flag};
}

static grpc_slice borrowed(const char *s)
{
    return grpc_slice_from_static_string(s);
}

/* Fills the array of RPC_MAX_TRAILERS + 1; its slices are copies, but for those of the server's life. */
static size_t trailers(const struct rpc_call *call, grpc_metadata *md)
{
    md[0] = (grpc_metadata){.key = borrowed(RPC_SERVED_BY), .value = borrowed(call->server->host)};
    for (size_t i = 0; i < call->n_trailers; i++)
        md[i + 1] = (grpc_metadata){.key = grpc_slice_from_copied_string(call->trailers[i].key),
                                    .value = grpc_slice_from_copied_string(call->trailers[i].value)};
    return call->n_trailers + 1;
}

/* Starts the last batch: the status, with the headers if they are not sent yet, the packed message if any, and the end
 * of the call if that is not watched. */
static bool send_status(struct rpc_call *call, void (*done)(struct rpc_call *call, bool ok), const struct status *st,
                        grpc_byte_buffer *packed)
{
    grpc_metadata md[RPC_MAX_TRAILERS + 1];
    grpc_slice message = grpc_slice_from_copied_string(st->msg);
    grpc_op ops[4] = {{.op = GRPC_OP_SEND_STATUS_FROM_SERVER}};
    size_t n_ops = 1, n_md = trailers(call, md);
    int unwatched = UNWATCHED;

    ops[0].data.send_status_from_server.status = (grpc_status_code)st->code;
    ops[0].data.send_status_from_server.status_details = st->code ? &message : NULL;
    ops[0].data.send_status_from_server.trailing_metadata_count = n_md;
    ops[0].data.send_status_from_server.trailing_metadata = md;
    if (!call->headers_sent)
        ops[n_ops++] = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
    if (packed)
        ops[n_ops++] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = packed};
    if (atomic_compare_exchange_strong(&call->watch, &unwatched, ANSWERED_UNWATCHED))
        ops[n_ops++] = close_op(call);
    call->headers_sent = true;
    bool ok = call_batch(call, &call->answered, done, ops, n_ops);
    for (size_t i = 0; i < n_md; i++) {
        grpc_slice_unref(md[i].key);
        grpc_slice_unref(md[i].value);
    }
    grpc_slice_unref(message);
    return ok;
}

void call_answer(struct rpc_call *call, struct status st, const ProtobufCMessage *message)
{
    grpc_byte_buffer *packed = NULL;

    if (!st.code && message)
        st = message_pack(&packed, message);
    if (packed)
        call->bytes_out += grpc_byte_buffer_length(packed);
    account_end(call, &st);
    if (!send_status(call, step_answered, &st, packed)) {
        grpc_call_cancel(call->call, NULL);
        call_unref(call);
    }
    if (packed)
        grpc_byte_buffer_destroy(packed);
}

struct status call_request(struct rpc_call *call, const void **in)
{
    struct status st;

    if (!call->payload)
        return status_errorf(ST_INVALID, "no request message, or one over the limit");
    if (call->bytes_in > call->max_message)
        st = status_errorf(ST_EXHAUSTED, "message of %zu bytes: at most %zu are taken", call->bytes_in,
                           call->max_message);
    else
        st = message_unpack(in, call->receives, call->payload, &call->arena);
    grpc_byte_buffer_destroy(call->payload);
    call->payload = NULL;
    return st;
}

/* A handler that gave up because the deadline was over says CANCELLED; its client wants to read the reason. gRPC's
 * timers fire up to a millisecond or two early. */
static struct status settle(const struct rpc_call *call, struct status st)
{
    if (st.code == ST_CANCELLED && call->deadline - clock_now() < 5 * CLOCK_MS)
        return status_errorf(ST_DEADLINE, "the deadline is over");
    return st;
}

/* ---- unary ---- */

/* Makes what the handler gets. */
static struct status prepare(struct rpc_call *call, const void **in)
{
    const ProtobufCMessageDescriptor *type = call->sends;

    if (clock_now() >= call->deadline)
        return status_errorf(ST_DEADLINE, "the deadline was over before the work began");
    if (rpc_cancelled(call))
        return status_errorf(ST_CANCELLED, "cancelled before the work began");
    struct status st = call_request(call, in);
    if (st.code)
        return st;
    call->reply = arena_alloc(&call->arena, type->sizeof_message);
    if (!call->reply)
        return status_errorf(ST_EXHAUSTED, "no memory left for the answer");
    type->message_init(call->reply);
    return st;
}

void rpc_answer(struct rpc_call *call, struct status st)
{
    call_answer(call, settle(call, st), call->reply);
}

void call_run(struct rpc_call *call)
{
    const struct rpc_method *def = call->method->def;
    const void *in = NULL;
    struct status st = prepare(call, &in);

    if (!st.code && def->deferred) {
        def->deferred(call, in, call->reply); /* the call may be gone when it returns */
        return;
    }
    if (!st.code)
        st = def->unary(call, in, call->reply);
    rpc_answer(call, st);
}

static bool watch_close(struct rpc_call *call, void (*done)(struct rpc_call *call, bool ok))
{
    const grpc_op op = close_op(call);

    return call_batch(call, &call->closed, done, &op, 1);
}

/* What a poller computes delays every call that comes meanwhile, so a large request is not its. */
static bool runs_on_poller(const struct rpc_call *call)
{
    const struct rpc_method *def = call->method->def;

    return def->on_poller && (!def->poller_max || call->bytes_in <= def->poller_max);
}

/* Of this poller: calls that it has begun since it last watched those that were left. */
static _Thread_local struct rpc_call *unwatched;

void serve_watch(void)
{
    while (unwatched) {
        struct rpc_call *call = unwatched;
        int is = UNWATCHED;

        unwatched = call->next;
        if (!atomic_compare_exchange_strong(&call->watch, &is, WATCHED) || !watch_close(call, step_closed))
            call_unref(call);
    }
}

static void watch_later(struct rpc_call *call)
{
    atomic_store(&call->watch, UNWATCHED);
    call->next = unwatched;
    unwatched = call;
}

static void unary_begin(struct rpc_call *call)
{
    struct method *m = call->method;
    bool here = m && !m->open && runs_on_poller(call);

    atomic_store(&call->refs, 2);
    if (m && m->open)
        m->open(call); /* says what its close does before that can come */
    if (here)
        watch_later(call);
    else if (!watch_close(call, step_closed))
        call_unref(call);
    if (!m)
        call_answer(call, status_errorf(ST_UNIMPLEMENTED, "no such method here"), NULL);
    else if (here)
        call_run(call);
    else if (!m->open && !pool_push(&call->server->pool, call))
        call_answer(call, status_errorf(ST_EXHAUSTED, "too many calls wait already, try again later"), NULL);
}

/* ---- streams ---- */

static void step_stream_closed(struct rpc_call *call, bool ok)
{
    (void)ok;
    call->finished = true;
    if (call->cancelled_flag)
        atomic_store(&call->cancelled, true);
}

static void step_stream_answered(struct rpc_call *call, bool ok)
{
    (void)ok;
    call->over = true;
}

static struct status stream_handle(struct rpc_call *call)
{
    const struct method *m = call->method;
    const void *in = NULL;
    struct status st = status_ok();

    if (!m->client_streams)
        st = call_request(call, &in);
    if (st.code)
        return st;
    st = m->def->stream(call, in);
    if (call->failure.code)
        return call->failure;
    if (atomic_load(&call->draining) && (!st.code || st.code == ST_CANCELLED))
        return status_errorf(ST_UNAVAILABLE, "the server is stopping");
    if (!st.code && !m->server_streams && call->n_sent != 1)
        return status_errorf(ST_INTERNAL, "%s: the handler sent %zu answers instead of one", m->path, call->n_sent);
    return settle(call, st);
}

static void stream_begin(struct rpc_call *call)
{
    grpc_op op = {.op = GRPC_OP_SEND_INITIAL_METADATA};

    if (!watch_close(call, step_stream_closed))
        call->finished = true;
    call->headers_sent = true; /* at once: clients may wait for them before they send */
    call_batch(call, &call->ignored, step_ignore, &op, 1);
    call->peer_streams = call->method->client_streams;
}

static void stream_end(struct rpc_call *call, struct status st)
{
    call_flush(call);
    account_end(call, &st);
    if (!send_status(call, step_stream_answered, &st, NULL))
        grpc_call_cancel(call->call, NULL);
    while (!call->finished && queue_step(call->queue, CLOCK_NEVER))
        ;
}

static void unlink_locked(struct rpc_server *s, struct rpc_call *call)
{
    if (call->prev)
        call->prev->next = call->next;
    else
        s->streams = call->next;
    if (call->next)
        call->next->prev = call->prev;
}

/* The thread of one stream. Its call leaves the server's list before its queue ends, so that no wake-up meets a dead
 * queue; the struct stays for the join. */
static void *stream_run(void *arg)
{
    struct rpc_call *call = arg;
    struct rpc_server *s = call->server;

    stream_begin(call);
    stream_end(call, call->refused.code ? call->refused : stream_handle(call));
    pthread_mutex_lock(&s->mu);
    unlink_locked(s, call);
    pthread_mutex_unlock(&s->mu);
    call_fini(call);
    atomic_fetch_sub(&call->method->n_streams, 1);
    pthread_mutex_lock(&s->mu);
    call->next = s->ended;
    s->ended = call;
    s->n_calls--;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mu);
    return NULL;
}

void serve_join_streams(struct rpc_server *s)
{
    pthread_mutex_lock(&s->mu);
    struct rpc_call *call = s->ended;
    s->ended = NULL;
    pthread_mutex_unlock(&s->mu);
    while (call) {
        struct rpc_call *next = call->next;

        pthread_join(call->thread, NULL);
        free(call);
        call = next;
    }
}

static void stream_start(struct rpc_call *call)
{
    struct rpc_server *s = call->server;
    struct method *m = call->method;
    int n = atomic_fetch_add(&m->n_streams, 1);

    serve_join_streams(s);
    if (n >= m->max_streams)
        call->refused = status_errorf(ST_EXHAUSTED, "%s: %d streams run already", m->path, m->max_streams);
    if (n >= m->max_streams + EXTRA_STREAMS) {
        account_end(call, &call->refused);
        grpc_call_cancel(call->call, NULL);
        call_free(call);
        atomic_fetch_sub(&m->n_streams, 1);
        call_ended(s);
        return;
    }
    pthread_mutex_lock(&s->mu);
    call->prev = NULL;
    call->next = s->streams;
    if (call->next)
        call->next->prev = call;
    s->streams = call;
    atomic_store(&call->draining, s->draining && m->def->endless);
    call->thread = thread_start("rpc-stream", 0, stream_run, call);
    pthread_mutex_unlock(&s->mu);
}

void serve_end_endless(struct rpc_server *s)
{
    pthread_mutex_lock(&s->mu);
    s->draining = true;
    for (struct rpc_call *call = s->streams; call; call = call->next) {
        if (!call->method->def->endless)
            continue;
        atomic_store(&call->draining, true);
        rpc_wake(call);
    }
    pthread_mutex_unlock(&s->mu);
}

/* ---- arrival ---- */

static void call_begin(struct rpc_call *call)
{
    struct rpc_server *s = call->server;

    pthread_mutex_lock(&s->mu);
    s->n_calls++;
    pthread_mutex_unlock(&s->mu);
    account_begin();
    call->started = clock_now();
    call->deadline = time_from_grpc(call->method ? call->call_deadline : call->details.deadline);
    call->bytes_in = call->payload ? grpc_byte_buffer_length(call->payload) : 0;
}

static void step_arrived(struct rpc_call *call, bool ok)
{
    if (!ok) { /* the server stops */
        call_free(call);
        return;
    }
    call_begin(call);
    if (!call->method)
        serve_arm_unknown(call->server);
    else
        serve_arm(call->method);
    if (call->method && call->method->def->stream)
        stream_start(call);
    else
        unary_begin(call);
}

static void call_expect(struct rpc_server *s, struct rpc_call *call)
{
    call->server = s;
    call->arrived = (struct tag){step_arrived, call};
    TAG_GIVEN(&call->arrived);
}

void serve_arm(struct method *m)
{
    struct rpc_server *s = m->server;
    struct rpc_call *call = call_take(m);

    call->method = m;
    call->receives = m->input;
    call->sends = m->output;
    call->max_message = m->max_message;
    call->max_total = m->def->max_total;
    if (m->def->stream)
        call->queue = grpc_completion_queue_create_for_next(NULL);
    grpc_completion_queue *queue = call->queue ? call->queue : s->queue;
    call_expect(s, call);
    if (grpc_server_request_registered_call(s->server, m->handle, &call->call, &call->call_deadline, &call->headers,
                                            m->client_streams ? NULL : &call->payload, queue, s->queue, &call->arrived))
        call_free(call);
}

void serve_free_spare(struct method *m)
{
    while (m->spare) {
        struct rpc_call *call = m->spare;

        m->spare = call->next;
        call_free(call);
    }
}

void serve_arm_unknown(struct rpc_server *s)
{
    struct rpc_call *call = call_new(4096);

    call_expect(s, call);
    if (grpc_server_request_call(s->server, &call->call, &call->details, &call->headers, s->queue, s->queue,
                                 &call->arrived))
        call_free(call);
}

/* ---- what a server's handler may ask ---- */

void *rpc_service(const struct rpc_call *call)
{
    return call->method->service;
}

const char *rpc_metadata(struct rpc_call *call, const char *key)
{
    size_t size = strlen(key);

    for (size_t i = 0; i < call->headers.count; i++) {
        const grpc_metadata *md = &call->headers.metadata[i];

        if (GRPC_SLICE_LENGTH(md->key) == size && !memcmp(GRPC_SLICE_START_PTR(md->key), key, size))
            return slice_text(&call->arena, md->value);
    }
    return NULL;
}

void rpc_set_trailer(struct rpc_call *call, const char *key, const char *value)
{
    struct trailer *t = &call->trailers[call->n_trailers];

    if (call->n_trailers == RPC_MAX_TRAILERS || !grpc_header_key_is_legal(borrowed(key)) ||
        grpc_is_binary_header(borrowed(key)) || !grpc_header_nonbin_value_is_legal(borrowed(value)))
        return;
    *t = (struct trailer){arena_strdup(&call->arena, key), arena_strdup(&call->arena, value)};
    call->n_trailers += t->key && t->value;
}

const char *rpc_identity(struct rpc_call *call)
{
    static const char *const names[] = {GRPC_X509_SAN_PROPERTY_NAME, GRPC_X509_CN_PROPERTY_NAME};
    grpc_auth_context *auth = grpc_call_auth_context(call->call);
    const char *identity = NULL;

    for (size_t i = 0; auth && !identity && i < COUNT_OF(names); i++) {
        grpc_auth_property_iterator it = grpc_auth_context_find_properties_by_name(auth, names[i]);
        const grpc_auth_property *p = grpc_auth_property_iterator_next(&it);

        if (p && grpc_auth_context_peer_is_authenticated(auth))
            identity = arena_printf(&call->arena, "%.*s", (int)p->value_length, p->value);
    }
    grpc_auth_context_release(auth);
    return identity;
}
