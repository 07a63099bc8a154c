/* registry.c - /api/models: what the registry holds, and moving its pointers. */
#include "bloginfer/v1/registry.pb-c.h"
#include "caller.h"
#include "json.h"
#include "models.h"
#include "pbjson/pbjson.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE  (&bloginfer__v1__model_registry_service__descriptor)
#define MAX_KEEP 100000

/* ---- as JSON ---- */

static json_t *version_json(const Bloginfer__V1__ModelVersion *m)
{
    json_t *out = json_pack("{s:I, s:b, s:b, s:I, s:s}", "version", (json_int_t)m->version, "production", m->production,
                            "candidate", m->candidate, "size_bytes", (json_int_t)m->size_bytes, "sha256", m->sha256);
    json_t *metadata = json_object();

    for (size_t i = 0; i < m->n_metadata; i++)
        json_object_set_new(metadata, m->metadata[i]->key, json_string(m->metadata[i]->value));
    json_object_set_new(out, "metadata", metadata);
    return out;
}

static json_t *task_json(const Bloginfer__V1__TaskParameters *t, const Bloginfer__V1__ListModelsResponse *models)
{
    json_t *versions = json_array();

    for (size_t i = 0; i < models->n_models; i++)
        if (!strcmp(models->models[i]->task, t->task))
            json_array_append_new(versions, version_json(models->models[i]));
    return json_pack("{s:s, s:I, s:I, s:o, s:o}", "task", t->task, "production", (json_int_t)t->version, "candidate",
                     (json_int_t)t->candidate, "parameters", pbjson_encode(&t->parameters->base), "versions", versions);
}

/* ---- reading ---- */

/* False: answered. Both live in the request's arena. */
static bool ask_tasks(struct http_call *call, const char *task,
                      const Bloginfer__V1__ListModelParametersResponse **tasks,
                      const Bloginfer__V1__ListModelsResponse **models)
{
    Bloginfer__V1__ListModelParametersRequest about = BLOGINFER__V1__LIST_MODEL_PARAMETERS_REQUEST__INIT;
    Bloginfer__V1__ListModelsRequest versions = BLOGINFER__V1__LIST_MODELS_REQUEST__INIT;
    const struct question parameters = {SERVICE, "ListModelParameters"}, list = {SERVICE, "ListModels"};

    about.task = (char *)task;
    versions.task = (char *)task;
    return ask_aggregator(call, &parameters, &about, (const void **)tasks) &&
           ask_aggregator(call, &list, &versions, (const void **)models);
}

struct status models_list(struct http_call *call)
{
    const Bloginfer__V1__ListModelParametersResponse *tasks;
    const Bloginfer__V1__ListModelsResponse *models;
    json_t *all;

    if (!ask_tasks(call, "", &tasks, &models))
        return status_ok();
    all = json_array();
    for (size_t i = 0; i < tasks->n_tasks; i++)
        json_array_append_new(all, task_json(tasks->tasks[i], models));
    json_reply(call, 200, json_pack("{s:o}", "models", all));
    return status_ok();
}

/* Answers with the task as it is. */
static struct status reply_task(struct http_call *call, const char *task)
{
    const Bloginfer__V1__ListModelParametersResponse *tasks;
    const Bloginfer__V1__ListModelsResponse *models;

    if (!ask_tasks(call, task, &tasks, &models))
        return status_ok();
    if (tasks->n_tasks != 1)
        return status_errorf(ST_INTERNAL, "%zu tasks were answered for one", tasks->n_tasks);
    json_reply(call, 200, task_json(tasks->tasks[0], models));
    return status_ok();
}

struct status models_show(struct http_call *call)
{
    return reply_task(call, http_param(call, "task"));
}

/* A version of the path. */
static struct status version_param(struct http_call *call, uint64_t *version)
{
    const char *text = http_param(call, "version");

