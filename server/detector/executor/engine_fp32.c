/* engine_fp32.c - our own kernels in floats, layer by layer the fastest method. */
#include "engine.h"
#include "plan_run.h"

#include <stdlib.h>

struct fp32 {
    struct engine base;
    struct plan_run *run;
};

static void fp32_forward(struct engine *base, const float *picture)
{
    plan_run_forward(((struct fp32 *)base)->run, picture);
}

static void fp32_destroy(struct engine *base)
{
    plan_run_free(((struct fp32 *)base)->run);
    free(base);
}

static struct status fp32_create(struct engine **out, const struct network *net)
{
    struct plan *plan;
    struct status st = plan_new(&plan, net, NULL);

    if (st.code)
        return st;
    struct fp32 *e = xcalloc(1, sizeof *e);
    e->base.kind = &engine_fp32;
    e->run = plan_run_new(plan);
    plan_release(plan);
    for (size_t i = 0; i < net->cfg->n_heads; i++)
        e->base.heads[i] = plan_run_head(e->run, i);
    *out = &e->base;
    return st;
}

const struct engine_kind engine_fp32 = {"fp32", fp32_create, fp32_forward, fp32_destroy};
