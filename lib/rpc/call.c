/* call.c - what a server's and a client's calls have in common, above all the loop of a stream. */
#include "rpc/call.h"

#include "rpc/message.h"

#include <assert.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <stdlib.h>
#include <string.h>

static void call_init(struct rpc_call *call, struct arena arena)
{
    *call = (struct rpc_call){.arena = arena, .final_message = grpc_empty_slice()};
    arena_init(&call->inbox, arena.limit);
    grpc_metadata_array_init(&call->headers);
    grpc_metadata_array_init(&call->final_headers);
    grpc_call_details_init(&call->details);
}

struct rpc_call *call_new(size_t arena_limit)
{
    struct rpc_call *call = xmalloc(sizeof *call);
    struct arena arena;

    arena_init(&arena, arena_limit);
    call_init(call, arena);
    return call;
}

/* Runs the steps that are left. */
static void close_queue(grpc_completion_queue *queue)
{
    grpc_completion_queue_shutdown(queue);
    while (queue_step(queue, CLOCK_NEVER))
        ;
    grpc_completion_queue_destroy(queue);
}

/* Gives back all that is gRPC's. */
static void call_leave(struct rpc_call *call)
{
    call->finished = true; /* the steps still to run must not touch the call */
    if (call->call)
        grpc_call_unref(call->call);
    if (call->queue)
        close_queue(call->queue);
    if (call->incoming)
        grpc_byte_buffer_destroy(call->incoming);
    if (call->payload)
        grpc_byte_buffer_destroy(call->payload);
    grpc_metadata_array_destroy(&call->headers);
    grpc_metadata_array_destroy(&call->final_headers);
    grpc_call_details_destroy(&call->details);
    grpc_slice_unref(call->final_message);
    gpr_free(call->peer);
}

void call_reset(struct rpc_call *call)
{
    call_leave(call);
    arena_fini(&call->inbox);
    arena_reset(&call->arena);
    call_init(call, call->arena);
}

void call_fini(struct rpc_call *call)
{
    call_leave(call);
    arena_fini(&call->arena);
    arena_fini(&call->inbox);
}

void call_free(struct rpc_call *call)
{
    if (!call)
        return;
    call_fini(call);
    free(call);
}

gpr_timespec time_to_grpc(int64_t t)
{
    if (t == CLOCK_NEVER)
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    if (t <= 0)
        return gpr_inf_past(GPR_CLOCK_MONOTONIC);
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(t - clock_now(), GPR_TIMESPAN));
}

int64_t time_from_grpc(gpr_timespec t)
{
    gpr_timespec left;

    if (gpr_time_cmp(t, gpr_inf_future(t.clock_type)) == 0)
        return CLOCK_NEVER;
    left = gpr_time_sub(t, gpr_now(t.clock_type));
    if (left.tv_sec > 100 * 365 * 86400LL)
        return CLOCK_NEVER;
    return clock_now() + left.tv_sec * CLOCK_SECOND + left.tv_nsec;
}

bool call_batch(struct rpc_call *call, struct tag *tag, void (*done)(struct rpc_call *call, bool ok),
                const grpc_op *ops, size_t n)
{
    grpc_call *core = call->call; /* read before the call is given away, here and wherever a tag is */

    *tag = (struct tag){done, call};
    TAG_GIVEN(tag);
    grpc_call_error e = grpc_call_start_batch(core, ops, n, tag, NULL);
    if (e != GRPC_CALL_OK)
        log_error("rpc_batch_refused", log_s("why", grpc_call_error_to_string(e)));
    return e == GRPC_CALL_OK;
}

bool queue_step(grpc_completion_queue *queue, int64_t until)
{
    grpc_event ev = grpc_completion_queue_next(queue, time_to_grpc(until), NULL);
    struct tag *tag = ev.tag;

    if (ev.type != GRPC_OP_COMPLETE)
        return false;
    TAG_TAKEN(tag);
    tag->done(tag->call, ev.success);
    return true;
}

char *slice_text(struct arena *arena, grpc_slice slice)
{
    size_t size = GRPC_SLICE_LENGTH(slice);
    char *text = arena_alloc(arena, size + 1);

    if (text) {
        memcpy(text, GRPC_SLICE_START_PTR(slice), size);
        text[size] = '\0';
    }
    return text;
}

void step_ignore(struct rpc_call *call, bool ok)
{
    (void)call;
    (void)ok;
}

/* ---- what every handler may ask ---- */

struct arena *rpc_arena(struct rpc_call *call)
{
    return &call->arena;
}

int64_t rpc_deadline(const struct rpc_call *call)
{
    return call->deadline;
}

const char *rpc_peer(struct rpc_call *call)
{
    if (!call->peer)
        call->peer = grpc_call_get_peer(call->call);
    return call->peer ? call->peer : "";
}

/* ---- streams ---- */

/* On a server a lost stream, too, gives "no message": only the call knows which it was. */
static void step_received(struct rpc_call *call, bool ok)
{
    call->receiving = false;
    call->incoming = call->landing;
    call->landing = NULL;
    if (ok && call->incoming)
        return;
    if (call->incoming)
        grpc_byte_buffer_destroy(call->incoming);
    call->incoming = NULL;
    if (!call->client && !call->finished && (!ok || grpc_call_failed_before_recv_message(call->call)))
        call->over = true;
    call->ended = true;
}

