/* http.h - an HTTP/1.1 server of routes, on civetweb. The only library that includes civetweb.
 *
 *     static const struct http_route routes[] = {
 *         {"POST", "/predict", predict, 64 << 10},
 *         {"GET", "/models/{task}", models_show, 0},
 *     };
 *
 * A handler runs on one of `threads` threads (a light one on its connection's, counted alike), may block, and either
 * answers and returns OK or returns an error,
 * which becomes {"code": HTTP status, "message": ..., "detail": CODE_NAME} with the HTTP status of http_status();
 * the message of a 500 is logged and not shown. Below http_config.plain_errors a protocol that is not ours says how
 * errors look: {"error": message}. The server itself answers
 *   400  malformed path, length or headers, or over 16 KiB of them    404  unknown routes
 *   405  wrong verbs, with Allow                  408  a body that stops coming
 *   411  a chunked body (its length is not known) 413  a body over the route's limit
 *   417  an Expect but 100-continue               431  over 63 lines of headers
 *   503  with Retry-After: more requests or bodies than `threads`, `queue`, `max_wait_ms` and `max_bodies` take, or
 *        stopping.
 * HEAD is answered wherever GET is. Every answer carries X-Served-By (our host name, or what the handler sets),
 * X-Request-Id (the caller's, when it is 1-64 characters of [A-Za-z0-9_.-], else a new one), X-Content-Type-Options
 * and a Content-Length, is logged as one line and shown to the observer below. A body is read before the handler is
 * called and without occupying its thread, so that slow peers cost a connection and no handler.
 *
 * A connection costs one of civetweb's threads (100 KiB of stack) for as long as it is open. When a further one waits because
 * `connections` are in use, an idle one is closed, and where there is none one ends with its next answer. Where the
 * process may have fewer threads (pids.max, RLIMIT_NPROC) or files (RLIMIT_NOFILE, which is raised as far as it goes),
 * there are fewer connections, and the log says so.
 * IPv4 only and no TLS: Debian's civetweb is built without IPv6, and what stands before this server does TLS. */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include "base/base.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_call; /* one request and its answer; lives until the handler returns */
struct http_server;

typedef struct status http_handler(struct http_call *call);

struct http_route {
    const char *verb; /* "GET", "POST", "PUT", "PATCH", "DELETE" */
    const char *path; /* segments: literal, {name} for one of any text, or at the end * for the rest */
    http_handler *handler;
    size_t max_body; /* bytes; 0: a body is refused */
    bool light;      /* runs on its connection's thread, which is cheaper and has some 64 KiB of stack left: for
                      * handlers that call a backend or answer from memory, and no library that is unknown here */
};

struct http_config {
    const char *listen;              /* IPv4 address, "127.0.0.1" or "0.0.0.0" */
    int64_t port;                    /* 0: any free one, see http_port() */
    int64_t threads;                 /* handlers at once; 0: 4 */
    int64_t queue;                   /* requests that may wait for one; 0: four times as many */
    int64_t max_wait_ms;             /* a request whose turn would come later is refused at once; 0: none is */
    int64_t connections;             /* open at once; 0: 64. Further ones wait in the kernel's queue */
    int64_t streams;                 /* of these, answers that go on; 0: a quarter; at most half of them */
    int64_t timeout_ms;              /* for a silent peer; 0: 10 s. Keep-alive ends after half of it */
    const struct http_route *routes; /* borrowed for the server's life */
    size_t n_routes;
    void *service;      /* http_service(call) */
    size_t arena_limit; /* bytes a handler may take from http_arena(); 0: 4 MiB */
    size_t max_bodies;  /* bytes of all bodies in memory; 0: 256 MiB */

    /* 0: a body that does not fit there any more gets 503. Else it waits so long for its turn, the first first, and is not
     * read until then: TCP holds the peer back. The place is taken for all that a peer announces, so that this is for
     * peers that one trusts. */
    int64_t body_wait_ms;

    bool quiet; /* no access log line for answers below 400 (probes, metrics) */

    const char *plain_errors; /* a path such as "/v2": errors at it and below are {"error": message}; NULL: nowhere */

