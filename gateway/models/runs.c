/* runs.c - /api/runs: the training runs as the aggregator knows them. */
#include "bloginfer/v1/federation.pb-c.h"
#include "caller.h"
#include "json.h"
#include "models.h"
#include "pbjson/pbjson.h"

#include <stdlib.h>
#include <string.h>

#define SERVICE       (&bloginfer__v1__federation_service__descriptor)
#define DEFAULT_LIMIT 20
#define MAX_LIMIT     100
#define MAX_REASON    200 /* bytes */

static struct status limit_query(struct http_call *call, uint32_t *limit)
{
    const char *text = http_query(call, "limit");

    *limit = text ? (uint32_t)strtoul(text, NULL, 10) : DEFAULT_LIMIT;
    if (text && (!*text || strlen(text) > 3 || text[strspn(text, "0123456789")] || !*limit || *limit > MAX_LIMIT))
        return status_errorf(ST_INVALID, "limit has to be 1 to %d", MAX_LIMIT);
    return status_ok();
}

static struct status active_query(struct http_call *call, protobuf_c_boolean *active)
{
    const char *text = http_query(call, "active");

    *active = text && !strcmp(text, "true");
    if (text && !*active && strcmp(text, "false") != 0)
        return status_errorf(ST_INVALID, "active has to be true or false");
    return status_ok();
}

struct status runs_list(struct http_call *call)
{
    Bloginfer__V1__ListRunsRequest req = BLOGINFER__V1__LIST_RUNS_REQUEST__INIT;
    const struct question q = {SERVICE, "ListRuns"};
    struct status st = limit_query(call, &req.limit);
    const void *rep;

    if (!st.code)
        st = active_query(call, &req.active_only);
    if (!st.code && ask_aggregator(call, &q, &req, &rep))
        json_reply(call, 200, pbjson_encode(rep));
    return st;
}

/* What cannot be a run's name needs no question. */
static struct status run_param(const struct http_call *call, char **run_id)
{
    *run_id = (char *)http_param(call, "id");
    return run_id_valid(*run_id) ? status_ok() : status_errorf(ST_NOT_FOUND, "there is no such run");
}

struct status runs_show(struct http_call *call)
{
    Bloginfer__V1__GetRunRequest req = BLOGINFER__V1__GET_RUN_REQUEST__INIT;
    const struct question q = {SERVICE, "GetRun"};
    struct status st = run_param(call, &req.run_id);
    const Bloginfer__V1__GetRunResponse *rep;

    if (!st.code && ask_aggregator(call, &q, &req, (const void **)&rep))
        json_reply(call, 200, pbjson_encode(&rep->run->base));
    return st;
}

static struct status stop(struct http_call *call, const json_t *body)
{
    static const char *const members[] = {"reason"};
    Bloginfer__V1__StopRunRequest req = BLOGINFER__V1__STOP_RUN_REQUEST__INIT;
    const struct question q = {SERVICE, "StopRun"};
    const Bloginfer__V1__StopRunResponse *rep;
    const char *reason = NULL;
    struct status st = ask_members(body, members, COUNT_OF(members));

    if (!st.code)
        st = json_text(body, "reason", MAX_REASON, false, &reason);
    if (!st.code)
        st = run_param(call, &req.run_id);
    req.reason = reason ? (char *)reason : "";
    if (!st.code && ask_aggregator(call, &q, &req, (const void **)&rep)) {
        log_info("run_stopped", log_s("run", req.run_id), log_s("request", http_request_id(call)));
        json_reply(call, 200, pbjson_encode(&rep->run->base));
    }
    return st;
}

struct status runs_stop(struct http_call *call)
{
    struct status st = caller_require(call, ROLE_ADMIN);
    json_t *body = NULL;

    if (!st.code)
        st = ask_body(call, &body);
    if (!st.code)
        st = stop(call, body);
    json_decref(body);
    return st;
}
