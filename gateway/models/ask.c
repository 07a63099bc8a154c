/* ask.c - see models.h. The registry's own words are for callers: they name tasks, versions and ranges. */
#include "json.h"
#include "models.h"

#include <string.h>

static int code_of(const struct question *q, enum code code)
{
    switch (code) {
    case ST_NOT_FOUND:
        return 404;
    case ST_EXISTS:
    case ST_DATA_LOSS:
        return 409;
    case ST_PRECONDITION:
        return q->when_state ? q->when_state : 409;
    default:
        return backend_http_code(code);
    }
}

void ask_failed(struct http_call *call, const struct question *q, const struct status *st)
{
    const char *message = st->code == ST_DATA_LOSS ? "what is stored there is damaged: it does not verify" : st->msg;

    if (st->code == ST_CANCELLED)
        backend_answer(call, st);
    else
        http_reply_error(call, code_of(q, st->code), message, code_name(st->code));
}

bool ask_aggregator(struct http_call *call, const struct question *q, const void *in, const void **out)
{
    struct gateway *g = http_service(call);
    struct status st = (q->once ? backend_ask_once : backend_ask)(&g->aggregator, call, g->deadline_ms, q->service,
                                                                  q->method, in, out);

    if (st.code)
        ask_failed(call, q, &st);
    return !st.code;
}

struct status ask_body(struct http_call *call, json_t **out)
{
    size_t size;
    const char *body = http_body(call, &size);

    *out = NULL;
    if (size)
        return json_parse(body, size, out);
    *out = json_object();
    return status_ok();
}

struct status ask_members(const json_t *object, const char *const *names, size_t n)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)object, key, value)
    {
        size_t i = 0;

        while (i < n && strcmp(names[i], key) != 0)
            i++;
        if (i == n)
            return status_errorf(ST_INVALID, "\"%.40s\": there is no such member", key);
    }
    return status_ok();
}

bool run_id_valid(const char *id)
{
    size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-");

    return n && n <= RUN_ID_MAX && !id[n];
}
