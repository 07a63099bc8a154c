/* engine_fp32.c - our own kernels in floats, layer by layer the fastest method. */
#include "engine_plan.h"

static struct status fp32_create(struct engine **out, const struct network *net)
{
    return engine_plan_create(out, &engine_fp32, net, NULL);
}

const struct engine_kind engine_fp32 = {
    .name = "fp32",
    .create = fp32_create,
    .clone = engine_plan_clone,
    .forward = engine_plan_forward,
    .destroy = engine_plan_destroy,
    .precision = "fp32",
};
