/* http.h - an HTTP/1.1 server of routes, on civetweb. The only library that includes civetweb.
 *
 *     static const struct http_route routes[] = {
 *         {"POST", "/predict", predict, 64 << 10},
 *         {"GET", "/models/{task}", models_show, 0},
 *         {"GET", "/static/*", asset, 0},
 *     };
 *
 * A handler runs on a server thread, may block, and either answers and returns OK or returns an error, which
 * becomes {"code": HTTP status, "message": ..., "detail": CODE_NAME} with the HTTP status of http_status().
 * The server itself answers unknown routes (404), wrong verbs (405 with Allow), bodies over the route's limit
 * (413, without reading them), bodies whose length is not given (411) and requests over its threads (503). HEAD is
 * answered wherever GET is. Every answer carries X-Served-By (host name), X-Request-Id (the caller's, when it is
 * 1-64 characters of [A-Za-z0-9_.-], else a new one), X-Content-Type-Options and a Content-Length, and is logged as
 * one line and counted in bloginfer_http_requests_total{method,route,code} and
 * bloginfer_http_request_duration_seconds{route} through the observer below. */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include "base/base.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_call;    /* one request and its answer; lives until the handler returns */
struct http_server;

typedef struct status http_handler(struct http_call *call);

struct http_route {
    const char *verb;        /* "GET", "POST", "PUT", "PATCH", "DELETE" */
    const char *path;        /* segments: literal, {name} for one segment, or a final * for the rest */
    http_handler *handler;
    size_t max_body;         /* bytes; 0: a body is refused */
};

struct http_config {
    const char *listen;               /* address, "127.0.0.1", "0.0.0.0" or "[::1]" */
    int64_t port;                     /* 0: any free one, see http_port() */
    int64_t threads;                  /* requests at once; further connections wait in a bounded queue */
    int64_t timeout_ms;               /* for a silent peer, in reading and in keep-alive */
    const struct http_route *routes;  /* borrowed for the server's life */
    size_t n_routes;
    void *service;                    /* http_service(call) */
    size_t arena_limit;               /* bytes a handler may take from http_arena(); 0: 4 MiB */
    bool quiet;                       /* no access log line for answers below 400 (probes, metrics) */

    /* Called after every answer, on the server thread; NULL: none. route is the pattern, "" for unknown routes. */
    void (*observer)(void *ctx, const char *method, const char *route, int http_code, double seconds);
    void *observer_ctx;
};

/* ST_UNAVAILABLE names the address when it is taken. */
struct status http_start(struct http_server **out, const struct http_config *config);
int http_port(const struct http_server *s);

/* Stops accepting, waits for the running handlers, frees. NULL is fine. */
void http_stop(struct http_server *s);

/* ---- inside a handler; every returned pointer lives until it returns ---- */

void *http_service(const struct http_call *call);
struct arena *http_arena(struct http_call *call);
const char *http_method(const struct http_call *call);
const char *http_path(const struct http_call *call);                      /* decoded, without the query */
const char *http_request_id(const struct http_call *call);
const char *http_remote(const struct http_call *call);                    /* the peer's address */
const char *http_header(const struct http_call *call, const char *name);  /* NULL: absent; case-insensitive */
const char *http_param(const struct http_call *call, const char *name);   /* {name} or "*" of the route, decoded */

/* A query parameter, decoded, into the call's arena; NULL: absent or not valid UTF-8. */
const char *http_query(struct http_call *call, const char *name);

/* The whole body, already read and NUL-terminated; "" when there is none. */
const char *http_body(const struct http_call *call, size_t *size);

/* Before http_reply(): an extra header of the answer. Values with control characters are dropped. */
void http_set_header(struct http_call *call, const char *name, const char *value);

/* Answers, once. data is copied to the socket before it returns. */
void http_reply(struct http_call *call, int http_code, const char *content_type, const void *data, size_t size);

/* 3->400, 5->404, 6->409, 7->403, 8->429, 16->401, 4->504, 12->501, 14->503, 9->412 ... */
int http_status(enum code code);

#endif
