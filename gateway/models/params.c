/* params.c - /params and /api/models/{task}/params: what is set for the models while they serve, and which version does.
 * The registry checks and changes everything of a request in one step; here the JSON is taken apart, and the etag, which is
 * the registry's, goes to and fro. A PUT changes the members that it names. */
#include "bloginfer/v1/registry.pb-c.h"
#include "caller.h"
#include "json.h"
#include "models.h"
#include "pbjson/pbjson.h"

#include <stdio.h>
#include <string.h>

#define SERVICE   (&bloginfer__v1__model_registry_service__descriptor)
#define MAX_ETAGS 8
#define MAX_TASKS 256
#define ETAG_SIZE 65 /* longest that is taken, with its NUL */

/* ---- the body of a PUT ---- */

/* Names of the members, in the arena. */
static struct status take_fields(const json_t *object, struct arena *a, Bloginfer__V1__TaskChange *c)
{
    const char *key;
    json_t *value;

    c->fields = arena_zalloc(a, json_object_size(object) + 1, sizeof *c->fields);
    if (!c->fields)
        return status_errorf(ST_EXHAUSTED, "the body is too large");
    json_object_foreach((json_t *)object, key, value) c->fields[c->n_fields++] = (char *)key;
    return status_ok();
}

static struct status take_version(const json_t *object, Bloginfer__V1__TaskChange *c)
{
    const json_t *version = json_object_get(object, "version");

    if (version && (!json_is_integer(version) || json_integer_value(version) < 0))
        return status_errorf(ST_INVALID, "\"version\" has to be the number of a version");
    c->version = (uint64_t)json_integer_value(version);
    return status_ok();
}

static struct status take_task(const char *task, const json_t *object, struct arena *a, Bloginfer__V1__TaskChange **out)
{
    Bloginfer__V1__TaskChange *c = arena_alloc(a, sizeof *c);
    Bloginfer__V1__ModelParameters *p = arena_alloc(a, sizeof *p);
    json_t *rest;
    struct status st;

    if (!c || !p)
        return status_errorf(ST_EXHAUSTED, "the body is too large");
    if (!json_is_object(object))
        return status_errorf(ST_INVALID, "%.40s: it has to be an object of parameters", task);
    bloginfer__v1__task_change__init(c);
    bloginfer__v1__model_parameters__init(p);
    c->task = (char *)task;
    c->parameters = p;
    st = take_fields(object, a, c);
    if (!st.code)
        st = take_version(object, c);
    rest = json_copy((json_t *)object);
    json_object_del(rest, "version");
    if (!st.code)
        st = pbjson_decode(&p->base, rest, a);
    json_decref(rest);
    *out = c;
    return status_prefix(st, "%.40s", task);
}

static struct status take_tasks(const json_t *models, struct arena *a, params_request *req)
{
    struct status st = status_ok();
    const char *task;
    json_t *value;

    if (!json_is_object(models) || !json_object_size(models))
        return status_errorf(ST_INVALID, "\"models\" has to be an object with the parameters of at least one model");
    if (json_object_size(models) > MAX_TASKS)
        return status_errorf(ST_INVALID, "\"models\" has over %d members", MAX_TASKS);
    req->changes = arena_zalloc(a, json_object_size(models), sizeof *req->changes);
    if (!req->changes)
        return status_errorf(ST_EXHAUSTED, "the body is too large");
    json_object_foreach((json_t *)models, task, value)
    {
        if (!st.code)
            st = take_task(task, value, a, &req->changes[req->n_changes]);
        req->n_changes += !st.code;
    }
    return st;
}

static struct status take_one(const json_t *body, const char *task, struct arena *a, params_request *req)
{
    const json_t *its = json_object_get(body, "task"), *parameters = json_object_get(body, "parameters");

    if (its && (!json_is_string(its) || strcmp(json_string_value(its), task) != 0))
        return status_errorf(ST_INVALID, "\"task\" is not the one of the path");
    if (!parameters)
        return status_errorf(ST_INVALID, "\"parameters\" is missing");
    req->task = (char *)task;
    req->changes = arena_zalloc(a, 1, sizeof *req->changes);
    req->n_changes = 1;
    return req->changes ? take_task(task, parameters, a, &req->changes[0])
                        : status_errorf(ST_EXHAUSTED, "the body is too large");
}

struct status params_parse(const json_t *body, const char *task, struct arena *a, params_request *req,
                           const char **etag)
{
    static const char *const of_all[] = {"etag", "models"}, *const of_one[] = {"etag", "task", "parameters"};
    struct status st = json_text(body, "etag", ETAG_SIZE - 1, false, etag);

    if (!st.code)
        st = task ? ask_members(body, of_one, COUNT_OF(of_one)) : ask_members(body, of_all, COUNT_OF(of_all));
    if (st.code)
        return st;
    return task ? take_one(body, task, a, req) : take_tasks(json_object_get(body, "models"), a, req);
}

/* ---- etags ---- */

struct status params_if_match(const char *header, struct arena *a, char ***etags, size_t *n)
{
    const char *p = header + strspn(header, " \t");

