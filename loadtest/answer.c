/* answer.c - see answer.h. Head, chunk sizes and trailers are lines; a line is collected, then judged. */
#include "answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { STATUS_LINE, HEADERS, BODY, BODY_TO_END, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILERS, DONE };

void answer_init(struct answer *a)
{
    *a = (struct answer){.body = BUF_INIT(ANSWER_BODY_MAX), .line = BUF_INIT(ANSWER_HEAD_MAX)};
}

void answer_fini(struct answer *a)
{
    buf_fini(&a->body);
    buf_fini(&a->line);
}

void answer_reset(struct answer *a)
{
    struct buf body = a->body, line = a->line;

    buf_clear(&body);
    buf_clear(&line);
    *a = (struct answer){.body = body, .line = line};
}

static struct status broken(const char *what)
{
    return status_errorf(ST_INVALID, "not an HTTP answer: %s", what);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK" */
static struct status take_status_line(struct answer *a, const char *line)
{
    if (strncmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') || line[8] != ' ')
        return broken("status line");
    const char *code = line + 9;
    if (!is_digit(code[0]) || !is_digit(code[1]) || !is_digit(code[2]) || (code[3] && code[3] != ' '))
        return broken("status code");
    a->code = atoi(code);
    a->http_1_0 = line[7] == '0';
    a->keep_alive = !a->http_1_0;
    if (a->code < 100 || a->code > 599)
        return broken("status code");
    a->state = HEADERS;
    return status_ok();
}

static struct status take_length(struct answer *a, const char *value)
{
    size_t n = strlen(value);

    if (!n || n > 15 || value[strspn(value, "0123456789")])
        return broken("Content-Length");
    uint64_t length = strtoull(value, NULL, 10);
    if (a->has_length && length != a->left)
        return broken("two lengths");
    if (length > ANSWER_BODY_MAX)
        return broken("the body is too large");
    a->left = length;
    a->has_length = true;
    return status_ok();
}

static struct status take_header(struct answer *a, char *line)
{
    char *colon = strchr(line, ':');

    if (!colon || colon == line)
        return broken("header");
    *colon = '\0';
    char *value = colon + 1 + strspn(colon + 1, " \t"), *end = value + strlen(value);
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        *--end = '\0';
    if (!strcasecmp(line, "Content-Length"))
        return take_length(a, value);
    if (!strcasecmp(line, "Transfer-Encoding")) {
        if (strcasecmp(value, "chunked") != 0)
            return broken("transfer encoding");
        a->chunked = true;
    } else if (!strcasecmp(line, "Connection")) {
        a->closes = a->closes || strcasestr(value, "close");
        a->keep_alive = !a->closes && (!a->http_1_0 || strcasestr(value, "keep-alive"));
    } else if (!strcasecmp(line, "X-Served-By")) {
        snprintf(a->served_by, sizeof a->served_by, "%s", value);
    }
    return status_ok();
}

static void finish(struct answer *a)
{
    a->state = DONE;
    a->done = true;
}

/* The empty line after the headers. */
static struct status end_head(struct answer *a)
{
    if (a->code < 200) {
        a->state = STATUS_LINE;
        a->has_length = a->chunked = a->closes = false;
        return a->code == 101 ? broken("another protocol") : status_ok();
    }
    if (a->chunked && a->has_length)
        return broken("both a length and chunks");
    a->head_size = 0; /* trailers have a bound of their own */
    if (a->code == 204 || a->code == 304 || (a->has_length && !a->left)) {
        finish(a);
    } else if (a->chunked) {
        a->state = CHUNK_SIZE;
    } else {
        a->state = a->has_length ? BODY : BODY_TO_END;
        a->keep_alive = a->keep_alive && a->has_length;
    }
    return status_ok();
}

/* "1a2b" or "1a2b;extension" */
static struct status take_chunk_size(struct answer *a, const char *line)
{
    size_t n = strspn(line, "0123456789abcdefABCDEF");

    if (!n || n > 8 || (line[n] && line[n] != ';' && line[n] != ' ' && line[n] != '\t'))
        return broken("chunk size");
    a->left = strtoull(line, NULL, 16);
    if (a->left > ANSWER_BODY_MAX - a->body.size)
        return broken("the body is too large");
    a->state = a->left ? CHUNK : TRAILERS;
    a->head_size = a->left ? 0 : a->head_size;
    return status_ok();
}

static struct status take_line(struct answer *a, char *line)
{
    switch (a->state) {
    case STATUS_LINE:
        return take_status_line(a, line);
    case HEADERS:
        return *line ? take_header(a, line) : end_head(a);
    case CHUNK_SIZE:
        return take_chunk_size(a, line);
    case CHUNK_END:
        a->state = CHUNK_SIZE;
        return *line ? broken("chunk") : status_ok();
    default: /* TRAILERS */
        if (!*line)
            finish(a);
        return status_ok();
    }
}

/* Up to and with the next end of a line, or all of it. */
static struct status collect_line(struct answer *a, const char *data, size_t size, size_t *used)
{
    const char *end = memchr(data, '\n', size);
    size_t n = end ? (size_t)(end - data) + 1 : size;

    *used = n;
    a->head_size += n;
    if (a->head_size > ANSWER_HEAD_MAX || memchr(data, '\0', n))
        return broken("the head is too large, or not text");
    buf_add(&a->line, data, n);
    if (!end)
        return status_ok();
    char *line = a->line.data;
    size_t length = a->line.size - 1;
    line[length] = '\0';
    if (length && line[length - 1] == '\r')
        line[length - 1] = '\0';
    struct status st = take_line(a, line);
    buf_clear(&a->line);
    return st;
}

static struct status collect_body(struct answer *a, const char *data, size_t size, size_t *used)
{
    size_t n = a->state == BODY_TO_END || a->left > size ? size : (size_t)a->left;

    *used = n;
    if (!buf_add(&a->body, data, n))
        return broken("the body is too large");
    if (a->state == BODY_TO_END)
        return status_ok();
    a->left -= n;
    if (!a->left && a->state == CHUNK)
        a->state = CHUNK_END;
    else if (!a->left)
        finish(a);
    return status_ok();
}

struct status answer_take(struct answer *a, const char *data, size_t size, size_t *used)
{
    struct status st = status_ok();
    size_t n = 0;

    for (*used = 0; *used < size && !a->done && !st.code; *used += n) {
        bool is_body = a->state == BODY || a->state == BODY_TO_END || a->state == CHUNK;

        a->begun = true;
        st =
            is_body ? collect_body(a, data + *used, size - *used, &n) : collect_line(a, data + *used, size - *used, &n);
    }
    return st;
}

bool answer_closed(struct answer *a)
{
    if (a->state == BODY_TO_END)
        finish(a);
    return a->done;
}