static void step_sent(struct rpc_call *call, bool ok)
{
    (void)ok; /* a failure is followed by the end of the call */
    call->sending = false;
}

static void step_woken(struct rpc_call *call, bool ok)
{
    (void)ok;
    atomic_exchange(&call->wake_posted, false);
    call->wake = true;
}

void rpc_wake(struct rpc_call *call)
{
    if (atomic_exchange(&call->wake_posted, true))
        return;
    if (!call_batch(call, &call->woken, step_woken, NULL, 0))
        atomic_store(&call->wake_posted, false);
}

static bool is_over(struct rpc_call *call)
{
    return call->over || call->finished || call->failure.code || atomic_load(&call->draining);
}

/* Asks for the next message while the last one is looked at: one ahead, which is all the buffering there is. */
void call_receive(struct rpc_call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->landing};

    if (!call->peer_streams || call->receiving || call->incoming || call->ended || call->finished)
        return;
    call->receiving = true;
    if (!call_batch(call, &call->received, step_received, &op, 1)) {
        call->receiving = false;
        call->over = true;
    }
}

static struct status check_size(struct rpc_call *call, size_t size)
{
    if (size > call->max_message)
        return status_errorf(ST_EXHAUSTED, "message of %zu bytes: at most %zu are taken", size, call->max_message);
    if (call->max_total && call->bytes_in > call->max_total)
        return status_errorf(ST_EXHAUSTED, "stream of more than %zu bytes", call->max_total);
    return status_ok();
}

/* Unpacks the message that is there; false: it is refused, and the call with it. */
static bool take(struct rpc_call *call, const void **in)
{
    size_t size = grpc_byte_buffer_length(call->incoming);

    call->bytes_in += size;
    call->failure = check_size(call, size);
    if (!call->failure.code)
        call->failure = message_unpack(in, call->receives, call->incoming, &call->inbox);
    grpc_byte_buffer_destroy(call->incoming);
    call->incoming = NULL;
    if (call->failure.code && call->client)
        rpc_cancel(call);
    else
        call_receive(call);
    return !call->failure.code;
}

/* What has come already, without waiting; RPC_TIMEOUT: nothing. in NULL: no messages. A client reads what came before the end; for a
 * server the end of the call makes the rest pointless. */
static enum rpc_event ready(struct rpc_call *call, const void **in)
{
    if (!call->client && is_over(call))
        return RPC_CANCELLED;
    if (call->wake) {
        call->wake = false;
        return RPC_WOKEN;
    }
    if (!in)
        return is_over(call) ? RPC_CANCELLED : RPC_TIMEOUT;
    if (call->incoming && !call->failure.code)
        return take(call, in) ? RPC_MESSAGE : RPC_CANCELLED;
    if ((call->ended || (call->client && call->finished)) && !call->end_told) {
        call->end_told = true;
        return RPC_HALF_CLOSED;
    }
    return is_over(call) ? RPC_CANCELLED : RPC_TIMEOUT;
}

enum rpc_event rpc_wait(struct rpc_call *call, const void **in, int64_t until)
{
    enum rpc_event event;

    if (in)
        *in = NULL;
    arena_reset(&call->inbox);
    while ((event = ready(call, in)) == RPC_TIMEOUT) {
        if (in)
            call_receive(call);
        if (!queue_step(call->queue, until))
            break;
    }
    return event;
}

struct status rpc_recv(struct rpc_call *call, const void **in)
{
    bool wake = false;
    enum rpc_event event = RPC_HALF_CLOSED;

    *in = NULL;
    if (!call->end_told)
        while ((event = rpc_wait(call, in, CLOCK_NEVER)) == RPC_WOKEN)
            wake = true;
    call->wake = call->wake || wake; /* told by the next rpc_wait() */
    if (event == RPC_MESSAGE || event == RPC_HALF_CLOSED)
        return status_ok();
    if (call->failure.code)
        return call->failure;
    return call->client ? status_ok() : status_errorf(ST_CANCELLED, "the call is over");
}

/* A stream learns it from its queue, which only this thread drives. */
bool rpc_cancelled(struct rpc_call *call)
{
    if (call->queue)
        while (queue_step(call->queue, 0))
            ;
    return is_over(call) || atomic_load(&call->cancelled) || clock_now() >= call->deadline;
}

void call_flush(struct rpc_call *call)
{
    while (call->sending && queue_step(call->queue, CLOCK_NEVER))
        ;
}

struct status rpc_send(struct rpc_call *call, const void *message)
{
    const ProtobufCMessage *m = message;
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
    grpc_byte_buffer *packed;

    assert(m->descriptor == call->sends);
    while (call->sending && !is_over(call) && queue_step(call->queue, CLOCK_NEVER))
        ;
    if (is_over(call))
        return status_errorf(ST_CANCELLED, "the call is over");
    struct status st = message_pack(&packed, m);
    if (st.code)
        return st;
    call->bytes_out += grpc_byte_buffer_length(packed);
    call->n_sent++;
    op.data.send_message.send_message = packed;
    call->sending = true;
    if (!call_batch(call, &call->sent, step_sent, &op, 1)) {
        call->sending = false;
        st = status_errorf(ST_INTERNAL, "cannot send");
    }
    grpc_byte_buffer_destroy(packed);
    return st;
}
