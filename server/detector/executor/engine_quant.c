/* engine_quant.c - our own kernels in fewer bits than floats. int16 is for CPUs that multiply pairs of 16-bit integers
 * (AVX2), almost without loss; int8 for those that multiply groups of four bytes (VNNI; elsewhere the same sums by 16
 * bits, so that its results can be looked at on any CPU). Both need the network's ranges. bf16 needs none: it rounds
 * floats to their upper halves and is for CPUs that multiply pairs of those (AVX512-BF16); what has no kernel there, the
 * depthwise layers above all, computes in floats, which the layer before writes for it. */
#include "direct.h"
#include "engine_plan.h"
#include "nn/nn.h"
#include "quant.h"

#include <stdlib.h>
#include <string.h>

static struct plan_type plan_type_of(const struct quant_tensor *t)
{
    return (struct plan_type){t->type, t->scale, t->zero};
}

/* Small groups have no kernel in integers. */
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

static struct status check_bf16(void)
{
    return direct_tiles_get_bf16() ? status_ok()
                                   : status_errorf(ST_UNAVAILABLE, "engine bf16 needs a CPU with AVX512-BF16");
}

static struct status check_integers(void)
{
    return strcmp(nn_kernel_isa(), "portable") != 0
               ? status_ok()
               : status_errorf(ST_UNAVAILABLE, "engines in integers need a CPU with AVX2");
}

static struct status create(struct engine **out, const struct network *net, const struct engine_kind *kind,
                            enum tensor_type type)
{
    struct quant *q = xcalloc(1, sizeof *q);
    struct plan_types *types = xcalloc(1, sizeof *types);
    struct status st = kind->check_cpu();

    if (!st.code)
        st = quant_assign(q, net, type);
    if (!st.code) {
        fill_types(types, q, net->cfg);
        st = engine_plan_create(out, kind, net, types);
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

static struct status create_bf16(struct engine **out, const struct network *net)
{
    return create(out, net, &engine_bf16, TENSOR_BF16);
}

/* tolerance: about four times what the public models show on the picture of the trial, or more. */
const struct engine_kind engine_int16 = {
    .name = "int16",
    .create = create_int16,
    .clone = engine_plan_clone,
    .forward = engine_plan_forward,
    .destroy = engine_plan_destroy,
    .check_cpu = check_integers,
    .precision = "int16",
    .tolerance = 0.15,
};
const struct engine_kind engine_int8 = {
    .name = "int8",
    .create = create_int8,
    .clone = engine_plan_clone,
    .forward = engine_plan_forward,
    .destroy = engine_plan_destroy,
    .check_cpu = check_integers,
    .precision = "int8",
    .tolerance = 0.25,
};
const struct engine_kind engine_bf16 = {
    .name = "bf16",
    .create = create_bf16,
    .clone = engine_plan_clone,
    .forward = engine_plan_forward,
    .destroy = engine_plan_destroy,
    .check_cpu = check_bf16,
    .precision = "bf16",
    .tolerance = 0.05,
};
