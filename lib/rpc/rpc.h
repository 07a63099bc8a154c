/* rpc.h - gRPC services and clients in C, on gRPC's C core and protobuf-c. The only library that includes gRPC.
 *
 * A service is one table and one function a method; nobody outside this folder touches a completion queue:
 *
 *     static struct status classify(struct rpc_call *call, const void *in, void *out)        // unary
 *     {
 *         const Bloginfer__V1__ClassifyRequest *req = in;
 *         Bloginfer__V1__ClassifyResponse *rep = out;        // initialised; fill it from rpc_arena(call)
 *         ...
 *         return status_ok();
 *     }
 *     static struct status watch(struct rpc_call *call, const void *in)                      // streaming
 *     {
 *         while (...)
 *             if ((st = rpc_send(call, &event)).code) return st;
 *         return status_ok();
 *     }
 *     static void detect(struct rpc_call *call, const void *in, void *out)               // unary, answered later
 *     {
 *         queue_add(rpc_service(call), call, in, out);       // whose thread fills out and calls rpc_answer(call, st)
 *     }
 *     static const struct rpc_method methods[] = {
 *         RPC_UNARY("Classify", classify, .max_request = 1 << 20),
 *         RPC_DEFERRED("Detect", detect),
 *         RPC_STREAM("Watch", watch),
 *     };
 *     rpc_server_add(server, &bloginfer__v1__classify_service__descriptor, methods, COUNT_OF(methods), service);
 *
 * Every server also serves grpc.health.v1.Health (Check, Watch, List), grpc.reflection.v1 and .v1alpha from the
 * descriptor set that the build embeds, counts into bloginfer_rpc_server_* (calls, codes, latency, in flight, queued,
 * bytes) and bloginfer_rpc_client_calls_total, and logs every failed call as a line (every call at the debug level).
 *
 * Threads: pollers inside the library (one for two CPUs, at most 4) and one thread for the input of all clients; unary
 * handlers run on `workers` threads behind a queue of bounded length and bytes (full: RESOURCE_EXHAUSTED at once); a streaming handler has
 * a thread of its own, at most max_streams at once. A deferred handler holds no thread while its answer is pending.
 * Messages are protobuf-c structs; everything of a call lives in its arena, capped, and goes with it. */
#ifndef RPC_RPC_H
#define RPC_RPC_H

#include "base/base.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

/* First and last in main(), around everything below. rpc_init() also sets malloc's thresholds (see rpc.c). */
void rpc_init(void);
void rpc_fini(void);

/* ---- a call, seen from a handler (server) or from its opener (client stream) ---- */

struct rpc_call;

void *rpc_service(const struct rpc_call *call); /* the last argument of rpc_server_add() */
struct arena *rpc_arena(struct rpc_call *call);
int64_t rpc_deadline(const struct rpc_call *call); /* clock_now() scale; CLOCK_NEVER: none */
const char *rpc_peer(struct rpc_call *call);       /* "ipv4:127.0.0.1:40000" */

/* The peer is gone, the deadline is over, or the server stops and will not wait longer. Unary: any thread, cheap
 * enough for an inner loop. Streams: only the handler's thread. */
bool rpc_cancelled(struct rpc_call *call);

/* The verified subject alternative name (else common name) of the peer's certificate; NULL without mTLS. */
const char *rpc_identity(struct rpc_call *call);

/* Server: a text header of the request, by its lower-case key; NULL: absent. */
const char *rpc_metadata(struct rpc_call *call, const char *key);

/* Server: adds a trailer to the answer, whatever its status will be; at most RPC_MAX_TRAILERS, the key in lower
 * case, the value printable ASCII; others are dropped. Both are copied. Every answer carries RPC_SERVED_BY. */
void rpc_set_trailer(struct rpc_call *call, const char *key, const char *value);
#define RPC_MAX_TRAILERS 8
#define RPC_SERVED_BY    "x-served-by" /* the host name of the server */

enum rpc_event {
    RPC_MESSAGE,     /* *in is the message; lives until the next rpc_wait()/rpc_recv() of this call */
    RPC_HALF_CLOSED, /* once: the peer sends no more (client: the call is over, see rpc_stream_finish()) */
    RPC_WOKEN,       /* rpc_wake() was called */
    RPC_TIMEOUT,     /* nothing happened until then */
    RPC_CANCELLED,   /* the call is over: return from the handler */
};

/* Streams: sleeps until one of the events, at most until the deadline (clock_now() scale, CLOCK_NEVER: for ever).
 * A message that does not parse or is over its limit ends the call: RPC_CANCELLED, and the handler's status is
 * replaced by the fitting one. in NULL: takes no message and no end of them; they stay for later, and the peer is held
 * back meanwhile. Only the handler's (opener's) thread. */
