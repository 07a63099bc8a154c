/* call.h - struct rpc_call, for this folder alone: one call of a server or one stream of a client.
 *
 * A completion-queue tag is the call with its next step as a function. Unary calls (and health's watches) live on
 * the server's queue, where any poller may run a step, and go when their last reference does: one for the owner
 * and one for each batch under way, or for the list of those whose end is not watched yet. A stream has a queue of its own that only the handler's (opener's) thread
 * drives, so its steps need no lock; rpc_wake() reaches it by posting an empty batch. */
#ifndef RPC_CALL_H
#define RPC_CALL_H

#include "rpc/rpc.h"

#include <grpc/grpc.h>
#include <stdatomic.h>

#define RPC_METADATA_LIMIT (32 << 10) /* bytes of headers that both sides take; over it a connection would go */

struct method;

struct tag {
    void (*done)(struct rpc_call *call, bool ok);
    struct rpc_call *call;
};

/* Whether a server learns that a call is over before it has answered it. A call that a poller answers before it sleeps
 * cannot use that, and asks for it together with its answer instead: one batch less. */
enum watching {
    WATCHED,
    UNWATCHED, /* in its poller's list, see serve_watch() */
    ANSWERED_UNWATCHED,
};

struct trailer {
    char *key, *value;
};

struct rpc_call {
    grpc_call *call;
    grpc_completion_queue *queue; /* a stream's own */
    const ProtobufCMessageDescriptor *sends, *receives;
    size_t max_message, max_total;
    struct arena arena;         /* until the end of the call */
    struct arena inbox;         /* streams: the message that the last rpc_wait() gave */
    int64_t started, deadline;  /* clock_now() scale */
    char *peer;                 /* gpr_free() */
    size_t bytes_in, bytes_out; /* of messages */

    /* server */
    struct rpc_server *server;
    struct method *method; /* NULL: one that the server does not have */
    grpc_metadata_array headers;
    grpc_byte_buffer *payload;  /* the request, when it came with the call */
    gpr_timespec call_deadline; /* as gRPC gave it */
    grpc_call_details details;  /* calls of unknown methods only */
    int cancelled_flag;         /* gRPC writes it before the `closed` step */
    atomic_bool cancelled;
    atomic_int refs, watch; /* watch: enum watching */
    struct tag arrived, closed, answered;
    struct trailer trailers[RPC_MAX_TRAILERS];
    size_t n_trailers;
    bool headers_sent;
    ProtobufCMessage *reply; /* unary: what the handler fills */
    void *state;             /* health's watch */
    void (*on_closed)(struct rpc_call *call);
    struct rpc_call *prev, *next; /* streams: in the server's list; next: in a poller's list, too */
    pthread_t thread;
    struct status refused; /* a stream over its limit: answered by this, without its handler */

    /* streams of both sides; touched only by the handler's (opener's) thread, but for the atomics */
    struct tag received, sent, woken, ignored, halved;
    grpc_byte_buffer *landing; /* gRPC writes it some time before the `received` step */
    grpc_byte_buffer *incoming;
    bool receiving;       /* a receive is under way */
    bool peer_streams;    /* messages may come */
    bool ended, end_told; /* the peer sends no more; and rpc_wait() has said so */
    bool sending;         /* a send is under way */
    bool over;            /* nothing can be sent or received any more */
    bool finished;        /* the `closed` step has run: the last event */
    bool wake;            /* a wake-up not yet told */
    size_t n_sent;
    atomic_bool wake_posted;
    atomic_bool draining;
    struct status failure; /* what a message was refused for */

    /* client streams */
    bool client, done_sending;
    const char *service_name, *method_name;
    grpc_metadata_array final_headers;
    grpc_status_code final_code;
    grpc_slice final_message;
};

/* The memory of a call; ready for grpc_*_request_call() or grpc_channel_create_call(). */
struct rpc_call *call_new(size_t arena_limit);
void call_reset(struct rpc_call *call); /* as call_new() made it, but for some memory that its arena keeps */
void call_fini(struct rpc_call *call);  /* all but the struct itself */
void call_free(struct rpc_call *call);  /* NULL is fine */

/* Starts a batch whose end runs `done`. False when gRPC refuses it: then nothing will end. */
bool call_batch(struct rpc_call *call, struct tag *tag, void (*done)(struct rpc_call *call, bool ok),
                const grpc_op *ops, size_t n);

/* Takes one event of the queue and runs its step; false: none until then, or the queue is shut down. */
bool queue_step(grpc_completion_queue *queue, int64_t until);

/* Asks for the next message, where one may come and none is there or under way. */
void call_receive(struct rpc_call *call);

/* Waits for the send under way. */
void call_flush(struct rpc_call *call);

/* Converts between clock_now() and gRPC's clocks. */
gpr_timespec time_to_grpc(int64_t t);
int64_t time_from_grpc(gpr_timespec t);

/* The slice as text in the arena; NULL: no room. */
char *slice_text(struct arena *arena, grpc_slice slice);

void step_ignore(struct rpc_call *call, bool ok);

/* ThreadSanitizer does not see gRPC's own locks: tell it what a tag carries from one thread to another. */
#if defined(__SANITIZE_THREAD__)
#define RPC_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RPC_TSAN 1
#endif
#endif
#ifdef RPC_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define TAG_GIVEN(tag) __tsan_release(tag)
#define TAG_TAKEN(tag) __tsan_acquire(tag)
#else
#define TAG_GIVEN(tag) ((void)(tag))
#define TAG_TAKEN(tag) ((void)(tag))
#endif

#endif
