/* optimizer.c - the steps of gradient descent.
 *
 *   sgd        p -= rate g
 *   momentum   m = beta1 m + g;  p -= rate m
 *   adam       m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;
 *              p -= rate m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon)       (Kingma and Ba 2015)
 *   yogi       as adam, with  v -= (1 - beta2) sign(v - g^2) g^2                       (Zaheer et al. 2018) */
#include "nn/kernels.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct status nn_optimizer_kind_parse(const char *name, enum nn_optimizer_kind *kind)
{
    static const char *const names[] = {
        [NN_SGD] = "sgd", [NN_MOMENTUM] = "momentum", [NN_ADAM] = "adam", [NN_YOGI] = "yogi"};

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *kind = (enum nn_optimizer_kind)i;
            return status_ok();
        }
    }
    return status_errorf(ST_INVALID, "optimizer \"%.40s\": must be sgd, momentum, adam or yogi", name);
}

void nn_optimizer_init(struct nn_optimizer *o, enum nn_optimizer_kind kind, size_t n)
{
    *o = (struct nn_optimizer){.kind = kind, .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .n = n};
    if (kind != NN_SGD)
        o->m = xaligned(n, sizeof *o->m);
    if (kind == NN_ADAM || kind == NN_YOGI)
        o->v = xaligned(n, sizeof *o->v);
}

void nn_optimizer_fini(struct nn_optimizer *o)
{
    free(o->m);
    free(o->v);
    o->m = o->v = NULL;
}

static struct nn_moments moments_of(const struct nn_optimizer *o, double learning_rate)
{
    double t = (double)o->step;

    return (struct nn_moments){
        .beta1 = (nn_real)o->beta1,
        .beta2 = (nn_real)o->beta2,
        .epsilon = (nn_real)o->epsilon,
        .rate = (nn_real)(learning_rate / (1 - pow(o->beta1, t))),
        .v_scale = (nn_real)(1 / (1 - pow(o->beta2, t))),
    };
}

double nn_optimizer_step(struct nn_optimizer *o, nn_real *params, nn_real *grad, double learning_rate)
{
    const struct nn_kernels *k = nn_kernels();
    double norm = sqrt(k->sum_squares(grad, o->n));

    if (o->clip_norm > 0 && norm > o->clip_norm)
        k->scale(grad, o->n, (nn_real)(o->clip_norm / norm));
    o->step++;
    switch (o->kind) {
    case NN_SGD:
        k->add_scaled(params, grad, o->n, (nn_real)-learning_rate);
        break;
    case NN_MOMENTUM:
        k->momentum(params, grad, o->m, o->n, (nn_real)o->beta1, (nn_real)learning_rate);
        break;
    case NN_ADAM:
        k->adam(params, grad, o->m, o->v, o->n, moments_of(o, learning_rate));
        break;
    case NN_YOGI:
        k->yogi(params, grad, o->m, o->v, o->n, moments_of(o, learning_rate));
        break;
    }
    return norm;
}
