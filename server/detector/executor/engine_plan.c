/* engine_plan.c - see engine_plan.h. */
#include "engine_plan.h"

#include <stdlib.h>

struct planned {
    struct engine base;
    struct plan *plan;
    struct plan_run *run;
};

static void make(struct engine **out, const struct engine_kind *kind, struct plan *plan)
{
    struct planned *e = xcalloc(1, sizeof *e);

    e->base.kind = kind;
    e->plan = plan;
    e->run = plan_run_new(plan);
    for (size_t i = 0; i < plan->net->cfg->n_heads; i++)
        e->base.heads[i] = plan_run_head(e->run, i);
    *out = &e->base;
}

struct status engine_plan_create(struct engine **out, const struct engine_kind *kind, const struct network *net,
                                 const struct plan_types *types)
{
    struct plan *plan;
    struct status st = plan_new(&plan, net, types);

    if (!st.code)
        make(out, kind, plan);
    return st;
}

struct status engine_plan_clone(struct engine **out, const struct engine *e)
{
    make(out, e->kind, plan_acquire(((const struct planned *)e)->plan));
    return status_ok();
}

void engine_plan_forward(struct engine *e, const float *picture)
{
    plan_run_forward(((struct planned *)e)->run, picture);
}

void engine_plan_destroy(struct engine *e)
{
    struct planned *p = (struct planned *)e;

    plan_run_free(p->run);
    plan_release(p->plan);
    free(p);
}

struct plan_run *engine_plan_run(const struct engine *e)
{
    return e->kind->destroy == engine_plan_destroy ? ((const struct planned *)e)->run : NULL;
}

const struct plan *engine_plan(const struct engine *e)
{
    return e->kind->destroy == engine_plan_destroy ? ((const struct planned *)e)->plan : NULL;
}
