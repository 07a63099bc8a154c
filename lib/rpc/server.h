/* server.h - the inside of a server, for this folder alone. */
#ifndef RPC_SERVER_H
#define RPC_SERVER_H

#include "rpc/account.h"
#include "rpc/call.h"
#include "rpc/descriptors.h"
#include "rpc/health.h"
#include "rpc/pool.h"

struct method {
    struct rpc_server *server;
    const struct rpc_method *def;
    void *service;
    char *path; /* "/bloginfer.v1.ClassifyService/Classify" */
    struct method_account account;
    const ProtobufCMessageDescriptor *input, *output;
    bool client_streams, server_streams;
    void (*open)(struct rpc_call *call); /* health's watch: no thread, steps on the server's queue */
    void *handle;                        /* gRPC's */
    size_t max_message, arena_limit;
    int max_streams;
    atomic_int n_streams; /* running */

    /* Unary: calls that have ended, for later ones; guarded by the server's mu. */
    struct rpc_call *spare;
    int n_spare;
};

struct rpc_server {
    struct rpc_server_config config; /* with copies of its strings */
    struct descriptors *descriptors;
    struct health *health;
    ProtobufCServiceDescriptor alpha; /* reflection's older name */
    struct vec services;              /* of const ProtobufCServiceDescriptor * */
    struct vec methods;               /* of struct method * */
    struct method_account unknown;    /* calls of other methods */
    grpc_server_credentials *credentials;
    char *host; /* RPC_SERVED_BY */
    int port;

    grpc_server *server;
    grpc_completion_queue *queue;
    pthread_t pollers[4];
    int n_pollers;
    struct pool pool;
    bool started;

    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t changed;
    int n_calls;              /* from arrival until the call is freed */
    bool draining, shut;      /* shut: gRPC has no connection left */
    struct rpc_call *streams; /* running */
    struct rpc_call *ended;   /* whose threads are to be joined */
};

/* rpc_server_add() with a method of the service that is driven by `open` instead of the table. */
struct status server_add(struct rpc_server *s, const ProtobufCServiceDescriptor *d, const struct rpc_method *methods,
                         size_t n_methods, void *service, const char *open_name, void (*open)(struct rpc_call *call));

/* Unary calls and watches: one reference more or less; the last one frees. */
void call_ref(struct rpc_call *call);
void call_unref(struct rpc_call *call);

/* Sends the message (NULL: none), if that went well the status, and ends the call; from any thread, once. */
void call_answer(struct rpc_call *call, struct status st, const ProtobufCMessage *message);

/* Unary calls: makes the request of the payload. */
struct status call_request(struct rpc_call *call, const void **in);

/* Runs a unary call's handler, and answers unless the handler does so itself; on a worker or a poller. */
void call_run(struct rpc_call *call);

/* Asks gRPC for one more call of the method, or of any that is not registered. */
void serve_arm(struct method *m);
void serve_arm_unknown(struct rpc_server *s);

/* Watches for the end of those calls that this poller has begun and that are not answered yet: before it sleeps, and
 * after work, which may have answered them. */
void serve_watch(void);

void serve_end_endless(struct rpc_server *s);

/* Frees the calls that a method keeps; nothing runs any more. */
void serve_free_spare(struct method *m);

/* Joins the threads of the streams that are through. */
void serve_join_streams(struct rpc_server *s);

#endif
