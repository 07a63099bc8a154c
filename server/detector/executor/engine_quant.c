/* engine_quant.c - our own kernels in integers: int16 for CPUs that multiply pairs of 16-bit values (AVX2), almost
 * without loss; int8 for those that multiply groups of four bytes (VNNI; elsewhere the same sums by 16 bits, so that its
 * results can be looked at on any CPU). Both need the network's ranges. */
#include "engine.h"
#include "nn/nn.h"
#include "plan_run.h"
#include "quant.h"

#include <stdlib.h>
#include <string.h>

struct quant_engine {
    struct engine base;
    struct plan_run *run;
};

static void quant_forward(struct engine *base, const float *picture)
{
    plan_run_forward(((struct quant_engine *)base)->run, picture);
}

static void quant_destroy(struct engine *base)
{
    plan_run_free(((struct quant_engine *)base)->run);
    free(base);
}

static struct plan_type plan_type_of(const struct quant_tensor *t)
{
    return (struct plan_type){t->type, t->scale, t->zero};
}

/* Small groups have no quantised kernel. */
static bool has_kernel(const struct cfg_layer *l)
{
    size_t filters = l->out.c / l->groups;
    return l->groups == 1 || filters % 8 == 0 || (l->groups == l->in.c && filters == 1);
}

/* A convolution reads its input as it is kept; those that stay in float get a copy in floats. So does the first one:
 * the picture is never rounded. */
static void fill_types(struct plan_types *types, const struct quant *q, const struct cfg *c)
{
    for (size_t i = 0; i < c->n_layers; i++) {
        const struct cfg_layer *l = &c->layers[i];
        types->out[i] = plan_type_of(&q->layers[i]);
        if (l->kind == CFG_CONVOLUTION && l->from[0] >= 0 && !q->keep_float[i] && has_kernel(l))
            types->in[i] = plan_type_of(&q->layers[l->from[0]]);
    }
}

static struct status create(struct engine **out, const struct network *net, const struct engine_kind *kind,
                            enum tensor_type type)
{
    struct quant *q = xcalloc(1, sizeof *q);
    struct plan_types *types = xcalloc(1, sizeof *types);
    struct plan *plan = NULL;
    struct status st = strcmp(nn_kernel_isa(), "portable") != 0
                           ? quant_assign(q, net, type)
                           : status_errorf(ST_UNAVAILABLE, "engine %s needs a CPU with AVX2", kind->name);

    if (!st.code) {
        fill_types(types, q, net->cfg);
        st = plan_new(&plan, net, types);
    }
    if (!st.code) {
        struct quant_engine *e = xcalloc(1, sizeof *e);
        e->base.kind = kind;
        e->run = plan_run_new(plan);
        plan_release(plan);
        for (size_t i = 0; i < net->cfg->n_heads; i++)
            e->base.heads[i] = plan_run_head(e->run, i);
        *out = &e->base;
    }
    free(types);
    free(q);
    return st;
}

static struct status create_int16(struct engine **out, const struct network *net)
{
    return create(out, net, &engine_int16, TENSOR_S16);
}

static struct status create_int8(struct engine **out, const struct network *net)
{
    return create(out, net, &engine_int8, TENSOR_U8);
}

const struct engine_kind engine_int16 = {"int16", create_int16, quant_forward, quant_destroy};
const struct engine_kind engine_int8 = {"int8", create_int8, quant_forward, quant_destroy};
