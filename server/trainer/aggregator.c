/* aggregator.c - see aggregator.h. Every call is idempotent on the other side (a run has a name from its first moment),
 * so that each may be repeated. */
#include "aggregator.h"

#include <stdlib.h>

/* An aggregator that comes back is connected to within 2 s (rpc.h): a call waits for that rather than fail while it is
 * up already. */
#define CALL_TIMEOUT_MS 4000

struct aggregator {
    struct rpc_client *client;
    char *target;
};

struct status aggregator_open(struct aggregator **out, const struct rpc_client_config *config)
{
    struct rpc_client *client;
    struct status st = rpc_client_new(&client, config);

    if (st.code)
        return status_prefix(st, "aggregator %s", config->target);
    struct aggregator *a = xcalloc(1, sizeof *a);
    a->client = client;
    a->target = xstrdup(config->target);
    *out = a;
    return st;
}

void aggregator_close(struct aggregator *a)
{
    if (!a)
        return;
    rpc_client_free(a->client);
    free(a->target);
    free(a);
}

static struct status call(struct aggregator *a, struct arena *arena, const char *method, const void *in,
                          const void **out)
{
    struct rpc_options options = {.timeout_ms = CALL_TIMEOUT_MS, .wait_for_ready = true, .retries = 1, .arena = arena};
    struct status st = rpc_unary(a->client, &bloginfer__v1__federation_service__descriptor, method, in, out, &options);

    if (st.code == ST_UNAVAILABLE || st.code == ST_DEADLINE)
        return status_errorf(ST_UNAVAILABLE, "aggregator %s does not answer: %.120s", a->target, st.msg);
    return st;
}

struct status aggregator_start_run(struct aggregator *a, struct arena *arena, const char *run_id,
                                   const Bloginfer__V1__RunConfig *config, const Bloginfer__V1__StartRunResponse **out)
{
    Bloginfer__V1__StartRunRequest req = BLOGINFER__V1__START_RUN_REQUEST__INIT;

    req.run_id = (char *)run_id;
    req.config = (Bloginfer__V1__RunConfig *)config;
    struct status st = call(a, arena, "StartRun", &req, (const void **)out);
    return !st.code && !(*out)->run ? status_errorf(ST_INTERNAL, "StartRun: an answer without a run") : st;
}

struct status aggregator_stop_run(struct aggregator *a, struct arena *arena, const char *run_id, const char *reason,
                                  const Bloginfer__V1__Run **out)
{
    Bloginfer__V1__StopRunRequest req = BLOGINFER__V1__STOP_RUN_REQUEST__INIT;
    const Bloginfer__V1__StopRunResponse *rep;

    req.run_id = (char *)run_id;
    req.reason = (char *)reason;
    struct status st = call(a, arena, "StopRun", &req, (const void **)&rep);
    if (!st.code && !rep->run)
        return status_errorf(ST_INTERNAL, "StopRun: an answer without a run");
    if (!st.code)
        *out = rep->run;
    return st;
}

struct status aggregator_get_run(struct aggregator *a, struct arena *arena, const char *run_id,
                                 const Bloginfer__V1__Run **out)
{
    Bloginfer__V1__GetRunRequest req = BLOGINFER__V1__GET_RUN_REQUEST__INIT;
    const Bloginfer__V1__GetRunResponse *rep;

    req.run_id = (char *)run_id;
    struct status st = call(a, arena, "GetRun", &req, (const void **)&rep);
    if (!st.code && !rep->run)
        return status_errorf(ST_INTERNAL, "GetRun: an answer without a run");
    if (!st.code)
        *out = rep->run;
    return st;
}

struct status aggregator_list_runs(struct aggregator *a, struct arena *arena, bool active_only,
                                   const Bloginfer__V1__ListRunsResponse **out)
{
    Bloginfer__V1__ListRunsRequest req = BLOGINFER__V1__LIST_RUNS_REQUEST__INIT;

    req.active_only = active_only;
    return call(a, arena, "ListRuns", &req, (const void **)out);
}
