/* call.h - one request between civetweb's thread, which reads it and writes the answer, and a handler's thread, which
 * fills the answer in; and the queue before the handlers. Private to lib/http. */
#ifndef HTTP_CALL_H
#define HTTP_CALL_H

#include "http/route.h"

#include <pthread.h>
#include <semaphore.h>

#define CALL_ID_SIZE 65

enum http_stream_state {
    HTTP_STREAM_NONE, /* the answer is a whole */
    HTTP_STREAM_OPEN,
    HTTP_STREAM_BROKEN, /* its reader has gone, or must not take it for complete */
};

struct http_call {
    struct http_server *server;
    void *service;
    const void *conn;        /* civetweb's; http_header() alone looks into it */
    struct guarded *guarded; /* the connection, to its guard */
    const char *method;      /* "" while it is not known */
    char *path;              /* decoded; "" while it is not known */
    const char *query;       /* raw, NULL: none */
    const char *remote;
    char id[CALL_ID_SIZE];
    struct route_match match;
    char *body; /* NUL-terminated, NULL: none */
    size_t body_size;
    size_t reserved; /* of the server's budget of bodies */
    struct budget *bodies;
    struct arena arena;
    int64_t received;

    /* the answer */
    bool plain_errors;
    bool http_1_0; /* the request is: no chunks */
    bool answered;
    int code;
    struct buf headers; /* "Name: value\r\n" ... */
    char *data;
    size_t size;
    enum http_stream_state stream;
    int64_t stream_began;

    bool left;              /* the handler runs on without a turn, see pool_leave() */
    int64_t began;          /* the handler */
    struct http_call *next; /* in a queue of the pool */
    sem_t turn;             /* the handler may run here (a light one), or has run */
};

void http_call_init(struct http_call *call, size_t arena_limit);
void http_call_fini(struct http_call *call);

/* Takes the caller's id when it is a valid one, else makes one. */
void http_call_set_id(struct http_call *call, const char *wanted);

/* Whether the answer has this header already; the name as it was set. */
bool http_call_has_header(const struct http_call *call, const char *name);

/* "name: value", as a line of its own. */
void http_call_add_header(struct buf *out, const char *name, const char *value);

/* Runs the handler and makes sure that there is an answer. */
void http_call_run(struct http_call *call);

/* The answer of a status: error JSON with the fitting code. */
void http_call_fail(struct http_call *call, const struct status *st);

/* ---- turns and threads for handlers ---- */

struct pool;

/* At most n_running at once. n_threads: for those that are not light, 0: there are none, else n_running. max_wait_ms: of
 * the wait for a turn, as it is to be expected; 0: any. */
struct pool *pool_new(size_t n_running, size_t n_threads, size_t queue, int64_t max_wait_ms);

/* Runs the call, on one of the threads or (a light one) here, and returns when it is done; false at once when the
 * queue is full or its turn would come too late. */
bool pool_run(struct pool *p, struct http_call *call);

/* From inside of a light handler: gives its turn to the next, and runs on. */
void pool_leave(struct pool *p, struct http_call *call);

/* No pool_run() may be under way. */
void pool_free(struct pool *p);

#endif
