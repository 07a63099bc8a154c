/* account.c - what is counted and logged of a call: nothing that a service author has to think of. */
#include "rpc/server.h"

static bool ours(enum code code)
{
    return code == ST_UNKNOWN || code == ST_INTERNAL || code == ST_DATA_LOSS || code == ST_EXHAUSTED ||
           code == ST_UNAVAILABLE || code == ST_DEADLINE;
}

/* A watch ends by its client or by the server's stop: nothing to report. */
static bool usual(const struct rpc_call *call, enum code code)
{
    const struct method *m = call->method;

    return !code || (m && (m->open || m->def->endless) && (code == ST_CANCELLED || code == ST_UNAVAILABLE));
}

static void access_log(struct rpc_call *call, const struct status *st)
{
    enum log_level level = usual(call, st->code) ? LOG_DEBUG : ours(st->code) ? LOG_WARN : LOG_INFO;
    const struct log_kv kvs[] = {
        log_s("method", call->method ? call->method->path : "unknown"),
        log_s("code", code_name(st->code)),
        log_s("message", st->msg),
        log_s("peer", st->code ? rpc_peer(call) : ""),
        log_f("ms", clock_seconds(call->started) * 1e3),
        log_i("bytes_in", (int64_t)call->bytes_in),
        log_i("bytes_out", (int64_t)call->bytes_out),
    };

    log_write(level, "rpc", kvs, COUNT_OF(kvs));
}

void call_account(struct rpc_call *call, const struct status *st)
{
    access_log(call, st);
}
