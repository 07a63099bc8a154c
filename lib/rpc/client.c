/* client.c - calls from the client's side. */
#include "rpc/account.h"
#include "rpc/call.h"
#include "rpc/channel.h"
#include "rpc/message.h"

#include <assert.h>
#include <errno.h>
#include <grpc/support/time.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_TIMEOUT_MS 5000
#define MAX_METADATA       32             /* pairs */
#define MAX_METADATA_BYTES ((size_t)8192) /* foreign servers drop the whole connection over this */
#define RETRY_MS           20             /* before the first retry; twice as long before each further one, up to */
#define MAX_RETRY_MS       1000
#define MAX_ABANDONED_MS   ((int64_t)20 * RPC_ABANDONED_MS)

/* What an attempt needs of a call, worked out once. */
struct request {
    const struct rpc_options *options;
    const ProtobufCMethodDescriptor *method;
    grpc_slice path; /* gRPC holds on to this and the metadata for longer than the functions here run */
    int64_t deadline;
    grpc_metadata metadata[MAX_METADATA];
    size_t n_metadata;
};

static struct status add_metadata(struct request *r)
{
    const char *const *md = r->options->metadata;
    size_t bytes = 0;

    for (; md && md[0]; md += 2) {
        grpc_metadata *m = &r->metadata[r->n_metadata];

        bytes += strlen(md[0]) + strlen(md[1]) + 32;
        if (r->n_metadata == MAX_METADATA || bytes > MAX_METADATA_BYTES)
            return status_errorf(ST_INVALID, "metadata: more than %d pairs or %zu bytes", MAX_METADATA,
                                 MAX_METADATA_BYTES);
        *m =
            (grpc_metadata){.key = grpc_slice_from_copied_string(md[0]), .value = grpc_slice_from_copied_string(md[1])};
        r->n_metadata++;
        if (!grpc_header_key_is_legal(m->key) || !grpc_header_nonbin_value_is_legal(m->value))
            return status_errorf(ST_INVALID, "metadata %s: the key must be lower case, the value printable ASCII",
                                 md[0]);
    }
    return status_ok();
}

/* "/service/method" */
static grpc_slice path_of(const char *service, const char *method)
{
    size_t n = strlen(service), m = strlen(method);
    grpc_slice path = grpc_slice_malloc(n + m + 2);
    char *to = (char *)GRPC_SLICE_START_PTR(path);

    to[0] = to[n + 1] = '/';
    memcpy(to + 1, service, n);
    memcpy(to + n + 2, method, m);
    return path;
}

static struct status request_init(struct request *r, const ProtobufCServiceDescriptor *service, const char *method,
                                  const struct rpc_options *options)
{
    int64_t timeout_ms = options->timeout_ms ? options->timeout_ms : DEFAULT_TIMEOUT_MS;

    *r = (struct request){.options = options, .path = grpc_empty_slice(), .deadline = clock_after_ms(timeout_ms)};
    r->method = protobuf_c_service_descriptor_get_method_by_name(service, method);
    if (!r->method)
        return status_errorf(ST_UNIMPLEMENTED, "%s has no method %s", service->name, method);
    if (options->parent && rpc_deadline(options->parent) < r->deadline)
        r->deadline = rpc_deadline(options->parent);
    r->path = path_of(service->name, method);
    return add_metadata(r);
}

static void request_fini(struct request *r)
{
    grpc_slice_unref(r->path);
    for (size_t i = 0; i < r->n_metadata; i++) {
        grpc_slice_unref(r->metadata[i].key);
        grpc_slice_unref(r->metadata[i].value);
    }
}

static grpc_call *create_call(struct rpc_client *c, const struct request *r, grpc_completion_queue *queue)
{
    struct rpc_call *parent = r->options->parent;

    assert(!parent || !parent->client);
    return grpc_channel_create_call(c->channel, parent ? parent->call : NULL, GRPC_PROPAGATE_DEFAULTS, queue, r->path,
                                    NULL, time_to_grpc(r->deadline), NULL);
}

static grpc_op headers_op(const struct request *r)
{
    grpc_op op = {.op = GRPC_OP_SEND_INITIAL_METADATA};

    op.data.send_initial_metadata.count = r->n_metadata;
    op.data.send_initial_metadata.metadata = (grpc_metadata *)r->metadata;
    if (r->options->wait_for_ready)
        op.flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY | GRPC_INITIAL_METADATA_WAIT_FOR_READY_EXPLICITLY_SET;
    return op;
}

static struct status final_status(grpc_status_code code, grpc_slice message)
{
    if (code == GRPC_STATUS_OK)
        return status_ok();
    return status_errorf((int)code < ST_N_CODES ? (enum code)code : ST_UNKNOWN, "%.*s", (int)GRPC_SLICE_LENGTH(message),
                         (const char *)GRPC_SLICE_START_PTR(message));
}

/* ---- unary ---- */

