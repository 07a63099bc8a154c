/* backend.c - see backend.h. A message of the backend is shown only with codes that speak of the caller's input or of
 * the service's own state; the text of others names addresses and files, and goes to the log. */
#include "backend.h"

#include "metrics/metrics.h"

#include <stdio.h>
#include <stdlib.h>

#define PATIENCE_MS     2000
#define MAX_PATIENT     8
#define MAX_PUSHBACK_MS 30000
#define LOOK_MS         500 /* between two looks whether the caller is still there */

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

int backend_http_code(enum code code)
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

struct status backend_for_outsiders(const struct backend *b, struct http_call *call, const struct status *st)
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

/* What a call needs besides its message. */
struct errand {
    struct backend *backend;
    struct http_call *call;
    int64_t deadline_ms;
    const ProtobufCServiceDescriptor *service;
    const char *method;
    struct rpc_message *in;
    bool once;
};

static bool abandoned(void *call)
{
    return http_abandoned(call);
}

/* One more try, which waits for a connection: a replica that is being replaced, or back-off after a restart. */
static struct status try_patiently(const struct errand *e, const void **out, const struct rpc_options *options)
{
    int64_t left = time_left(e->call, e->deadline_ms);
    struct rpc_options patient = *options;
    struct status st = status_errorf(ST_DEADLINE, "too many wait");

    patient.timeout_ms = left < PATIENCE_MS ? left : PATIENCE_MS;
    patient.retries = 0;
    patient.wait_for_ready = true;
    if (atomic_fetch_add(&e->backend->patient, 1) < MAX_PATIENT && left > 0)
        st = rpc_unary_message(e->backend->client, e->service, e->method, e->in, out, &patient);
    atomic_fetch_sub(&e->backend->patient, 1);
    return st;
}

static struct status try_once(const struct errand *e, const void **out, struct rpc_options *options)
{
    struct status st = status_errorf(ST_DEADLINE, "it waited for a thread for too long");

    options->timeout_ms = time_left(e->call, e->deadline_ms);
    if (options->timeout_ms > 0)
        st = rpc_unary_message(e->backend->client, e->service, e->method, e->in, out, options);
    if (st.code == ST_UNAVAILABLE && !e->once) {
        struct status again = try_patiently(e, out, options);

        st = again.code == ST_DEADLINE ? st : again;
    }
    return st;
}

/* Milliseconds after which a backend that has no room wants to see the call again; 0: it does not say. */
static int64_t pushback_ms(const struct status *st, const struct rpc_trailer *told)
{
    int64_t ms = st->code == ST_EXHAUSTED && told->value ? atoll(told->value) : 0;

    return ms < 0 ? 0 : ms > MAX_PUSHBACK_MS ? MAX_PUSHBACK_MS : ms;
}

/* Waits until the call may come again, spread over as much again, so that those refused together do not come together;
 * false: it is over before, or nobody wants the answer. */
static bool wait_for_room(const struct errand *e, int64_t ms)
{
    int64_t until = clock_after_ms(ms + clock_now() / 1000 % (ms + 1));

    if (time_left(e->call, e->deadline_ms) <= 2 * ms)
        return false;
    while (clock_now() < until) {
        int64_t left = (until - clock_now()) / CLOCK_MS + 1;

        clock_sleep_ms(left < LOOK_MS ? left : LOOK_MS);
        if (http_abandoned(e->call))
            return false;
    }
    return true;
}

static void tell_retry_after(struct http_call *call, int64_t ms)
{
    char seconds[24];

    snprintf(seconds, sizeof seconds, "%lld", (long long)(ms + 999) / 1000);
    if (ms)
        http_set_header(call, "Retry-After", seconds);
}

static struct status run_errand(const struct errand *e, const void **out)
{
    const char *metadata[] = {"x-request-id", http_request_id(e->call), NULL};
    struct rpc_trailer told[] = {{RPC_SERVED_BY, NULL}, {"grpc-retry-pushback-ms", NULL}};
    struct rpc_options options = {
        .retries = e->once ? 0 : 1,
        .metadata = metadata,
        .arena = http_arena(e->call),
        .trailers = told,
        .n_trailers = COUNT_OF(told),
        .abandoned = abandoned,
        .abandoned_ctx = e->call,
    };
    struct status st;
    int64_t ms;

    do {
        st = try_once(e, out, &options);
        ms = pushback_ms(&st, &told[1]);
    } while (ms && e->backend->insistent && wait_for_room(e, ms));
    tell_retry_after(e->call, ms);
    if (told[0].value)
        http_set_header(e->call, "X-Served-By", told[0].value);
    if (st.code == ST_CANCELLED && http_abandoned(e->call))
        return status_errorf(ST_CANCELLED, "nobody waits for the answer any more");
    return st.code ? backend_for_outsiders(e->backend, e->call, &st) : st;
}

/* Runs it with its message, which is given back. */
static struct status ask(struct errand e, const void *in, const void **out)
{
    struct status st = rpc_message_new(&e.in, in);

    *out = NULL;
    st = st.code ? backend_for_outsiders(e.backend, e.call, &st) : run_errand(&e, out);
    rpc_message_free(e.in);
    return st;
}

struct status backend_ask(struct backend *b, struct http_call *call, int64_t deadline_ms,
                          const ProtobufCServiceDescriptor *service, const char *method, const void *in,
                          const void **out)
{
    return ask((struct errand){b, call, deadline_ms, service, method, NULL, false}, in, out);
}

struct status backend_ask_once(struct backend *b, struct http_call *call, int64_t deadline_ms,
                               const ProtobufCServiceDescriptor *service, const char *method, const void *in,
                               const void **out)
{
    return ask((struct errand){b, call, deadline_ms, service, method, NULL, true}, in, out);
}

bool backend_answer(struct http_call *call, const struct status *st)
{
    bool gone = st->code == ST_CANCELLED && http_abandoned(call);

    if (st->code)
        http_reply_error(call, gone ? http_status(ST_CANCELLED) : backend_http_code(st->code), st->msg,
                         code_name(st->code));
    return !st->code;
}

bool backend_call_message(struct backend *b, struct http_call *call, int64_t deadline_ms,
                          const ProtobufCServiceDescriptor *service, const char *method, struct rpc_message *in,
                          const void **out)
{
    const struct errand e = {b, call, deadline_ms, service, method, in, false};
    struct status st = run_errand(&e, out);

    return backend_answer(call, &st);
}

bool backend_call(struct backend *b, struct http_call *call, int64_t deadline_ms,
                  const ProtobufCServiceDescriptor *service, const char *method, const void *in, const void **out)
{
    struct status st = backend_ask(b, call, deadline_ms, service, method, in, out);

    return backend_answer(call, &st);
}
