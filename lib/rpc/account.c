/* account.c - what is counted and logged of a call: nothing that a service author has to think of. */
#include "rpc/account.h"

#include "rpc/server.h"

static struct {
    pthread_once_t once;
    struct metric *calls, *seconds, *bytes_in, *bytes_out, *client_calls;
    struct series *in_flight, *queued;
} all = {.once = PTHREAD_ONCE_INIT};

static void make(void)
{
    all.calls = metric_counter("bloginfer_rpc_server_calls_total", "Calls answered.", "service,method,code");
    all.seconds =
        metric_histogram("bloginfer_rpc_server_duration_seconds", "From arrival to answer.", "service,method", NULL, 0);
    all.bytes_in =
        metric_counter("bloginfer_rpc_server_received_bytes_total", "Bytes of messages received.", "service,method");
    all.bytes_out =
        metric_counter("bloginfer_rpc_server_sent_bytes_total", "Bytes of messages sent.", "service,method");
    all.in_flight = metric_series(metric_gauge("bloginfer_rpc_server_in_flight", "Calls not answered yet.", NULL));
    all.queued = metric_series(metric_gauge("bloginfer_rpc_server_queued", "Calls that wait for a worker.", NULL));
    all.client_calls =
        metric_counter("bloginfer_rpc_client_calls_total", "Calls made, retries not counted.", "service,method,code");
}

void account_init(struct method_account *a, const char *service, const char *method)
{
    pthread_once(&all.once, make);
    *a = (struct method_account){.service = service, .method = method};
    a->seconds = metric_series(all.seconds, service, method);
    a->bytes_in = metric_series(all.bytes_in, service, method);
    a->bytes_out = metric_series(all.bytes_out, service, method);
}

void account_begin(void)
{
    series_add(all.in_flight, 1);
}

void account_queued(int change)
{
    series_add(all.queued, change);
}

void account_client(const char *service, const char *method, enum code code)
{
    pthread_once(&all.once, make);
    metric_add(all.client_calls, 1, service, method, code_name(code));
}

static struct series *calls_of(struct method_account *a, enum code code)
{
    size_t i = (size_t)code < ST_N_CODES ? (size_t)code : ST_UNKNOWN;
    struct series *s = atomic_load(&a->calls[i]);

    if (!s) {
        s = metric_series(all.calls, a->service, a->method, code_name(code));
        atomic_store(&a->calls[i], s);
    }
    return s;
}

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

static void log_call(struct rpc_call *call, const struct method_account *a, const struct status *st, double seconds)
{
    enum log_level level = usual(call, st->code) ? LOG_DEBUG : ours(st->code) ? LOG_WARN : LOG_INFO;
    const struct log_kv kvs[] = {
        log_s("service", a->service),
        log_s("method", a->method),
        log_s("code", code_name(st->code)),
        log_s("message", st->msg),
        log_s("peer", st->code ? rpc_peer(call) : ""),
        log_f("ms", seconds * 1e3),
        log_i("bytes_in", (int64_t)call->bytes_in),
        log_i("bytes_out", (int64_t)call->bytes_out),
    };

    log_write(level, "rpc", kvs, COUNT_OF(kvs));
}

void account_end(struct rpc_call *call, const struct status *st)
{
    struct method_account *a = call->method ? &call->method->account : &call->server->unknown;
    double seconds = clock_seconds(call->started);

    series_add(all.in_flight, -1);
    series_add(calls_of(a, st->code), 1);
    series_observe(a->seconds, seconds);
    series_add(a->bytes_in, (double)call->bytes_in);
    series_add(a->bytes_out, (double)call->bytes_out);
    log_call(call, a, st, seconds);
}