static void read_trailers(const struct rpc_options *options, const grpc_metadata_array *got)
{
    for (size_t i = 0; i < options->n_trailers; i++) {
        struct rpc_trailer *t = &options->trailers[i];

        t->value = NULL;
        for (size_t k = 0; k < got->count; k++) {
            grpc_slice key = got->metadata[k].key, value = got->metadata[k].value;

            if (!grpc_slice_str_cmp(key, t->key))
                t->value = slice_text(options->arena, value);
        }
    }
}

/* One try. Its batch of all six operations ends with the call, at the latest by its deadline. */
struct attempt {
    struct io_tag ended;
    sem_t done;
    grpc_call *call;
    grpc_byte_buffer *reply;
    grpc_metadata_array headers, trailers;
    grpc_status_code code;
    grpc_slice message;
};

/* The caller may be gone as soon as it is woken. */
static void step_ended(struct io_tag *tag)
{
    struct attempt *a = (struct attempt *)((char *)tag - offsetof(struct attempt, ended));

    TAG_GIVEN(a);
    sem_post(&a->done);
}

static void attempt_init(struct attempt *a, struct rpc_client *c, const struct request *r)
{
    *a = (struct attempt){.ended = {step_ended}, .code = GRPC_STATUS_UNKNOWN, .message = grpc_empty_slice()};
    sem_init(&a->done, 0, 0);
    grpc_metadata_array_init(&a->headers);
    grpc_metadata_array_init(&a->trailers);
    a->call = create_call(c, r, channel_queue());
}

static void attempt_fini(struct attempt *a)
{
    if (a->reply)
        grpc_byte_buffer_destroy(a->reply);
    grpc_metadata_array_destroy(&a->headers);
    grpc_metadata_array_destroy(&a->trailers);
    grpc_slice_unref(a->message);
    grpc_call_unref(a->call);
    sem_destroy(&a->done);
}