enum rpc_event rpc_wait(struct rpc_call *call, const void **in, int64_t until);

/* Any thread: makes a present or the next rpc_wait() return RPC_WOKEN. Calls before it is seen fold into one.
 * The caller makes sure that the call still lives: it is over when the handler has returned. */
void rpc_wake(struct rpc_call *call);

/* Streams: the next message, or *in = NULL at the end of the peer's messages (client: however the call ended, see
 * rpc_stream_finish()). ST_CANCELLED when the call is over: a server never sees a broken stream as its end. */
struct status rpc_recv(struct rpc_call *call, const void **in);

/* Streams: sends one message (copied before it returns); waits for flow control, with at most one message in
 * flight. ST_CANCELLED when the call is over. A method that answers with a single message to a client's stream
 * sends it so, once, before it returns OK. */
struct status rpc_send(struct rpc_call *call, const void *message);

/* ---- server ---- */

typedef struct status rpc_unary_fn(struct rpc_call *call, const void *in, void *out);
typedef struct status rpc_stream_fn(struct rpc_call *call, const void *in); /* in: NULL when the client streams */

/* A unary handler that may return before the answer is known. rpc_answer() has to be called exactly once, from any
 * thread, from inside of the handler too; until then call, in, out and the arena live and belong to whoever will answer
 * (one thread at a time, but for rpc_cancelled()). A call that is cancelled or over its deadline is still to be
 * answered; rpc_server_stop() waits for that like for a running handler. */
typedef void rpc_deferred_fn(struct rpc_call *call, const void *in, void *out);

/* Answers a deferred call: with out when st is OK, else with the status. The call is gone when this returns. Cheap:
 * packs the answer and gives it to gRPC. */
void rpc_answer(struct rpc_call *call, struct status st);

struct rpc_method {
    const char *name;    /* as in the proto; the table has to hold every method of the service */
    rpc_unary_fn *unary; /* exactly one of the three; must agree with the proto's `stream` words */
    rpc_stream_fn *stream;
    rpc_deferred_fn *deferred;
    size_t max_request; /* bytes of one message; 0: 4 MiB */
    size_t max_total;   /* bytes of all messages of a stream; 0: no limit */
    size_t arena_limit; /* 0: 8 * max_request, at least 64 KiB */
    int max_streams;    /* calls of a streaming method at once; 0: 64 */
    bool on_poller;     /* unary, deferred: runs on a poller. Only for handlers that never block or compute */
    size_t poller_max;  /* on_poller: for requests up to so many bytes, larger ones run on a worker; 0: for all */
    bool endless;       /* stream that ends only by its client (a watch): over as soon as the server drains,
                                 * UNAVAILABLE for the client; others get drain_ms to finish */
};
#define RPC_UNARY(n, fn, ...)                                                                                          \
    {                                                                                                                  \
        .name = (n), .unary = (fn), ##__VA_ARGS__                                                                      \
    }
#define RPC_DEFERRED(n, fn, ...)                                                                                       \
    {                                                                                                                  \
        .name = (n), .deferred = (fn), ##__VA_ARGS__                                                                   \
    }
#define RPC_STREAM(n, fn, ...)                                                                                         \
    {                                                                                                                  \
        .name = (n), .stream = (fn), ##__VA_ARGS__                                                                     \
    }

/* Work that a poller does between calls, where a thread of its own would only take the CPU from it: what the calls that
 * have come in together asked for, all at once, and answered without a change of threads. Any poller calls both. */
struct rpc_work {
    /* When run() is due: CLOCK_NEVER: not before something has happened to a call; a time (clock_now() scale, any past one
     * will do): then, and not before all calls that have come are taken; RPC_WORK_NOW: at once. */
    int64_t (*due)(void *ctx);
    void (*run)(void *ctx); /* calls wait meanwhile: a few milliseconds at most */
    void *ctx;
};
#define RPC_WORK_NOW INT64_MIN

struct rpc_server_config {
    char *listen;                 /* addresses separated by commas */
    int64_t port;                 /* 0: any free one, see rpc_server_port() */
    int64_t workers;              /* threads for unary handlers; 0: one for each CPU, at least 2 */
    int64_t queue;                /* unary calls that wait for a worker */
    char *tls_cert, *tls_key;     /* PEM files; both or none */
    char *tls_ca;                 /* PEM file: clients must show a certificate that it signed */
    int64_t max_connection_age_s; /* 0: for ever */
    int64_t drain_wait_ms;        /* rpc_server_stop(): still takes calls that long after health is NOT_SERVING */
    int64_t drain_ms;             /* and then lets the running ones finish that long */
    struct rpc_work work;         /* zero: none; not an option */
};

