/* routes.c - see routes.h. */
#include "routes.h"

#include "pbjson/pbjson.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define BODY_MAX      (64 << 10)
#define RETRY_AFTER_S "5"

/* Gives object away. */
static struct status reply_json(struct http_call *call, int http_code, json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);

    json_decref(object);
    if (!text)
        return status_errorf(ST_INTERNAL, "the answer cannot be written as JSON");
    http_reply(call, http_code, "application/json", text, strlen(text));
    free(text);
    return status_ok();
}

/* An aggregator that is away is worth a retry. */
static struct status from_aggregator(struct http_call *call, struct status st)
{
    if (st.code == ST_UNAVAILABLE)
        http_set_header(call, "Retry-After", RETRY_AFTER_S);
    return st;
}

static bool is_active(const Bloginfer__V1__Run *run)
{
    return run->state == BLOGINFER__V1__RUN_STATE__RUN_STATE_WAITING ||
           run->state == BLOGINFER__V1__RUN_STATE__RUN_STATE_TRAINING;
}

/* "sentiment-20261122-101500-1f3a" */
static const char *make_run_id(struct arena *arena, const char *task)
{
    char stamp[32];
    time_t now = (time_t)(clock_wall() / CLOCK_SECOND);
    struct tm tm;
    uint16_t salt;

    if (!*task)
        task = "sentiment";
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", gmtime_r(&now, &tm));
    if (getrandom(&salt, sizeof salt, 0) != sizeof salt)
        salt = (uint16_t)clock_now();
    return arena_printf(arena, "%.32s-%s-%04x", run_id_valid(task) ? task : "run", stamp, salt);
}

/* "run_id" of the body into the arena, and out of the object; stays as it is when there is none. */
static struct status take_run_id(json_t *object, struct arena *arena, const char **run_id)
{
    json_t *value = json_object_get(object, "run_id");

    if (!value)
        return status_ok();
    if (!json_is_string(value) || !run_id_valid(json_string_value(value)))
        return status_errorf(ST_INVALID, "\"run_id\": must be 1 to %d characters of a-z, 0-9 and -", RUN_ID_MAX);
    *run_id = arena_strdup(arena, json_string_value(value));
    json_object_del(object, "run_id");
    return status_ok();
}

/* An empty body is {}: everything by default. */
static struct status parse_body(struct http_call *call, Bloginfer__V1__RunConfig *config, const char **run_id)
{
    size_t size;
    const char *body = http_body(call, &size);
    json_error_t error = {0};
    json_t *object = size ? json_loadb(body, size, JSON_REJECT_DUPLICATES, &error) : json_object();

    if (!object)
        return status_errorf(ST_INVALID, "the body is not JSON: line %d, column %d: %s", error.line, error.column,
                             error.text);
    struct status st = status_ok();
    if (!json_is_object(object))
        st = status_errorf(ST_INVALID, "the body must be a JSON object");
    if (!st.code)
        st = take_run_id(object, http_arena(call), run_id);
    if (!st.code)
        st = pbjson_decode(&config->base, object, http_arena(call));
    json_decref(object);
    return st;
}

/* The trainer is for programs: a page in an operator's browser, which sends Origin, must not command it. */
static struct status check_origin(const struct http_call *call)
{
    return http_header(call, "Origin") ? status_errorf(ST_DENIED, "requests of web pages are not taken here")
                                       : status_ok();
}

static struct status train(struct http_call *call)
{
    struct routes_service *service = http_service(call);
    Bloginfer__V1__RunConfig config = BLOGINFER__V1__RUN_CONFIG__INIT;
    const Bloginfer__V1__StartRunResponse *rep;
    const char *run_id = NULL;
    struct status st = check_origin(call);

    if (!st.code)
        st = parse_body(call, &config, &run_id);
    if (st.code)
        return st;
    if (!run_id)
        run_id = make_run_id(http_arena(call), config.task);
    if (!run_id)
        return status_errorf(ST_EXHAUSTED, "the request is too large");
    st = aggregator_start_run(service->aggregator, http_arena(call), run_id, &config, &rep);
    if (st.code)
        return from_aggregator(call, st);
    if (is_active(rep->run))
        supervisor_launch(service->supervisor, run_id);
    log_info("train", log_s("run", run_id), log_i("created", rep->created), log_s("request", http_request_id(call)));
    json_t *object = pbjson_encode(&rep->run->base);
    json_object_set_new(object, "created", json_boolean(rep->created));
    return reply_json(call, is_active(rep->run) ? 202 : 200, object);
}

static struct status list_runs(struct http_call *call)
{
    struct routes_service *service = http_service(call);
    const Bloginfer__V1__ListRunsResponse *rep;
    struct status st = aggregator_list_runs(service->aggregator, http_arena(call), false, &rep);

    return st.code ? from_aggregator(call, st) : reply_json(call, 200, pbjson_encode(&rep->base));
}

/* A name that cannot be a run's needs no question. */
static struct status check_run_id(const char *run_id)
{
    return run_id_valid(run_id) ? status_ok() : status_errorf(ST_NOT_FOUND, "no such run");
}

static struct status show_run(struct http_call *call)
{
    struct routes_service *service = http_service(call);
    const char *run_id = http_param(call, "id");
    const Bloginfer__V1__Run *run;
    struct status st = check_run_id(run_id);

    if (!st.code)
        st = from_aggregator(call, aggregator_get_run(service->aggregator, http_arena(call), run_id, &run));
    return st.code ? st : reply_json(call, 200, pbjson_encode(&run->base));
}

static struct status stop_run(struct http_call *call)
{
    struct routes_service *service = http_service(call);
    const char *run_id = http_param(call, "id");
    const Bloginfer__V1__Run *run;
    struct status st = check_origin(call);

    if (!st.code)
        st = check_run_id(run_id);
    if (!st.code)
        st = from_aggregator(
            call, aggregator_stop_run(service->aggregator, http_arena(call), run_id, "stopped by an operator", &run));
    if (st.code)
        return st;
    supervisor_wake(service->supervisor);
    return reply_json(call, 200, pbjson_encode(&run->base));
}

static struct status healthz(struct http_call *call)
{
    return reply_json(call, 200, json_pack("{s:s, s:s}", "status", "ok", "version", BLOGINFER_VERSION));
}

/* Without its aggregator the trainer still answers, and says so: only an orderly stop makes it not ready. */
static struct status readyz(struct http_call *call)
{
    struct routes_service *service = http_service(call);

    if (atomic_load(&service->draining))
        return status_errorf(ST_UNAVAILABLE, "stopping");
    return healthz(call);
}

const struct http_route routes[] = {
    {"POST", "/train", train, BODY_MAX},      {"GET", "/runs", list_runs, 0},  {"GET", "/runs/{id}", show_run, 0},
    {"POST", "/runs/{id}/stop", stop_run, 0}, {"GET", "/healthz", healthz, 0}, {"GET", "/readyz", readyz, 0},
};
const size_t routes_n = COUNT_OF(routes);
