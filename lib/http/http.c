/* http.c - the server over civetweb 1.15: configuration, reading requests, writing answers, the orderly stop.
 *
 * Of civetweb only the sockets, the threads behind them and the parser of request lines and headers are used; every
 * request is taken in begin_request, so that it never looks at a file, a websocket or a CGI program. What its parser
 * lets through is checked here: it stops reading headers after 64 without saying so, takes "5abc" for a length and
 * the first of two lengths, and would let a peer that drips its body hold a thread for ever (see guard.h). */
#include "base/tasks.h"
#include "http/server.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_HEADERS 64                  /* civetweb's MG_MAX_HEADERS */
#define HEAD_MAX    16384               /* request line and headers, bytes */
#define ONE_WRITE   ((size_t)16 << 10)  /* a body up to this goes out with its headers */
#define DISCARD_MAX ((int64_t)64 << 20) /* of a refused body, so that the peer comes to read the answer */
#define DISCARD_MS  5000
#define MIN_RATE    ((size_t)32)       /* bytes a millisecond, of bodies and answers */
#define FIRST_ROOM  ((size_t)64 << 10) /* of a body, whatever its length says; then as much again as came */
#define DRAIN_MS    25000              /* less than the 30 s that Kubernetes grants */
#define OTHER_TASKS 64                 /* threads of the process that stand behind no connection */
#define OTHER_FILES 128

static _Thread_local char start_error[160]; /* civetweb's reason, on the thread that starts it */

/* ---- reading a request ---- */

/* Refusal without a handler: fills the answer in, and the connection ends after it. */
static bool refuse(struct http_call *call, int code, const char *detail, const char *message)
{
    http_reply_error(call, code, message, detail);
    return false;
}

const char *http_header(const struct http_call *call, const char *name)
{
    return mg_get_header(call->conn, name);
}

bool http_abandoned(const struct http_call *call)
{
    return guard_gone(call->guarded);
}

/* The header's value, NULL when it is absent; *n: how often it is there. */
static const char *count_header(const struct mg_request_info *ri, const char *name, int *n)
{
    const char *value = NULL;

    *n = 0;
    for (int i = 0; i < ri->num_headers; i++)
        if (!strcasecmp(ri->http_headers[i].name, name)) {
            value = ri->http_headers[i].value;
            ++*n;
        }
    return value;
}

/* The length of the body; false when it is not told or not clearly. */
static bool body_length(struct http_call *call, const struct mg_request_info *ri, size_t *length)
{
    int n;
    const char *text;

    *length = 0;
    if (count_header(ri, "Transfer-Encoding", &n))
        return refuse(call, 411, "LENGTH_REQUIRED", "a body needs a Content-Length; chunked ones are not taken");
    text = count_header(ri, "Content-Length", &n);
    if (!text)
        return true;
    if (n > 1 || !*text || text[strspn(text, "0123456789")])
        return refuse(call, 400, "INVALID_ARGUMENT", "Content-Length: it has to be one whole number");
    *length = strlen(text) > 15 ? SIZE_MAX : (size_t)strtoull(text, NULL, 10);
    return true;
}

static bool find_route(struct http_server *s, struct http_call *call, const struct mg_request_info *ri)
{
    struct buf allow = BUF_INIT(256);
    struct status st;
    char *path = arena_alloc(&call->arena, strlen(ri->local_uri_raw) + 1);

    if (!path)
        return refuse(call, 431, "RESOURCE_EXHAUSTED", "the path is too long");
    st = route_path(ri->local_uri_raw, path);
    if (st.code)
        return refuse(call, http_status(st.code), code_name(st.code), st.msg);
    call->path = path;
    if (!route_find(&call->match, s->config.routes, s->config.n_routes, call->method, path, &call->arena))
        return refuse(call, 431, "RESOURCE_EXHAUSTED", "the path is too long");
    if (call->match.route)
        return true;
    if (!call->match.path_known)
        return refuse(call, 404, "NOT_FOUND", "there is nothing at this path");
    route_allow(&allow, s->config.routes, s->config.n_routes, path);
    http_set_header(call, "Allow", allow.data);
    buf_fini(&allow);
    return refuse(call, 405, "METHOD_NOT_ALLOWED", "this path does not take this method, see Allow");
}

int64_t http_transfer_deadline(const struct http_server *s, size_t size)
{
    return clock_after_ms(s->config.timeout_ms + (int64_t)(size / MIN_RATE));
}

