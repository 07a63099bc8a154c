/* backend.c - see backend.h. A message of the backend is shown only with codes that speak of the caller's input or of
 * the service's own state; the text of others names addresses and files, and goes to the log. */
#include "backend.h"

#include "metrics/metrics.h"

#define PATIENCE_MS 2000
#define MAX_PATIENT 8

/* What a caller is told instead of the backend's own words; NULL: those. */
static const char *words_of(enum code code)
{
    switch (code) {
    case ST_INVALID:
    case ST_RANGE:
    case ST_NOT_FOUND: /* of a name in the request, such as an unknown task */
    case ST_PRECONDITION:
    case ST_UNIMPLEMENTED:
        return NULL;
    case ST_DEADLINE:
        return "did not answer in time";
    case ST_EXHAUSTED:
        return "has too much to do, try again";
    case ST_UNAVAILABLE:
    case ST_CANCELLED:
    case ST_ABORTED:
        return "cannot be reached, try again";
    default:
        return "failed; the log has it under this request's id";
    }
}

static int http_code_of(enum code code)
{
    switch (code) {
    case ST_INVALID:
    case ST_RANGE:
    case ST_NOT_FOUND:
        return 400;
    case ST_DEADLINE:
        return 504;
    case ST_PRECONDITION:
    case ST_EXHAUSTED:
    case ST_UNAVAILABLE:
    case ST_CANCELLED:
    case ST_ABORTED:
        return 503;
    default:
        return 502;
    }
}

static struct status for_outsiders(const struct backend *b, struct http_call *call, const struct status *st)
{
    const char *words = words_of(st->code);

    if (!words)
        return *st;
    log_warn("backend_failed", log_s("id", http_request_id(call)), log_s("backend", b->name),
             log_s("code", code_name(st->code)), log_s("error", st->msg));
    return status_errorf(st->code, "%s %s", b->name, words);
}

static int64_t time_left(const struct http_call *call, int64_t deadline_ms)
{
    return deadline_ms - (clock_now() - http_received(call)) / CLOCK_MS;
}

/* One more try, which waits for a connection: a replica that is being replaced, or back-off after a restart. */
static struct status try_patiently(struct backend *b, const ProtobufCServiceDescriptor *service, const char *method,
                                   const void *in, const void **out, const struct rpc_options *options, int64_t left)
{
    struct rpc_options patient = *options;
    struct status st = status_errorf(ST_DEADLINE, "too many wait");

    patient.timeout_ms = left < PATIENCE_MS ? left : PATIENCE_MS;
    patient.retries = 0;
    patient.wait_for_ready = true;
    if (atomic_fetch_add(&b->patient, 1) < MAX_PATIENT && left > 0)
        st = rpc_unary(b->client, service, method, in, out, &patient);
    atomic_fetch_sub(&b->patient, 1);
    return st;
}

static bool abandoned(void *call)
{
    return http_abandoned(call);
}

struct status backend_ask(struct backend *b, struct http_call *call, int64_t deadline_ms,
                          const ProtobufCServiceDescriptor *service, const char *method, const void *in,
                          const void **out)
{
    const char *metadata[] = {"x-request-id", http_request_id(call), NULL};
    struct rpc_trailer served_by = {RPC_SERVED_BY, NULL};
    struct rpc_options options = {
        .timeout_ms = time_left(call, deadline_ms),
        .retries = 1,
        .metadata = metadata,
        .arena = http_arena(call),
        .trailers = &served_by,
        .n_trailers = 1,
        .abandoned = abandoned,
        .abandoned_ctx = call,
    };
    struct status st = status_errorf(ST_DEADLINE, "it waited for a thread for too long");

    if (options.timeout_ms > 0)
        st = rpc_unary(b->client, service, method, in, out, &options);
    if (st.code == ST_UNAVAILABLE) {
        struct status again = try_patiently(b, service, method, in, out, &options, time_left(call, deadline_ms));

        st = again.code == ST_DEADLINE ? st : again;
    }
    if (served_by.value)
        http_set_header(call, "X-Served-By", served_by.value);
    if (st.code == ST_CANCELLED && http_abandoned(call))
        return status_errorf(ST_CANCELLED, "nobody waits for the answer any more");
    return st.code ? for_outsiders(b, call, &st) : st;
}

bool backend_call(struct backend *b, struct http_call *call, int64_t deadline_ms,
                  const ProtobufCServiceDescriptor *service, const char *method, const void *in, const void **out)
{
    struct status st = backend_ask(b, call, deadline_ms, service, method, in, out);

    bool gone = st.code == ST_CANCELLED && http_abandoned(call);

    if (st.code)
        http_reply_error(call, gone ? http_status(ST_CANCELLED) : http_code_of(st.code), st.msg, code_name(st.code));
    return !st.code;
}