    if (!*text || text[strspn(text, "0123456789")] || strlen(text) > 15 || !(*version = strtoull(text, NULL, 10)))
        return status_errorf(ST_NOT_FOUND, "a version is a number from 1");
    return status_ok();
}

static void reply_version(struct http_call *call, const Bloginfer__V1__ModelVersion *m)
{
    json_t *out = version_json(m);

    json_object_set_new(out, "task", json_string(m->task));
    json_reply(call, 200, out);
}

struct status models_version(struct http_call *call)
{
    Bloginfer__V1__GetModelRequest req = BLOGINFER__V1__GET_MODEL_REQUEST__INIT;
    const struct question q = {SERVICE, "GetModel"};
    const Bloginfer__V1__GetModelResponse *rep;
    struct status st = version_param(call, &req.version);

    req.task = (char *)http_param(call, "task");
    if (!st.code && ask_aggregator(call, &q, &req, (const void **)&rep))
        reply_version(call, rep->model);
    return st;
}

/* ---- changing ---- */

static struct status no_options(struct http_call *call)
{
    json_t *body = NULL;
    struct status st = ask_body(call, &body);

    if (!st.code)
        st = ask_members(body, NULL, 0);
    json_decref(body);
    return st;
}

struct status models_promote(struct http_call *call)
{
    Bloginfer__V1__PromoteModelRequest req = BLOGINFER__V1__PROMOTE_MODEL_REQUEST__INIT;
    const struct question q = {SERVICE, "PromoteModel"};
    const Bloginfer__V1__PromoteModelResponse *rep;
    struct status st = caller_require(call, ROLE_ADMIN);

    if (!st.code)
        st = version_param(call, &req.version);
    if (!st.code)
        st = no_options(call);
    req.task = (char *)http_param(call, "task");
    if (!st.code && ask_aggregator(call, &q, &req, (const void **)&rep))
        reply_version(call, rep->model);
    return st;
}

struct status models_rollback(struct http_call *call)
{
    Bloginfer__V1__RollbackModelRequest req = BLOGINFER__V1__ROLLBACK_MODEL_REQUEST__INIT;
    const struct question q = {SERVICE, "RollbackModel", .once = true};
    const Bloginfer__V1__RollbackModelResponse *rep;
    struct status st = caller_require(call, ROLE_ADMIN);

    if (!st.code)
        st = no_options(call);
    req.task = (char *)http_param(call, "task");
    if (!st.code && ask_aggregator(call, &q, &req, (const void **)&rep))
        reply_version(call, rep->model);
    return st;
}

static void reply_removed(struct http_call *call, const Bloginfer__V1__PruneModelsResponse *rep)
{
    json_t *removed = json_array();

    for (size_t i = 0; i < rep->n_removed; i++)
        json_array_append_new(removed, json_integer((json_int_t)rep->removed[i]));
    json_reply(call, 200, json_pack("{s:o}", "removed", removed));
}

struct status models_prune(struct http_call *call)
{
    static const char *const members[] = {"keep"};
    Bloginfer__V1__PruneModelsRequest req = BLOGINFER__V1__PRUNE_MODELS_REQUEST__INIT;
    const struct question q = {SERVICE, "PruneModels"};
    const Bloginfer__V1__PruneModelsResponse *rep;
    struct status st = caller_require(call, ROLE_ADMIN);
    json_t *body = NULL;
    double keep = 0;

    if (!st.code)
        st = ask_body(call, &body);
    if (!st.code)
        st = ask_members(body, members, COUNT_OF(members));
    if (!st.code && !json_is_integer(json_object_get(body, "keep")))
        st = status_errorf(ST_INVALID, "\"keep\" has to be a whole number");
    if (!st.code)
        st = json_number(body, "keep", 1, MAX_KEEP, 0, &keep);
    json_decref(body);
    req.task = (char *)http_param(call, "task");
    req.keep = (uint64_t)keep;
    if (!st.code && ask_aggregator(call, &q, &req, (const void **)&rep))
        reply_removed(call, rep);
    return st;
}