/* The config table of the above: {rpc_server_options, rpc_server_n_options, &settings.rpc} is a config_part.
 * preset_port goes into the program's own table: the option "port" is not in this one. */
extern const struct config_option rpc_server_options[];
extern const size_t rpc_server_n_options;

struct rpc_server;

struct status rpc_server_new(struct rpc_server **out, const struct rpc_server_config *config);

/* methods, descriptor: borrowed for the server's life. ST_INVALID when the table and the proto disagree. */
struct status rpc_server_add(struct rpc_server *s, const ProtobufCServiceDescriptor *descriptor,
                             const struct rpc_method *methods, size_t n_methods, void *service);

/* Binds and serves. ST_UNAVAILABLE names the port when it is taken. Every service starts SERVING. */
struct status rpc_server_start(struct rpc_server *s);
int rpc_server_port(const struct rpc_server *s);

/* grpc.health.v1: the status of one service ("" is the whole server). Any thread. */
void rpc_server_set_serving(struct rpc_server *s, const char *service, bool serving);

/* Health goes NOT_SERVING, drain_wait_ms later watches and endless streams end and no new calls are taken, running
 * ones get drain_ms, then are cancelled. Waits for every handler, joins all threads, frees. NULL is fine. */
void rpc_server_stop(struct rpc_server *s);

/* ---- client ---- */

struct rpc_client_config {
    const char *target; /* "127.0.0.1:50051", "dns:///inference.bloginfer.svc:50052" (round_robin over all) */
    const char *tls_ca; /* PEM file: TLS on; NULL or "": plaintext */
    const char *tls_cert, *tls_key; /* for mTLS */
    size_t max_message;             /* received; 0: 4 MiB */
};

struct rpc_client;

/* Connects lazily, and reconnects with back-off of 0.1 to 2 s. Thread-safe. */
struct status rpc_client_new(struct rpc_client **out, const struct rpc_client_config *config);
void rpc_client_free(struct rpc_client *c);

struct rpc_trailer {
    const char *key;   /* such as RPC_SERVED_BY */
    const char *value; /* filled in, also when the call fails; NULL: absent */
};

/* What a call carries besides its message; a zeroed one is fine. */
struct rpc_options {
    int64_t timeout_ms;           /* 0: 5 s; negative: none (streams only) */
    struct rpc_call *parent;      /* a server call: its deadline and cancellation are inherited */
    int retries;                  /* for idempotent unary calls: tries after UNAVAILABLE, within the deadline */
    bool wait_for_ready;          /* waits for a connection until the deadline instead of failing at once */
    const char *const *metadata;  /* key, value, key, value, ..., NULL; borrowed for the call */
    struct arena *arena;          /* where the reply is unpacked; required for unary calls */
    struct rpc_trailer *trailers; /* unary: those wanted of the answer, into the arena */
    size_t n_trailers;

    /* Unary, NULL: none. Asked while the answer is awaited, at first after RPC_ABANDONED_MS and then as often, in a long
     * wait up to twenty times more seldom: true when nobody wants the answer any more, which cancels the call:
     * ST_CANCELLED. On the caller's thread. */
    bool (*abandoned)(void *ctx);
    void *abandoned_ctx;
};
#define RPC_ABANDONED_MS 50

/* method is "Classify". *out lives in options->arena. ST_UNIMPLEMENTED when the service has no such method. */
struct status rpc_unary(struct rpc_client *c, const ProtobufCServiceDescriptor *service, const char *method,
                        const void *in, const void **out, const struct rpc_options *options);

/* A message as it goes over the wire: for callers that give back what it was made of before a long wait, or send it
 * more than once. Only read by calls. */
struct rpc_message;
struct status rpc_message_new(struct rpc_message **out, const void *in); /* ST_INTERNAL: a string of it is not UTF-8 */
size_t rpc_message_size(const struct rpc_message *m);
void rpc_message_free(struct rpc_message *m); /* NULL is fine */

/* As rpc_unary(). */
struct status rpc_unary_message(struct rpc_client *c, const ProtobufCServiceDescriptor *service, const char *method,
                                struct rpc_message *in, const void **out, const struct rpc_options *options);

/* Opens a stream; the returned call takes rpc_send(), rpc_recv(), rpc_wait(), rpc_wake() and rpc_cancel(). */
struct status rpc_stream_open(struct rpc_call **out, struct rpc_client *c, const ProtobufCServiceDescriptor *service,
                              const char *method, const struct rpc_options *options);
struct status rpc_send_done(struct rpc_call *call); /* half-close */
void rpc_cancel(struct rpc_call *call);             /* any thread while the call lives */

/* Waits for the final status (after rpc_cancel(), at once), frees the call. */
struct status rpc_stream_finish(struct rpc_call *call);

#endif
