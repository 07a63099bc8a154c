/* stream.c - answers that go on, see http.h. Such a handler keeps its connection's thread, which is there anyway, and gives
 * its turn in the pool back. The body is chunked, so that its reader can tell the end from a break. */
#include "http/server.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define CHUNK_MAX ((size_t)1 << 20) /* bytes of one write */

/* Counts it; false: as many as there may be are open. */
static bool enter(struct http_server *s)
{
    if (atomic_fetch_add(&s->n_streams, 1) < s->config.streams)
        return true;
    atomic_fetch_sub(&s->n_streams, 1);
    return false;
}

/* Writes size bytes within the time for them. */
static bool put(struct http_call *call, const char *data, size_t size)
{
    struct mg_connection *conn = (struct mg_connection *)call->conn;
    int n;

    guard_limit(call->guarded, http_transfer_deadline(call->server, size));
    n = mg_write(conn, data, size);
    guard_limit(call->guarded, CLOCK_NEVER);
    if (n == (int)size)
        return true;
    call->stream = HTTP_STREAM_BROKEN;
    return false;
}

bool http_stream_begin(struct http_call *call, const char *content_type)
{
    struct http_server *s = call->server;
    struct buf head = BUF_INIT((size_t)32 << 10);

    assert(call->match.route->light && !call->answered);
    if (atomic_load(&s->draining)) {
        http_reply_error(call, 503, "this server is stopping", "UNAVAILABLE");
        return false;
    }
    if (!strcmp(call->method, "HEAD")) {
        http_reply(call, 200, content_type, NULL, 0);
        return false;
    }
    if (!enter(s)) {
        http_reply_error(call, 503, "too many streams are open, try again", "RESOURCE_EXHAUSTED");
        return false;
    }
    call->answered = true;
    call->code = 200;
    call->stream = HTTP_STREAM_OPEN;
    call->stream_began = clock_now();
    http_set_header(call, "Content-Type", content_type);
    if (!call->http_1_0)
        http_set_header(call, "Transfer-Encoding", "chunked");
    pool_leave(s->pool, call);
    guard_patience(call->guarded, s->config.timeout_ms);
    http_add_head(&head, s, call, -1, "close");
    put(call, head.data, head.size);
    buf_fini(&head);
    return true;
}

bool http_stream_open(struct http_call *call)
{
    if (call->stream != HTTP_STREAM_OPEN || atomic_load(&call->server->draining))
        return false;
    if (!guard_gone(call->guarded))
        return true;
    call->stream = HTTP_STREAM_BROKEN;
    return false;
}

bool http_stream_write(struct http_call *call, const void *data, size_t size)
{
    struct buf chunk = BUF_INIT(CHUNK_MAX + 32);
    bool sent;

    if (call->stream != HTTP_STREAM_OPEN || atomic_load(&call->server->draining) || !size)
        return call->stream == HTTP_STREAM_OPEN && !size;
    if (!call->http_1_0)
        buf_printf(&chunk, "%zx\r\n", size);
    buf_add(&chunk, data, size);
    if (!call->http_1_0)
        buf_puts(&chunk, "\r\n");
    sent = !chunk.full && put(call, chunk.data, chunk.size);
    if (chunk.full) /* the reader must not take what is left out for the whole */
        call->stream = HTTP_STREAM_BROKEN;
    call->size += sent ? size : 0;
    buf_fini(&chunk);
    return sent;
}

void http_stream_finish(struct http_call *call)
{
    if (call->stream == HTTP_STREAM_OPEN && !call->http_1_0)
        put(call, "0\r\n\r\n", 5);
    atomic_fetch_sub(&call->server->n_streams, 1);
}