    *n = 0;
    *etags = arena_zalloc(a, MAX_ETAGS, sizeof **etags);
    if (!strcmp(p, "*"))
        return status_ok();
    while (*etags && *n < MAX_ETAGS) {
        bool weak = !strncmp(p, "W/", 2); /* compared strongly, it is no tag of ours */
        size_t size;

        p += weak ? 2 : 0;
        size = *p == '"' ? strcspn(p + 1, "\"") : 0;
        if (!size || size >= ETAG_SIZE || p[size + 1] != '"')
            break;
        (*etags)[*n] = arena_printf(a, "%s%.*s", weak ? "W/" : "", (int)size, p + 1);
        if (!(*etags)[(*n)++])
            break;
        p += size + 2;
        p += strspn(p, " \t");
        if (!*p)
            return status_ok();
        if (*p++ != ',')
            break;
        p += strspn(p, " \t");
    }
    return status_errorf(ST_INVALID, "If-Match: it has to be *, or at most %d tags in quotes", MAX_ETAGS);
}

static struct status take_condition(struct http_call *call, const char *etag, params_request *req)
{
    const char *header = http_header(call, "If-Match");

    if (header)
        return params_if_match(header, http_arena(call), &req->if_match, &req->n_if_match);
    if (!etag)
        return status_ok();
    req->if_match = arena_zalloc(http_arena(call), 1, sizeof *req->if_match);
    if (!req->if_match || !(req->if_match[0] = arena_strdup(http_arena(call), etag)))
        return status_errorf(ST_EXHAUSTED, "the body is too large");
    req->n_if_match = 1;
    return status_ok();
}

/* ---- answers ---- */

static json_t *parameters_json(const Bloginfer__V1__TaskParameters *t)
{
    json_t *out = pbjson_encode(&t->parameters->base);

    json_object_set_new(out, "version", json_integer((json_int_t)t->version));
    return out;
}

/* task: NULL: as /params has it. */
static void reply(struct http_call *call, const char *task, Bloginfer__V1__TaskParameters **tasks, size_t n,
                  const char *etag)
{
    char quoted[ETAG_SIZE + 2];
    const char *known = http_header(call, "If-None-Match");
    json_t *models;

    snprintf(quoted, sizeof quoted, "\"%.64s\"", etag);
    http_set_header(call, "ETag", quoted);
    http_set_header(call, "Cache-Control", "no-cache");
    if (!strcmp(http_method(call), "GET") && known && strstr(known, quoted)) {
        http_reply(call, 304, NULL, NULL, 0);
        return;
    }
    if (task) {
        json_reply(call, 200,
                   json_pack("{s:s, s:s, s:o}", "task", task, "etag", etag, "parameters", parameters_json(tasks[0])));
        return;
    }
    models = json_object();
    for (size_t i = 0; i < n; i++)
        json_object_set_new(models, tasks[i]->task, parameters_json(tasks[i]));
    json_reply(call, 200, json_pack("{s:s, s:o}", "etag", etag, "models", models));
}

static struct status get(struct http_call *call, const char *task)
{
    Bloginfer__V1__ListModelParametersRequest req = BLOGINFER__V1__LIST_MODEL_PARAMETERS_REQUEST__INIT;
    const struct question q = {SERVICE, "ListModelParameters"};
    const Bloginfer__V1__ListModelParametersResponse *rep;

    req.task = task ? (char *)task : "";
    if (!ask_aggregator(call, &q, &req, (const void **)&rep))
        return status_ok();
    if (task && rep->n_tasks != 1)
        return status_errorf(ST_INTERNAL, "%zu tasks were answered for one", rep->n_tasks);
    reply(call, task, rep->tasks, rep->n_tasks, rep->etag);
    return status_ok();
}

static struct status put(struct http_call *call, const char *task)
{
    params_request req = BLOGINFER__V1__CHANGE_MODEL_PARAMETERS_REQUEST__INIT;
    struct question q = {SERVICE, "ChangeModelParameters", .when_state = 412};
    const Bloginfer__V1__ChangeModelParametersResponse *rep;
    struct status st = caller_require(call, ROLE_ADMIN);
    const char *etag = NULL;
    json_t *body = NULL;

    if (!st.code)
        st = ask_body(call, &body);
    if (!st.code)
        st = params_parse(body, task, http_arena(call), &req, &etag);
    if (!st.code)
        st = take_condition(call, etag, &req);
    q.once = req.n_if_match > 0; /* the second time the etag is another one */
    if (!st.code && ask_aggregator(call, &q, &req, (const void **)&rep)) {
        if (task && rep->n_tasks != 1)
            st = status_errorf(ST_INTERNAL, "%zu tasks were answered for one", rep->n_tasks);
        else
            reply(call, task, rep->tasks, rep->n_tasks, rep->etag);
    }
    json_decref(body);
    return st;
}

struct status params_get_all(struct http_call *call)
{
    return get(call, NULL);
}

struct status params_put_all(struct http_call *call)
{
    return put(call, NULL);
}

struct status params_get_one(struct http_call *call)
{
    return get(call, http_param(call, "task"));
}

struct status params_put_one(struct http_call *call)
{
    return put(call, http_param(call, "task"));
}
