/* models.h - models and training through REST: what the aggregator's registry holds, what is set for it, and runs.
 * Handlers of the routes in routes.c, each over gRPC to the aggregator but for the start of a run, which is the trainer's. */
#ifndef GATEWAY_MODELS_MODELS_H
#define GATEWAY_MODELS_MODELS_H

#include "gateway.h"

#include <jansson.h>

#define RUN_ID_MAX 64 /* characters of [a-z0-9-] */

http_handler models_list, models_show, models_version, models_promote, models_rollback, models_prune; /* registry.c */
http_handler params_get_all, params_put_all, params_get_one, params_put_one;                          /* params.c */
http_handler train_post;                                                                              /* train.c */
http_handler runs_list, runs_show, runs_stop;                                                         /* runs.c */
http_handler run_events;                                                                              /* events.c */

/* ---- what they share: ask.c ---- */

struct question {
    const ProtobufCServiceDescriptor *service;
    const char *method;
    bool once;      /* not idempotent: never sent twice */
    int when_state; /* HTTP status of FAILED_PRECONDITION; 0: 409 */
};

/* Asks the aggregator within the request's deadline. False: the request has been answered: 400, 404 for what is not there,
 * 409 for what its state forbids, and what backend.h says. */
bool ask_aggregator(struct http_call *call, const struct question *q, const void *in, const void **out);

/* Answers with the error of a question. */
void ask_failed(struct http_call *call, const struct question *q, const struct status *st);

/* The body as an object, or an empty object when there is none. *out: the caller's. */
struct status ask_body(struct http_call *call, json_t **out);

/* ST_INVALID names a member that is not among the n names. */
struct status ask_members(const json_t *object, const char *const *names, size_t n);

bool run_id_valid(const char *id);

/* ---- parsers of outside bytes, for their fuzz targets, too ---- */

typedef struct Bloginfer__V1__ChangeModelParametersRequest params_request;

/* The body of PUT /params (task NULL) or PUT /api/models/{task}/params into *req, in the arena; strings may stay the
 * body's. *etag: its "etag", NULL: none. ST_INVALID names what is wrong. */
struct status params_parse(const json_t *body, const char *task, struct arena *a, params_request *req,
                           const char **etag);

/* The etags of an If-Match header, in the arena; none for "*". */
struct status params_if_match(const char *header, struct arena *a, char ***etags, size_t *n);

/* What a trainer has answered: *out is the run (200, 202; the caller's), else the error that the caller of REST gets, with
 * *http_code its status. */
struct status train_answer(long code, const char *body, size_t size, json_t **out, int *http_code);

/* Rounds that a reader has seen, by its Last-Event-ID; *ended: it has seen the end, too. 0 for what is not an id of ours. */
uint32_t event_seen(const char *last_event_id, bool *ended);

#endif