static bool reserve(struct http_server *s, struct http_call *call, size_t size)
{
    if (!budget_try(s->bodies, size))
        return refuse(call, 503, "RESOURCE_EXHAUSTED", "too many bodies at once, try again");
    call->reserved += size;
    return true;
}

static bool given_up(void *call)
{
    return http_abandoned(call);
}

/* The place of all of the body, before any of it is read: until then it stays with the peer, whom TCP holds back. */
static bool await_place(struct http_server *s, struct http_call *call, size_t length)
{
    if (!budget_wait(s->bodies, length, clock_after_ms(s->config.body_wait_ms), given_up, call))
        return refuse(call, 503, "RESOURCE_EXHAUSTED", "too many bodies at once, try again");
    call->reserved = length;
    call->body = xrealloc(call->body, length + 1, 1);
    return true;
}

/* Memory for more of the body. What a peer only announces costs nothing: few could else take all of the budget. */
static bool make_room(struct http_server *s, struct http_call *call, size_t length)
{
    size_t more = call->body_size ? call->body_size : FIRST_ROOM;

    if (more > length - call->body_size)
        more = length - call->body_size;
    if (!reserve(s, call, more))
        return false;
    call->body = xrealloc(call->body, call->reserved + 1, 1);
    return true;
}

static bool read_body(struct http_server *s, struct http_call *call, struct mg_connection *conn, size_t length)
{
    const char *expect = http_header(call, "Expect");

    if (expect && strcasecmp(expect, "100-continue") != 0)
        return refuse(call, 417, "INVALID_ARGUMENT", "the only expectation is 100-continue");
    if (s->config.body_wait_ms && !await_place(s, call, length))
        return false;
    guard_limit(call->guarded, http_transfer_deadline(s, length));
    if (expect)
        mg_printf(conn, "HTTP/1.1 100 Continue\r\n\r\n");
    while (call->body_size < length) {
        if (call->body_size == call->reserved && !make_room(s, call, length))
            return false;
        int n = mg_read(conn, call->body + call->body_size, call->reserved - call->body_size);

        if (n <= 0)
            break;
        call->body_size += (size_t)n;
    }
    call->body[call->body_size] = '\0';
    guard_limit(call->guarded, CLOCK_NEVER);
    if (call->body_size < length)
        return refuse(call, 408, "DEADLINE_EXCEEDED", "the body did not come in time");
    return true;
}

/* Whether the path, as it stands in the request, is at or below the one whose errors are plain. */
static bool has_plain_errors(const struct http_server *s, const char *path)
{
    const char *base = s->config.plain_errors;
    size_t n = base ? strlen(base) : 0;

    return n && path && !strncmp(path, base, n) && (path[n] == '/' || !path[n]);
}

/* Everything before the handler: true when it is to run, else there is an answer already. *unread: bytes of body. */
static bool take_request(struct http_server *s, struct http_call *call, struct mg_connection *conn, size_t *unread)
{
    const struct mg_request_info *ri = mg_get_request_info(conn);
    size_t limit;

    call->method = ri->request_method;
    call->remote = ri->remote_addr;
    call->query = ri->query_string;
    call->plain_errors = has_plain_errors(s, ri->local_uri_raw);
    http_call_set_id(call, http_header(call, "X-Request-Id"));
    if (ri->num_headers >= MAX_HEADERS)
        return refuse(call, 431, "RESOURCE_EXHAUSTED", "too many headers");
    if (!body_length(call, ri, unread))
        return false;
    if (atomic_load(&s->stopping))
        return refuse(call, 503, "UNAVAILABLE", "this server is stopping");
    if (!find_route(s, call, ri))
        return false;
    limit = call->match.route->max_body;
    if (*unread > limit) {
        char message[96];

        snprintf(message, sizeof message, "the body is over the limit of %zu bytes", limit);
        return refuse(call, 413, "RESOURCE_EXHAUSTED", message);
    }
    if (*unread && !read_body(s, call, conn, *unread))
        return false;
    *unread = 0;
    call->received = clock_now();
    return true;
}

/* ---- writing the answer ---- */

static bool wants_keep_alive(const struct http_call *call, const struct mg_request_info *ri)
{
    const char *connection = ri->num_headers > 0 ? http_header(call, "Connection") : NULL;

    if (connection)
        return strcasestr(connection, "keep-alive") != NULL;
    return ri->http_version && !strcmp(ri->http_version, "1.1");
}

static bool may_keep_alive(struct http_server *s)
{
    return !atomic_load(&s->draining) && guard_keeps(s->guard);
}