    /* Called after every answer, on a server thread; NULL: none. route is the pattern, "" for unknown routes;
     * method is "" when the request was not HTTP. */
    void (*observer)(void *ctx, const char *method, const char *route, int http_code, double seconds);
    void *observer_ctx;
};

/* ST_UNAVAILABLE names the address when it is taken. */
struct status http_start(struct http_server **out, const struct http_config *config);
int http_port(const struct http_server *s);

/* From now on every answer ends its connection and streams end, so that clients go elsewhere before http_stop(). */
void http_drain(struct http_server *s);

/* New requests get 503, the running ones and those in the queue finish and are answered, then all threads are
 * joined. NULL is fine. */
void http_stop(struct http_server *s);

/* ---- inside a handler; every returned pointer lives until it returns ---- */

void *http_service(const struct http_call *call);
struct arena *http_arena(struct http_call *call);
const char *http_method(const struct http_call *call);
const char *http_path(const struct http_call *call); /* decoded, without the query */
const char *http_request_id(const struct http_call *call);
const char *http_remote(const struct http_call *call);                   /* the peer's address */
const char *http_header(const struct http_call *call, const char *name); /* NULL: absent; case-insensitive */
const char *http_param(const struct http_call *call, const char *name);  /* {name} or "*" of the route, decoded */

/* A query parameter, decoded, into the call's arena; NULL: absent or not valid UTF-8. */
const char *http_query(struct http_call *call, const char *name);

/* Whether the peer has closed its connection, so that nobody will read the answer. Costs some system calls. */
bool http_abandoned(const struct http_call *call);

/* The whole body, already read and NUL-terminated; "" when there is none. */
const char *http_body(const struct http_call *call, size_t *size);

/* The same, to be changed in place. */
char *http_own_body(struct http_call *call, size_t *size);

/* Gives the memory of the body back before a long wait; http_body() and http_own_body() are over. kept: bytes that the
 * handler has made of it and holds; they count as the body did. */
void http_drop_body(struct http_call *call, size_t kept);

/* Before http_reply(): an extra header of the answer, in place of one of this name. Values with control
 * characters are dropped. */
void http_set_header(struct http_call *call, const char *name, const char *value);

/* Answers, once; a handler that returns OK without it has answered 204. data is copied. */
void http_reply(struct http_call *call, int http_code, const char *content_type, const void *data, size_t size);

/* Answers {"code", "message", "detail"} (below plain_errors {"error"}) where no enum code fits, such as 413. detail may be
 * NULL. 503 and 429 get a Retry-After. */
void http_reply_error(struct http_call *call, int http_code, const char *message, const char *detail);

/* ---- answers that go on, such as text/event-stream: from light routes ----
 *
 *     if (!http_stream_begin(call, "text/event-stream"))
 *         return status_ok();
 *     while (there is more && http_stream_open(call))
 *         http_stream_write(call, event, size);
 *     return status_ok();
 *
 * A stream holds its connection and no turn of `threads`; http_config.streams bounds how many there are. The kernel keeps
 * some 64 KiB for a slow reader; one who does not take a write within the time of an answer of its size is cut off. The
 * connection ends with the stream. A handler that returns an error ends it visibly broken (without its last chunk). The
 * observer hears how long it took to begin. */

/* Sends the headers, with status 200. False: the request has been answered: 503, too many streams or draining; or HEAD. */
bool http_stream_begin(struct http_call *call, const char *content_type);

/* Sends at most 1 MiB; waits while the reader is slow. False: it is over, as http_stream_open() says. */
bool http_stream_write(struct http_call *call, const void *data, size_t size);

/* False: the reader has gone, or the server drains or stops: return soon. Costs a system call; to be asked at least once a
 * second, so that the orderly stop does not wait. */
bool http_stream_open(struct http_call *call);

/* When the request was there, headers and body (clock_now() scale): deadlines count from here. */
int64_t http_received(const struct http_call *call);

/* INVALID, RANGE 400; UNAUTHENTICATED 401; DENIED 403; NOT_FOUND 404; EXISTS, ABORTED 409; PRECONDITION 412;
 * EXHAUSTED 429; CANCELLED 499; UNIMPLEMENTED 501; UNAVAILABLE 503; DEADLINE 504; the others 500. */
int http_status(enum code code);

#endif
