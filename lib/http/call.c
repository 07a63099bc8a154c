/* call.c - see call.h and the second half of http.h. */
#include "http/call.h"

#include "http/budget.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#define HEADERS_MAX ((size_t)8 << 10)
#define ERROR_MAX   ((size_t)4 << 10)

void http_call_init(struct http_call *call, size_t arena_limit)
{
    *call = (struct http_call){.method = "", .path = "", .remote = "", .headers = BUF_INIT(HEADERS_MAX)};
    arena_init(&call->arena, arena_limit);
    sem_init(&call->turn, 0, 0);
}

void http_call_fini(struct http_call *call)
{
    free(call->body);
    free(call->data);
    buf_fini(&call->headers);
    arena_fini(&call->arena);
    sem_destroy(&call->turn);
}

static bool id_valid(const char *id)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    size_t n = id ? strspn(id, allowed) : 0;

    return n && n < CALL_ID_SIZE && !id[n];
}

static char *put_hex(char *at, uint32_t value, int digits)
{
    while (digits-- > 0)
        *at++ = "0123456789abcdef"[value >> 4 * digits & 15];
    return at;
}

/* "5f3a9c1e-0000000a": a random start of the process, and a counter. */
void http_call_set_id(struct http_call *call, const char *wanted)
{
    static _Atomic uint32_t start, n;
    uint32_t s = atomic_load(&start);

    if (id_valid(wanted)) {
        snprintf(call->id, sizeof call->id, "%s", wanted);
        return;
    }
    while (!s) {
        uint32_t fresh = 0, none = 0;

        if (getrandom(&fresh, sizeof fresh, 0) != (ssize_t)sizeof fresh || !fresh)
            continue;
        s = atomic_compare_exchange_strong(&start, &none, fresh) ? fresh : none;
    }
    char *end = put_hex(call->id, s, 8);
    *end++ = '-';
    *put_hex(end, atomic_fetch_add(&n, 1) + 1, 8) = '\0';
}

bool http_call_has_header(const struct http_call *call, const char *name)
{
    const char *line = call->headers.data;
    size_t n = strlen(name);

    while (line && *line) {
        if (!strncmp(line, name, n) && line[n] == ':')
            return true;
        line = strstr(line, "\r\n");
        line = line ? line + 2 : NULL;
    }
    return false;
}

static void add_json_string(struct buf *out, const char *text)
{
    buf_putc(out, '"');
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;

        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            buf_printf(out, "\\u%04x", c);
        else
            buf_putc(out, *p);
    }
    buf_putc(out, '"');
}

void http_reply_error(struct http_call *call, int http_code, const char *message, const char *detail)
{
    struct buf b = BUF_INIT(ERROR_MAX);

    if (call->plain_errors)
        buf_puts(&b, "{\"error\": ");
    else
        buf_printf(&b, "{\"code\": %d, \"message\": ", http_code);
    add_json_string(&b, route_text_valid(message, strlen(message)) ? message : "bad input");
    if (detail && !call->plain_errors) {
        buf_puts(&b, ", \"detail\": ");
        add_json_string(&b, detail);
    }
    buf_puts(&b, "}\n");
    if ((http_code == 503 || http_code == 429) && !http_call_has_header(call, "Retry-After"))
        http_set_header(call, "Retry-After", "1");
    http_reply(call, http_code, "application/json", b.data, b.size);
    buf_fini(&b);
}

int http_status(enum code code)
{
    static const int codes[ST_N_CODES] = {
        [ST_OK] = 200,           [ST_CANCELLED] = 499,       [ST_UNKNOWN] = 500,
        [ST_INVALID] = 400,      [ST_DEADLINE] = 504,        [ST_NOT_FOUND] = 404,
        [ST_EXISTS] = 409,       [ST_DENIED] = 403,          [ST_EXHAUSTED] = 429,
        [ST_PRECONDITION] = 412, [ST_ABORTED] = 409,         [ST_RANGE] = 400,
        [ST_INTERNAL] = 500,     [ST_UNIMPLEMENTED] = 501,   [ST_UNAVAILABLE] = 503,
        [ST_DATA_LOSS] = 500,    [ST_UNAUTHENTICATED] = 401,
    };

    return (unsigned)code < ST_N_CODES ? codes[code] : 500;
}

