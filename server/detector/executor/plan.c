/* plan.c - making and sharing plans. */
#include "plan.h"

#include <stdlib.h>

struct status plan_new(struct plan **out, const struct network *net, const struct plan_types *types)
{
    struct plan *p = xcalloc(1, sizeof *p);

    p->net = net;
    atomic_init(&p->n_users, 1);
    plan_build(p, types);
    plan_place(p);
    struct status st = plan_choose(p);
    if (st.code) {
        plan_release(p);
        return st;
    }
    plan_chain(p);
    plan_place(p); /* anew: rings need less, and all tensors of a chain are in use at once */
    *out = p;
    return st;
}

struct plan *plan_acquire(struct plan *p)
{
    atomic_fetch_add(&p->n_users, 1);
    return p;
}

void plan_release(struct plan *p)
{
    if (!p || atomic_fetch_sub(&p->n_users, 1) > 1)
        return;
    for (size_t i = 0; i < p->n_steps; i++)
        if (p->steps[i].conv)
            p->steps[i].conv->method->destroy(p->steps[i].conv);
    free(p);
}

size_t plan_weights_size(const struct plan *p)
{
    size_t size = 0;

    for (size_t i = 0; i < p->n_steps; i++)
        size += p->steps[i].conv ? p->steps[i].conv->weights_size : 0;
    return size;
}

float plan_slope(enum cfg_activation activation)
{
    return activation == CFG_LEAKY ? 0.1f : activation == CFG_RELU ? 0 : 1;
}