/* As headers tell it; until the thread's next call. */
static const char *date_now(void)
{
    static _Thread_local struct {
        time_t second;
        char text[40];
    } last;
    time_t now = time(NULL);
    struct tm tm;

    if (now != last.second) {
        strftime(last.text, sizeof last.text, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
        last.second = now;
    }
    return last.text;
}

void http_add_head(struct buf *out, const struct http_server *s, const struct http_call *call, int64_t length,
                   const char *connection)
{
    buf_puts(out, "HTTP/1.1 ");
    buf_int(out, call->code);
    buf_putc(out, ' ');
    buf_puts(out, mg_get_response_code_text(NULL, call->code));
    buf_puts(out, "\r\n");
    http_call_add_header(out, "Date", date_now());
    if (call->headers.size)
        buf_add(out, call->headers.data, call->headers.size);
    if (!http_call_has_header(call, "X-Served-By"))
        http_call_add_header(out, "X-Served-By", s->host);
    http_call_add_header(out, "X-Request-Id", call->id);
    http_call_add_header(out, "X-Content-Type-Options", "nosniff");
    if (length >= 0) {
        buf_puts(out, "Content-Length: ");
        buf_int(out, length);
        buf_puts(out, "\r\n");
    }
    http_call_add_header(out, "Connection", connection);
    buf_puts(out, "\r\n");
}

static void write_answer(struct http_server *s, struct http_call *call, struct mg_connection *conn, bool keep_alive)
{
    struct buf out = BUF_INIT((size_t)32 << 10);
    bool has_body = call->code >= 200 && call->code != 204 && call->code != 304;
    bool send_body = has_body && call->size && strcmp(call->method, "HEAD") != 0;
    bool together = send_body && call->size <= ONE_WRITE;

    http_add_head(&out, s, call, has_body ? (int64_t)call->size : -1, keep_alive ? "keep-alive" : "close");
    if (together)
        buf_add(&out, call->data, call->size);
    mg_write(conn, out.data, out.size);
    if (send_body && !together)
        mg_write(conn, call->data, call->size);
    buf_fini(&out);
}

static void report(struct http_server *s, const struct http_call *call, int64_t started)
{
    double seconds = clock_seconds(started);
    double until_answer = call->stream ? (double)(call->stream_began - started) / CLOCK_SECOND : seconds;
    const char *route = call->match.route ? call->match.route->path : "";

    if (s->config.observer)
        s->config.observer(s->config.observer_ctx, call->method, route, call->code, until_answer);
    if (s->config.quiet && call->code < 400)
        return;
    log_info("http", log_s("id", call->id), log_s("remote", call->remote), log_s("method", call->method),
             log_s("path", call->path), log_i("code", call->code), log_i("in", (int64_t)call->body_size),
             log_i("out", (int64_t)call->size), log_f("ms", seconds * 1e3));
}

/* Reads on for a while after a refusal: closing at once would make the kernel reset the connection, and the peer,
 * which is still sending, would never see why. */
static void discard(struct http_call *call, struct mg_connection *conn, size_t unread)
{
    char block[4096];
    int64_t left = unread > (size_t)DISCARD_MAX ? DISCARD_MAX : (int64_t)unread;
    int n;

    guard_limit(call->guarded, clock_after_ms(DISCARD_MS));
    for (; left > 0 && (n = mg_read(conn, block, sizeof block)) > 0; left -= n)
        ;
}

static void finish_stream(struct http_server *s, struct http_call *call, struct mg_connection *conn, int64_t started)
{
    mg_disable_connection_keep_alive(conn);
    http_stream_finish(call);
    report(s, call, started);
}

static void finish(struct http_server *s, struct http_call *call, struct mg_connection *conn, size_t unread,
                   int64_t started)
{
    const struct mg_request_info *ri = mg_get_request_info(conn);
    bool reusable = !unread && call->code != 411 && call->code != 431 && *call->path;
    bool keep_alive = reusable && wants_keep_alive(call, ri) && may_keep_alive(s);

    if (!keep_alive)
        mg_disable_connection_keep_alive(conn);
    guard_limit(call->guarded, http_transfer_deadline(s, call->size));
    write_answer(s, call, conn, keep_alive);
    guard_limit(call->guarded, CLOCK_NEVER);
    report(s, call, started);
    if (unread && (call->body || !http_header(call, "Expect")))
        discard(call, conn, unread);
}

/* ---- civetweb's callbacks ---- */

static int begin_request(struct mg_connection *conn)
{
    struct http_server *s = mg_get_user_data(mg_get_context(conn));
    const struct mg_request_info *ri = mg_get_request_info(conn);
    int64_t started = clock_now();
    struct http_call call;
    size_t unread = 0;

    atomic_fetch_add(&s->active, 1);
    http_call_init(&call, s->config.arena_limit);
    call.server = s;
    call.service = s->config.service;
    call.conn = conn;
    call.http_1_0 = ri->http_version && !strcmp(ri->http_version, "1.0");
    call.bodies = s->bodies;
    call.guarded = mg_get_user_connection_data(conn);
    guard_busy(call.guarded, ri->remote_addr, ri->remote_port);
    if (take_request(s, &call, conn, &unread) && !pool_run(s->pool, &call))
        refuse(&call, 503, "RESOURCE_EXHAUSTED", "too many requests at once, try again");
    if (call.stream)
        finish_stream(s, &call, conn, started);
    else
        finish(s, &call, conn, unread, started);
    budget_give(s->bodies, call.reserved);
    int code = call.code;
    guard_idle(call.guarded);
    http_call_fini(&call);
    atomic_fetch_sub(&s->active, 1);
    return code;
}

/* Requests that civetweb itself refuses: not HTTP, headers too long, and so on. What it parsed cannot be relied on. */
static int http_error(struct mg_connection *conn, int status, const char *message)
{
    struct http_server *s = mg_get_user_data(mg_get_context(conn));
    const struct mg_request_info *ri = mg_get_request_info(conn);
    int64_t started = clock_now();
    struct http_call call;

    (void)message;
    http_call_init(&call, 0);
    call.remote = ri->remote_addr;
    http_call_set_id(&call, NULL);
    if (status == 411)
        refuse(&call, 400, "INVALID_ARGUMENT", "Content-Length: it has to be one whole number");
    else if (status == 505)
        refuse(&call, 505, "UNIMPLEMENTED", "HTTP/1.0 and HTTP/1.1 are spoken here");
    else
        refuse(&call, 400, "INVALID_ARGUMENT", "this is not a request in HTTP/1.1, or its headers are over 16 KiB");
    mg_disable_connection_keep_alive(conn);
    write_answer(s, &call, conn, false);
    report(s, &call, started);
    http_call_fini(&call);
    return 0;
}

static int log_message(const struct mg_connection *conn, const char *message)
{
    (void)conn;
    if (!start_error[0])
        snprintf(start_error, sizeof start_error, "%s", message);
    log_debug("civetweb", log_s("message", message));
    return 1;
}

static int init_connection(const struct mg_connection *conn, void **data)
{
    struct http_server *s = mg_get_user_data(mg_get_context(conn));

    *data = guard_open(s->guard);
    return 0;
}

static void connection_close(const struct mg_connection *conn)
{
    guard_close(mg_get_user_connection_data(conn));
}

/* ---- start and stop ---- */

static void set_defaults(struct http_config *c)
{
    c->threads = c->threads ? c->threads : 4;
    c->connections = c->connections ? c->connections : 64;
    c->queue = c->queue ? c->queue : c->threads * 4;
    c->timeout_ms = c->timeout_ms ? c->timeout_ms : 10000;
    c->arena_limit = c->arena_limit ? c->arena_limit : (size_t)4 << 20;
    c->max_bodies = c->max_bodies ? c->max_bodies : (size_t)256 << 20;
}

/* Streams leave half of the connections to requests. */
static void fit_streams(struct http_config *c)
{
    if (!c->streams)
        c->streams = c->connections / 4;
    if (c->streams > c->connections / 2)
        c->streams = c->connections / 2;
}

/* A connection costs a thread and a descriptor, and there may be fewer of both. */
static void fit_connections(struct http_config *c)
{
    int64_t tasks = tasks_left() - OTHER_TASKS, files = files_allow(c->connections + OTHER_FILES) - OTHER_FILES;
    int64_t most = tasks < files ? tasks : files;

    most = most < 4 ? 4 : most;
    if (c->connections <= most)
        return;
    log_warn("http_connections_limited", log_i("wanted", c->connections), log_i("granted", most),
             log_s("by", tasks < files ? "limit of threads (pids.max, RLIMIT_NPROC)" : "RLIMIT_NOFILE"));
    c->connections = most;
}

/* For handlers that are not light. */
static size_t n_handler_threads(const struct http_config *c)
{
    for (size_t i = 0; i < c->n_routes; i++)
        if (!c->routes[i].light)
            return (size_t)c->threads;
    return 0;
}

static struct mg_context *start_civetweb(struct http_server *s)
{
    static const struct mg_callbacks callbacks = {
        .begin_request = begin_request,
        .http_error = http_error,
        .log_message = log_message,
        .init_connection = init_connection,
        .connection_close = connection_close,
    };
    char where[64], connections[24], backlog[24], timeout[24], keep[24], head[24];
    const char *options[] = {
        "listening_ports",
        where,
        "num_threads",
        connections,
        "listen_backlog", /* as many may come at once; those beyond it the kernel resets */
        backlog,
        "request_timeout_ms",
        timeout,
        "keep_alive_timeout_ms",
        keep,
        "max_request_size",
        head,
        "enable_keep_alive",
        "yes",
        "tcp_nodelay",
        "1",
        "decode_url",
        "no",
        "enable_auth_domain_check",
        "no",
        "enable_directory_listing",
        "no",
        NULL,
    };
    struct mg_init_data init = {&callbacks, s, options};

    snprintf(where, sizeof where, "%s:%d", s->config.listen, (int)s->config.port);
    snprintf(connections, sizeof connections, "%d", (int)s->config.connections);
    snprintf(backlog, sizeof backlog, "%d", (int)s->config.connections < 200 ? 200 : (int)s->config.connections);
    snprintf(timeout, sizeof timeout, "%d", (int)s->config.timeout_ms);
    snprintf(keep, sizeof keep, "%d", (int)s->config.timeout_ms / 2);
    snprintf(head, sizeof head, "%d", HEAD_MAX);
    start_error[0] = '\0';
    return mg_start2(&init, NULL);
}

struct status http_start(struct http_server **out, const struct http_config *config)
{
    struct http_server *s = xcalloc(1, sizeof *s);
    struct mg_server_port port = {0};
    struct status st = status_ok();

    s->config = *config;
    set_defaults(&s->config);
    fit_connections(&s->config);
    fit_streams(&s->config);
    for (size_t i = 0; i < config->n_routes; i++)
        route_check(&config->routes[i]);
    s->address.sin_family = AF_INET;
    if (inet_pton(AF_INET, config->listen, &s->address.sin_addr) != 1) {
        st = status_errorf(ST_INVALID, "listen address \"%s\": it has to be an IPv4 address", config->listen);
        goto out;
    }
    if (gethostname(s->host, sizeof s->host - 1) || !s->host[0])
        snprintf(s->host, sizeof s->host, "localhost");
    s->guard = guard_new((size_t)s->config.connections);
    s->bodies = budget_new(s->config.max_bodies);
    s->pool = pool_new((size_t)s->config.threads, n_handler_threads(&s->config), (size_t)s->config.queue,
                       s->config.max_wait_ms);
    mg_init_library(0);
    s->mg = start_civetweb(s);
    if (!s->mg) {
        mg_exit_library();
        st = status_errorf(ST_UNAVAILABLE, "http on %s:%d: %s", config->listen, (int)config->port, start_error);
        goto out;
    }
    mg_get_server_ports(s->mg, 1, &port);
    s->address.sin_port = htons((uint16_t)port.port);
    guard_set_port(s->guard, port.port);
    log_info("http_listening", log_s("address", config->listen), log_i("port", port.port));
    *out = s;
    s = NULL;
out:
    if (s) {
        pool_free(s->pool);
        guard_free(s->guard);
        budget_free(s->bodies);
    }
    free(s);
    return st;
}

int http_port(const struct http_server *s)
{
    return ntohs(s->address.sin_port);
}

/* civetweb's accepting thread looks at its stop flag every 2 s; connections wake it. */
static void *wake_listener(void *arg)
{
    struct http_server *s = arg;
    struct sockaddr_in to = s->address;

    if (to.sin_addr.s_addr == htonl(INADDR_ANY))
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    while (!atomic_load(&s->stopped)) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd >= 0) {
            (void)!connect(fd, (struct sockaddr *)&to, sizeof to);
            close(fd);
        }
        clock_sleep_ms(5);
    }
    return NULL;
}

void http_drain(struct http_server *s)
{
    atomic_store(&s->draining, true);
}

void http_stop(struct http_server *s)
{
    int64_t until;
    pthread_t waker;

    if (!s)
        return;
    http_drain(s);
    atomic_store(&s->stopping, true);
    until = clock_after_ms(DRAIN_MS);
    while (atomic_load(&s->active) && clock_now() < until)
        clock_sleep_ms(2);
    guard_close_idle(s->guard);
    waker = thread_start("http-waker", 0, wake_listener, s);
    mg_stop(s->mg);
    atomic_store(&s->stopped, true);
    pthread_join(waker, NULL);
    pool_free(s->pool);
    guard_free(s->guard);
    budget_free(s->bodies);
    mg_exit_library();
    free(s);
}
