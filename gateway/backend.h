/* backend.h - a service behind the gateway: its client, and how its errors look to a caller of REST. */
#ifndef GATEWAY_BACKEND_H
#define GATEWAY_BACKEND_H

#include "http/http.h"
#include "rpc/rpc.h"

#include <stdatomic.h>

struct backend {
    const char *name;    /* "inference": in messages, metrics and /api/status */
    const char *target;  /* as rpc_client_config.target */
    const char *service; /* full name whose health counts */
    struct rpc_client *client;
    bool insistent;     /* while it has no room for a call, the call waits here, until its deadline */
    atomic_int patient; /* calls that wait for it to come back */
};

/* A unary, idempotent call on behalf of a REST request, within what is left of deadline_ms since it arrived. OK: *out lives in the
 * arena of the request. The answer will carry the X-Served-By of who did the work, or refused it.
 * A call that met no backend goes to another replica at once (the channel takes them in turn); one that cannot be reached
 * at all gets two seconds to come back, for a few requests at once; the others fail at once. A call whose deadline is over
 * is not repeated. A backend that has no room says when to come again, which is the Retry-After of the answer.
 * Otherwise the code is the backend's, and the message fit for a caller of REST; what it hides has been logged. */
struct status backend_ask(struct backend *b, struct http_call *call, int64_t deadline_ms,
                          const ProtobufCServiceDescriptor *service, const char *method, const void *in,
                          const void **out);

/* The same for a call that is not idempotent: it is sent once. */
struct status backend_ask_once(struct backend *b, struct http_call *call, int64_t deadline_ms,
                               const ProtobufCServiceDescriptor *service, const char *method, const void *in,
                               const void **out);

/* The HTTP status of a backend's error, as backend_call() answers it. */
int backend_http_code(enum code code);

/* True for OK; else answers with the error of backend_ask(), as backend_call() does. */
bool backend_answer(struct http_call *call, const struct status *st);

/* The error as a caller may see it; what it hides has been logged. */
struct status backend_for_outsiders(const struct backend *b, struct http_call *call, const struct status *st);

/* The same for routes of our own. False: the request has been answered: bad input 400, not there or not able 503 with
 * Retry-After, late 504, broken 502. */
bool backend_call_message(struct backend *b, struct http_call *call, int64_t deadline_ms,
                          const ProtobufCServiceDescriptor *service, const char *method, struct rpc_message *in,
                          const void **out);
bool backend_call(struct backend *b, struct http_call *call, int64_t deadline_ms,
                  const ProtobufCServiceDescriptor *service, const char *method, const void *in, const void **out);

#endif