/* What went wrong inside us is for our log: it may name files and addresses. */
void http_call_fail(struct http_call *call, const struct status *st)
{
    int code = http_status(st->code);

    if (code != 500) {
        http_reply_error(call, code, st->msg, code_name(st->code));
        return;
    }
    log_error("http_handler_failed", log_s("id", call->id), log_s("method", call->method), log_s("path", call->path),
              log_s("code", code_name(st->code)), log_s("error", st->msg));
    http_reply_error(call, 500, "internal error; the log has it under this request's id", code_name(st->code));
}

/* Its reader sees a body without an end. */
static void break_stream(struct http_call *call, const struct status *st)
{
    call->stream = HTTP_STREAM_BROKEN;
    if (st->code != ST_CANCELLED)
        log_warn("http_stream_broken", log_s("id", call->id), log_s("path", call->path),
                 log_s("code", code_name(st->code)), log_s("error", st->msg));
}

void http_call_run(struct http_call *call)
{
    struct status st = call->match.route->handler(call);

    if (call->stream && st.code)
        break_stream(call, &st);
    if (call->answered)
        return;
    if (st.code)
        http_call_fail(call, &st);
    else
        http_reply(call, 204, NULL, NULL, 0);
}

void http_reply(struct http_call *call, int http_code, const char *content_type, const void *data, size_t size)
{
    if (call->answered)
        return;
    call->answered = true;
    call->code = http_code;
    if (content_type)
        http_set_header(call, "Content-Type", content_type);
    if (!size)
        return;
    call->data = xmalloc(size);
    memcpy(call->data, data, size);
    call->size = size;
}

void http_call_add_header(struct buf *out, const char *name, const char *value)
{
    buf_puts(out, name);
    buf_puts(out, ": ");
    buf_puts(out, value);
    buf_puts(out, "\r\n");
}

/* Takes the line of a name out again. */
static void remove_header(struct http_call *call, const char *name)
{
    size_t n = strlen(name);

    for (char *line = call->headers.data; line && *line;) {
        char *end = strstr(line, "\r\n") + 2;

        if (!strncmp(line, name, n) && line[n] == ':') {
            memmove(line, end, strlen(end) + 1);
            call->headers.size -= (size_t)(end - line);
            return;
        }
        line = end;
    }
}

void http_set_header(struct http_call *call, const char *name, const char *value)
{
    if (route_text_valid(name, strlen(name)) && route_text_valid(value, strlen(value)) &&
        call->headers.size + strlen(name) + strlen(value) + 4 <= HEADERS_MAX) {
        remove_header(call, name);
        http_call_add_header(&call->headers, name, value);
    }
}

void *http_service(const struct http_call *call)
{
    return call->service;
}

struct arena *http_arena(struct http_call *call)
{
    return &call->arena;
}

const char *http_method(const struct http_call *call)
{
    return call->method;
}

const char *http_path(const struct http_call *call)
{
    return call->path;
}

const char *http_request_id(const struct http_call *call)
{
    return call->id;
}

const char *http_remote(const struct http_call *call)
{
    return call->remote;
}

int64_t http_received(const struct http_call *call)
{
    return call->received;
}

const char *http_param(const struct http_call *call, const char *name)
{
    for (size_t i = 0; i < call->match.n_params; i++) {
        const struct route_param *p = &call->match.params[i];

        if (strlen(name) == p->name_size && !memcmp(name, p->name, p->name_size))
            return p->value;
    }
    return NULL;
}

const char *http_query(struct http_call *call, const char *name)
{
    return route_query(call->query, name, &call->arena);
}

const char *http_body(const struct http_call *call, size_t *size)
{
    if (size)
        *size = call->body_size;
    return call->body ? call->body : "";
}

char *http_own_body(struct http_call *call, size_t *size)
{
    *size = call->body_size;
    if (!call->body)
        call->body = xcalloc(1, 1);
    return call->body;
}

void http_drop_body(struct http_call *call, size_t kept)
{
    free(call->body);
    call->body = NULL;
    if (kept >= call->reserved)
        return;
    budget_give(call->bodies, call->reserved - kept);
    call->reserved = kept;
}
