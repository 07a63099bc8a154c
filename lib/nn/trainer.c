/* trainer.c - see trainer.h. */
#include "nn/trainer.h"
#include "nn/adagrad.h"
#include "nn/sparse_adam.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct nn_trainer {
    struct nn_objective objective;
    size_t n_params;
    nn_real *params;
    struct adagrad *adagrad; /* of linear and bag; what follows is of the others */
    struct sparse_adam *adam;
    struct nn_workspace *ws;
    nn_real *grad; /* (n_params,), zero between steps */
};

struct nn_trainer *nn_trainer_new(const struct nn_shape *s, const struct nn_objective *objective, uint32_t max_batch)
{
    struct nn_trainer *t = xcalloc(1, sizeof *t);

    assert(nn_shape_check(s).code == ST_OK);
    t->objective = *objective;
    t->n_params = nn_n_params(s);
    t->params = xaligned(t->n_params, sizeof *t->params);
    if (s->family == NN_LINEAR || s->family == NN_BAG) {
        t->adagrad = adagrad_new(s, objective);
        return t;
    }
    t->adam = sparse_adam_new(s);
    t->ws = nn_workspace_new(s, max_batch);
    t->grad = xaligned(t->n_params, sizeof *t->grad);
    return t;
}

void nn_trainer_free(struct nn_trainer *t)
{
    if (!t)
        return;
    adagrad_free(t->adagrad);
    sparse_adam_free(t->adam);
    nn_workspace_free(t->ws);
    free(t->grad);
    free(t->params);
    free(t);
}

void nn_trainer_start(struct nn_trainer *t, const nn_real *params)
{
    memcpy(t->params, params, t->n_params * sizeof *t->params);
    if (t->adagrad)
        adagrad_reset(t->adagrad);
    else
        sparse_adam_reset(t->adam);
}

static double each_text(struct nn_trainer *t, const struct nn_example *batch, uint32_t n, double learning_rate,
                        uint64_t seed, uint32_t *hits)
{
    double sum = 0;

    for (uint32_t i = 0; i < n; i++) {
        bool correct;
        sum += adagrad_step(t->adagrad, t->params, &batch[i], i, learning_rate, seed, &correct);
        *hits += correct;
    }
    return sum / n;
}

void nn_trainer_step(struct nn_trainer *t, const struct nn_example *batch, uint32_t n, double learning_rate,
                     uint64_t seed, double *loss, uint32_t *n_correct)
{
    uint32_t hits = 0;

    assert(n > 0);
    if (t->adagrad) {
        *loss = each_text(t, batch, n, learning_rate, seed, &hits);
    } else {
        sparse_adam_touch(t->adam, t->params, batch, n);
        nn_loss(t->ws, t->params, batch, n, &t->objective, seed, t->grad, loss, &hits);
        sparse_adam_step(t->adam, t->params, t->grad, learning_rate);
    }
    if (n_correct)
        *n_correct = hits;
}

const nn_real *nn_trainer_params(struct nn_trainer *t)
{
    if (t->adam)
        sparse_adam_settle(t->adam, t->params);
    return t->params;
}
