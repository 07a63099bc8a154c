/* testing.h - for this folder's tests and benchmark: a server on any free port whose handlers stand behind the real
 * protos, and what the tests say over and over. Helpers die on failure. */
#ifndef RPC_TESTING_H
#define RPC_TESTING_H

#include "rpc/rpc.h"

#include "bloginfer/v1/classify.pb-c.h"
#include "bloginfer/v1/detect.pb-c.h"
#include "bloginfer/v1/federation.pb-c.h"
#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"

#include <stdatomic.h>

#define CLASSIFY   (&bloginfer__v1__classify_service__descriptor)
#define DETECT     (&bloginfer__v1__detect_service__descriptor)
#define FEDERATION (&bloginfer__v1__federation_service__descriptor)
#define HEALTH     (&grpc__health__v1__health__descriptor)

/* Classify with this task: answers each text with itself as its label ("echo"), fails ("fail"), waits until the gate
 * is opened or the call is over ("gate"), calls `next` ("forward"), tells what it sees of the call in the labels:
 * peer, identity, header "x-test" ("call").
 * Detect: up to 64 KiB; answers with the size as image_width.
 * Submit: adds up the chunks; the answer's reason is their size. Control: answers each heartbeat with a wait
 * directive, and rpc_wake() (by testing_wake()) with an evaluate directive. Fetch: 100 messages of 64 KiB.
 * WatchRun: endless; a progress message a wake-up. */
struct testing {
    struct rpc_server *server;
    int port;
    char target[64];
    _Atomic(struct rpc_client *) next;
    atomic_int n_classify, n_cancelled, n_broken; /* handlers begun; that saw the end of their call; Submit: cut */
    atomic_int n_streams;                         /* stream handlers running */
    pthread_mutex_t mu;                           /* guards all below */
    bool open;
    struct rpc_call *control; /* the Control or WatchRun that runs now */
};

/* The config's listen, port (0) and drain_ms (2000) have these defaults when they are zero. */
void testing_start(struct testing *t, const struct rpc_server_config *config);
void testing_stop(struct testing *t);
void testing_open_gate(struct testing *t);
void testing_wake(struct testing *t);
struct rpc_client *testing_client(const char *target);

/* Waits up to 20 s until *value is at least want. */
void testing_await(atomic_int *value, int want);

/* Classify's one label for the task and text; *st is the call's status, the label "" when it is not OK. */
const char *testing_classify(struct rpc_client *c, const char *task, const char *text, struct rpc_options options,
                             struct status *st);

#endif
