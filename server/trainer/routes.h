/* routes.h - the trainer's HTTP routes:
 *
 *     POST /train            {"task": "sentiment", "rounds": 5, "workers": 3, "run_id"?, any other field of RunConfig}
 *     GET  /runs             {"runs": [Run, newest first]}
 *     GET  /runs/{id}        Run
 *     POST /runs/{id}/stop   Run
 *     GET  /healthz, /readyz
 *
 * A Run is the proto's message as pbjson.h writes it. POST /train answers 202 with the Run and "created", or 200 when a
 * run of that run_id has ended already; 400 names the wrong field; 409: another run of the task is active; 503 with
 * Retry-After: the aggregator is away. */
#ifndef TRAINER_ROUTES_H
#define TRAINER_ROUTES_H

#include "aggregator.h"
#include "http/http.h"
#include "supervisor.h"

#include <stdatomic.h>

struct routes_service {
    struct aggregator *aggregator;
    struct supervisor *supervisor;
    atomic_bool draining; /* /readyz says no */
};

extern const struct http_route routes[];
extern const size_t routes_n;

#endif
