/* server.h - the server as http.c, which takes requests in and answers them, and stream.c, for answers that go on, share
 * it. Private to lib/http. */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include "http/budget.h"
#include "http/call.h"
#include "http/guard.h"

#include <civetweb.h>
#include <netinet/in.h>
#include <stdatomic.h>

struct http_server {
    struct http_config config;
    struct mg_context *mg;
    struct pool *pool;
    struct guard *guard;
    struct budget *bodies;
    struct sockaddr_in address;
    char host[256];
    atomic_bool draining, stopping, stopped;
    _Atomic size_t active;     /* requests between their first look and the end of their answer */
    _Atomic int64_t n_streams; /* answers that go on */
};

/* The status line and the headers; length: of the body, negative: none is told. */
void http_add_head(struct buf *out, const struct http_server *s, const struct http_call *call, int64_t length,
                   const char *connection);

/* When size bytes from or to a peer have to be through: the time limit, and what they take at the least rate. */
int64_t http_transfer_deadline(const struct http_server *s, size_t size);

/* After the handler of a stream: the end of the body, if the handler got there; the connection ends. */
void http_stream_finish(struct http_call *call);

#endif
