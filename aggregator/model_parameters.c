/* model_parameters.c - see model_parameters.h. Parameters may be set before there is a version, for a built-in model. */
#include "model_parameters.h"

#include "classifier/classifier.h"

#include <limits.h>
#include <stdio.h>

struct status registry_task_check(struct registry *r, const char *task)
{
    char path[PATH_MAX + STORE_TASK_MAX + 2];
    struct status st = store_task_check(task);

    if (st.code || classifier_task_labels(task))
        return st;
    snprintf(path, sizeof path, "%s/%s", registry_dir(r), task);
    return fs_exists(path) ? st : status_errorf(ST_NOT_FOUND, "task %s is not known here", task);
}

Bloginfer__V1__ModelParameters *registry_parameters(struct arena *a, const struct model_parameters *p)
{
    Bloginfer__V1__ModelParameters *out = arena_alloc(a, sizeof *out);

    if (!out)
        return NULL;
    bloginfer__v1__model_parameters__init(out);
    out->threshold = p->threshold;
    out->max_batch = p->max_batch;
    out->max_queue_delay_us = p->max_queue_delay_us;
    out->canary_percent = p->canary_percent;
    out->shadow_percent = p->shadow_percent;
    return out;
}

static struct status answer(struct rpc_call *call, const struct model_parameters *p,
                            Bloginfer__V1__ModelParameters **out)
{
    *out = registry_parameters(rpc_arena(call), p);
    return *out ? status_ok() : status_errorf(ST_EXHAUSTED, "no room for the answer");
}

/* ModelRegistryService/GetModelParameters. */
struct status model_parameters_get(struct rpc_call *call, const void *in, void *out)
{
    struct registry *r = rpc_service(call);
    const Bloginfer__V1__GetModelParametersRequest *req = in;
    Bloginfer__V1__GetModelParametersResponse *rep = out;
    struct model_parameters p;
    struct status st = registry_task_check(r, req->task);

    if (!st.code)
        st = store_get_parameters(registry_dir(r), req->task, &p);
    if (!st.code)
        st = answer(call, &p, &rep->parameters);
    return registry_answerable(st, req->task);
}

/* ModelRegistryService/SetModelParameters. */
struct status model_parameters_change(struct rpc_call *call, const void *in, void *out)
{
    struct registry *r = rpc_service(call);
    const Bloginfer__V1__SetModelParametersRequest *req = in;
    Bloginfer__V1__SetModelParametersResponse *rep = out;
    const Bloginfer__V1__ModelParameters *m = req->parameters;
    struct model_parameters p;

    if (!m || !req->n_fields)
        return status_errorf(ST_INVALID, "parameters and fields: name what to change, and to what");
    const struct model_parameters from = {m->threshold, m->max_batch, m->max_queue_delay_us, m->canary_percent,
                                          m->shadow_percent};
    struct status st = registry_task_check(r, req->task);
    if (!st.code)
        st = registry_set_parameters(r, req->task, &from, req->fields, req->n_fields, &p);
    if (!st.code) {
        const char *who = rpc_identity(call);
        log_info("parameters_set", log_s("task", req->task), log_f("threshold", p.threshold),
                 log_i("max_batch", p.max_batch), log_i("max_queue_delay_us", p.max_queue_delay_us),
                 log_f("canary_percent", p.canary_percent), log_f("shadow_percent", p.shadow_percent),
                 log_s("by", who ? who : rpc_peer(call)));
        st = answer(call, &p, &rep->parameters);
    }
    return registry_answerable(st, req->task);
}
