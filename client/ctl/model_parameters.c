/* model_parameters.c - see model_parameters.h. Names and ranges are those of model/parameters.h, so that a wrong one is
 * told before anything is sent. */
#include "model_parameters.h"

#include "bloginfer/v1/registry.pb-c.h"
#include "model/parameters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE &bloginfer__v1__model_registry_service__descriptor

/* "canary" is short for "canary_percent". */
static char *full_name(struct arena *a, const char *name)
{
    bool is_short = !strcmp(name, "canary") || !strcmp(name, "shadow");

    return arena_printf(a, "%s%s", name, is_short ? "_percent" : "");
}

/* Takes "name=value" apart, into p; *name lives in the arena. */
static struct status change_parse(struct arena *a, const char *change, struct model_parameters *p, char **name)
{
    const char *value = strchr(change, '=');
    char *copy = arena_strdup(a, change), *end;

    if (!value || value == change || !value[1])
        return status_errorf(ST_INVALID, "\"%.60s\": must be NAME=VALUE", change);
    copy[value - change] = '\0';
    *name = full_name(a, copy);
    double number = strtod(value + 1, &end);
    if (*end)
        return status_errorf(ST_INVALID, "%s: \"%.40s\" is not a number", *name, value + 1);
    return model_parameters_set(p, *name, number);
}

static struct status change(struct ctl *ctl, char *task, int n, char **changes,
                            const Bloginfer__V1__ModelParameters **out)
{
    Bloginfer__V1__SetModelParametersRequest req = BLOGINFER__V1__SET_MODEL_PARAMETERS_REQUEST__INIT;
    Bloginfer__V1__ModelParameters m = BLOGINFER__V1__MODEL_PARAMETERS__INIT;
    const Bloginfer__V1__SetModelParametersResponse *rep;
    struct model_parameters p = model_parameters_default();
    struct status st = status_ok();

    req.fields = arena_alloc(&ctl->arena, (size_t)n * sizeof *req.fields);
    for (int i = 0; i < n && !st.code; i++)
        st = change_parse(&ctl->arena, changes[i], &p, &req.fields[i]);
    if (st.code)
        return st;
    m.threshold = p.threshold;
    m.max_batch = p.max_batch;
    m.max_queue_delay_us = p.max_queue_delay_us;
    m.canary_percent = p.canary_percent;
    m.shadow_percent = p.shadow_percent;
    req.task = task;
    req.parameters = &m;
    req.n_fields = (size_t)n;
    st = ctl_call(ctl, CTL_AGGREGATOR, SERVICE, "SetModelParameters", &req, (const void **)&rep);
    if (!st.code)
        *out = rep->parameters;
    return st;
}

static struct status get(struct ctl *ctl, char *task, const Bloginfer__V1__ModelParameters **out)
{
    Bloginfer__V1__GetModelParametersRequest req = BLOGINFER__V1__GET_MODEL_PARAMETERS_REQUEST__INIT;
    const Bloginfer__V1__GetModelParametersResponse *rep;

    req.task = task;
    struct status st = ctl_call(ctl, CTL_AGGREGATOR, SERVICE, "GetModelParameters", &req, (const void **)&rep);
    if (!st.code)
        *out = rep->parameters;
    return st;
}

int model_parameters(struct ctl *ctl, char *task, int n_changes, char **changes)
{
    const Bloginfer__V1__ModelParameters *p = NULL;
    struct status st = n_changes ? change(ctl, task, n_changes, changes, &p) : get(ctl, task, &p);

    if (st.code || !p)
        return ctl_fail(st.code ? st : status_errorf(ST_INTERNAL, "an answer without parameters"));
    if (ctl->settings.json)
        return ctl_print_json(&p->base);
    struct table *t = table_new("TASK", ">THRESHOLD", ">MAX BATCH", ">MAX QUEUE DELAY", ">CANARY", ">SHADOW", NULL);
    table_cell(t, "%s", task);
    table_cell(t, "%g", p->threshold);
    table_cell(t, "%u", p->max_batch);
    table_cell(t, "%u us", p->max_queue_delay_us);
    table_cell(t, "%g %%", p->canary_percent);
    table_cell(t, "%g %%", p->shadow_percent);
    table_print(t, stdout, terminal_width(stdout));
    return CTL_OK;
}