static bool attempt_start(struct attempt *a, const struct request *r, grpc_byte_buffer *packed)
{
    const grpc_op ops[] = {headers_op(r),
                           {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = packed},
                           {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
                           {.op = GRPC_OP_RECV_INITIAL_METADATA, .data.recv_initial_metadata = {&a->headers}},
                           {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &a->reply},
                           {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                            .data.recv_status_on_client = {&a->trailers, &a->code, &a->message, NULL}}};

    TAG_GIVEN(&a->ended);
    return grpc_call_start_batch(a->call, ops, COUNT_OF(ops), &a->ended, NULL) == GRPC_CALL_OK;
}

/* Until the caller is asked again: asking a thousand callers that wait for long would cost more than their leaving. */
static int64_t ask_after_ms(int64_t started)
{
    int64_t ms = (clock_now() - started) / CLOCK_MS / 4;

    return ms < RPC_ABANDONED_MS ? RPC_ABANDONED_MS : ms > MAX_ABANDONED_MS ? MAX_ABANDONED_MS : ms;
}

/* Waits for the end, which a caller that is not wanted any more brings about. */
static void attempt_wait(struct attempt *a, const struct rpc_options *options)
{
    bool asks = options->abandoned != NULL;
    int64_t started = clock_now();
    struct timespec until;

    for (;;) {
        if (asks)
            until = clock_timespec(clock_after_ms(ask_after_ms(started)));
        if (!(asks ? sem_clockwait(&a->done, CLOCK_MONOTONIC, &until) : sem_wait(&a->done)))
            break;
        if (asks && errno == ETIMEDOUT && options->abandoned(options->abandoned_ctx)) {
            grpc_call_cancel(a->call, NULL);
            asks = false;
        }
    }
    TAG_TAKEN(a);
}

static struct status attempt(struct rpc_client *c, const struct request *r, grpc_byte_buffer *packed, const void **out)
{
    struct attempt a;
    struct status st = status_errorf(ST_INTERNAL, "the call cannot be started");

    attempt_init(&a, c, r);
    if (attempt_start(&a, r, packed)) {
        attempt_wait(&a, r->options);
        st = final_status(a.code, a.message);
        read_trailers(r->options, &a.trailers);
        if (!st.code && !a.reply)
            st = status_errorf(ST_INTERNAL, "%s: the server sent no message", r->method->name);
        else if (!st.code)
            st = message_unpack(out, r->method->output, a.reply, r->options->arena);
    }
    attempt_fini(&a);
    return st;
}

/* Sleeps before retry number n (from 0); false when there is no time left for it. The wait is spread over half to
 * all of its length, so that callers that failed together do not come back together. */
static bool back_off(const struct request *r, int n)
{
    int64_t ms = n < 6 ? (int64_t)RETRY_MS << n : MAX_RETRY_MS;

    ms = ms / 2 + clock_now() / 1000 % (ms / 2 + 1);
    if (r->deadline != CLOCK_NEVER && r->deadline - clock_now() <= ms * CLOCK_MS)
        return false;
    clock_sleep_ms(ms);
    return !r->options->parent || !rpc_cancelled(r->options->parent);
}

/* Its own kind outside, because gRPC's header is not for others. */
static grpc_byte_buffer *bytes_of(const struct rpc_message *m)
{
    return (grpc_byte_buffer *)m;
}

struct status rpc_message_new(struct rpc_message **out, const void *in)
{
    grpc_byte_buffer *packed = NULL;
    struct status st = message_pack(&packed, in);

    *out = (struct rpc_message *)packed;
    return st;
}

size_t rpc_message_size(const struct rpc_message *m)
{
    return grpc_byte_buffer_length(bytes_of(m));
}

void rpc_message_free(struct rpc_message *m)
{
    if (m)
        grpc_byte_buffer_destroy(bytes_of(m));
}

struct status rpc_unary_message(struct rpc_client *c, const ProtobufCServiceDescriptor *service, const char *method,
                                struct rpc_message *in, const void **out, const struct rpc_options *options)
{
    struct request r;
    struct status st = request_init(&r, service, method, options);
    bool again = !st.code;

    assert(options->arena);
    *out = NULL;
    for (int n = 0; again; n++) {
        grpc_byte_buffer *copy = grpc_byte_buffer_copy(bytes_of(in)); /* of the references, not of the bytes */

        st = attempt(c, &r, copy, out);
        grpc_byte_buffer_destroy(copy);
        again = st.code == ST_UNAVAILABLE && n < options->retries && back_off(&r, n);
        if (!again)
            account_client(service->name, method, st.code);
    }
    request_fini(&r);
    return st;
}

struct status rpc_unary(struct rpc_client *c, const ProtobufCServiceDescriptor *service, const char *method,
                        const void *in, const void **out, const struct rpc_options *options)
{
    struct rpc_message *message = NULL;
    struct status st = rpc_message_new(&message, in);

    *out = NULL;
    if (!st.code)
        st = rpc_unary_message(c, service, method, message, out, options);
    rpc_message_free(message);
    return st;
}

/* ---- streams ---- */

static void step_finished(struct rpc_call *call, bool ok)
{
    (void)ok;
    call->finished = true;
}

/* The status in a batch of its own, from the start: it ends with the call. */
static bool begin(struct rpc_call *call, const struct request *r)
{
    grpc_op status = {
        .op = GRPC_OP_RECV_STATUS_ON_CLIENT,
        .data.recv_status_on_client = {&call->final_headers, &call->final_code, &call->final_message, NULL}};
    grpc_op headers = headers_op(r);
    grpc_op answer = {.op = GRPC_OP_RECV_INITIAL_METADATA, .data.recv_initial_metadata = {&call->headers}};

    return call_batch(call, &call->closed, step_finished, &status, 1) &&
           call_batch(call, &call->ignored, step_ignore, &headers, 1) &&
           call_batch(call, &call->answered, step_ignore, &answer, 1);
}

struct status rpc_stream_open(struct rpc_call **out, struct rpc_client *c, const ProtobufCServiceDescriptor *service,
                              const char *method, const struct rpc_options *options)
{
    struct request r;
    struct status st = request_init(&r, service, method, options);

    if (!st.code) {
        struct rpc_call *call = call_new(8 * c->max_message);

        call->client = call->peer_streams = true;
        call->started = clock_now();
        call->deadline = r.deadline;
        call->max_message = c->max_message;
        call->service_name = service->name;
        call->method_name = r.method->name;
        call->sends = r.method->input;
        call->receives = r.method->output;
        call->queue = grpc_completion_queue_create_for_next(NULL);
        call->call = create_call(c, &r, call->queue);
        *out = call;
        if (!begin(call, &r)) {
            call_free(call);
            st = status_errorf(ST_INTERNAL, "the call cannot be started");
        }
    }
    request_fini(&r);
    return st;
}

struct status rpc_send_done(struct rpc_call *call)
{
    grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};

    assert(call->client);
    call_flush(call);
    if (call->finished || call->done_sending)
        return status_ok();
    call->done_sending = true;
    if (!call_batch(call, &call->halved, step_ignore, &op, 1))
        return status_errorf(ST_INTERNAL, "cannot end the stream");
    return status_ok();
}

void rpc_cancel(struct rpc_call *call)
{
    grpc_call_cancel(call->call, NULL);
}

/* The status comes after the last message: what nobody reads any more is thrown away. */
struct status rpc_stream_finish(struct rpc_call *call)
{
    struct status st = rpc_send_done(call);

    while (!call->finished) {
        if (call->incoming)
            grpc_byte_buffer_destroy(call->incoming);
        call->incoming = NULL;
        call_receive(call);
        queue_step(call->queue, CLOCK_NEVER);
    }
    if (!st.code)
        st = call->failure.code ? call->failure : final_status(call->final_code, call->final_message);
    account_client(call->service_name, call->method_name, st.code);
    call_free(call);
    return st;
}
