/* fit.c - see fit.h. Batches are the worker's (client/worker/batches.h), as one shard. */
#include "fit.h"

#include "client/worker/batches.h"
#include "nn/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PREDICT_BATCH 64

struct state {
    struct fit *f;
    struct nn_trainer *trainer; /* of recipe.local; the others then have no use */
    struct nn_workspace *workspace;
    struct nn_optimizer adam;
    struct nn_example *gathered;
    float *grad, *moved, *average;
    float *probs, *targets; /* (most rows of a batch,C), of recipe.consistency */
    struct nn_tensor tensors[NN_MAX_TENSORS];
    size_t n_tensors;
    uint64_t step, n_steps;
};

/* The parameters as they count. */
static const float *params_now(const struct state *s)
{
    if (s->trainer)
        return nn_trainer_params(s->trainer);
    return s->average ? s->average : s->f->params;
}

static double rate_at(const struct state *s)
{
    const struct recipe *r = &s->f->recipe;
    double left;

    if (s->step < r->warm_up)
        return r->learning_rate * (double)(s->step + 1) / r->warm_up;
    left = (double)(s->n_steps - 1 - s->step) / fmax(1, (double)s->n_steps - 1 - r->warm_up);
    return r->learning_rate * (r->final_rate + (1 - r->final_rate) * left);
}

/* A second gradient at parameters whose embedding went a step up the first one's slope, added to it. */
static double add_adversary(struct state *s, uint32_t n, uint64_t seed)
{
    struct fit *f = s->f;
    const struct nn_tensor *e = nn_tensor_find(s->tensors, s->n_tensors, "embedding");
    double norm = 0, loss = 0;

    if (!e)
        return 0;
    for (size_t i = 0; i < e->n; i++)
        norm += (double)s->grad[e->offset + i] * (double)s->grad[e->offset + i];
    if (norm <= 0)
        return 0;
    memcpy(s->moved, f->params, f->n_params * sizeof *s->moved);
    for (size_t i = 0; i < e->n; i++)
        s->moved[e->offset + i] += (float)(f->recipe.adversary / sqrt(norm)) * s->grad[e->offset + i];
    nn_loss(s->workspace, s->moved, s->gathered, n, &f->recipe.objective, seed, s->grad, &loss, NULL);
    for (size_t i = 0; i < f->n_params; i++)
        s->grad[i] *= 0.5f;
    return loss;
}

/* Each row trains towards its label, or target, and what the model says of it now; as averaged, where it is. */
static void set_targets(struct state *s, uint32_t n)
{
    uint32_t C = s->f->recipe.shape.classes;
    float share = (float)s->f->recipe.consistency;

    nn_predict(s->workspace, params_now(s), s->gathered, n, s->probs);
    for (uint32_t i = 0; i < n; i++) {
        struct nn_example *x = &s->gathered[i];
        float *target = s->targets + (size_t)i * C;

        for (uint32_t k = 0; k < C; k++) {
            float given = x->target ? x->target[k] : (float)(k == x->label);
            target[k] = (1 - share) * given + share * s->probs[(size_t)i * C + k];
        }
        x->target = target;
    }
}

/* Multiplies the rows of an n-gram table by the weights of their buckets, or divides them. */
static void weigh(const struct state *s, float *block, bool divide)
{
    const struct nn_tensor *t = nn_tensor_find(s->tensors, s->n_tensors, "ngram");

    if (!s->f->ngram_weights || !t)
        return;
    for (uint32_t g = 0; g < t->dims[0]; g++) {
        float w = s->f->ngram_weights[g], *row = block + t->offset + (size_t)g * t->dims[1];
        for (uint32_t k = 0; k < t->dims[1]; k++)
            row[k] *= divide ? 1 / w : w;
    }
}

static void shrink(struct state *s, double rate)
{
    for (size_t t = 0; t < s->n_tensors; t++) {
        bool ngram = !strcmp(s->tensors[t].name, "ngram");
        double decay = rate * (ngram ? s->f->recipe.ngram_decay : s->f->recipe.decay);
        float *p = s->f->params + s->tensors[t].offset;

        for (size_t i = 0; decay > 0 && i < s->tensors[t].n; i++)
            p[i] *= (float)(1 - decay);
    }
}

static void average_in(struct state *s)
{
    double memory = fmin(s->f->recipe.average, (double)s->step / (double)(s->step + 10));

    for (size_t i = 0; i < s->f->n_params; i++)
        s->average[i] += (float)(1 - memory) * (s->f->params[i] - s->average[i]);
}

/* Over all parameters. Returns the loss. */
static double dense_step(struct state *s, uint32_t n, double rate, uint64_t seed)
{
    struct fit *f = s->f;
    double loss;

    if (f->recipe.consistency > 0)
        set_targets(s, n);
    memset(s->grad, 0, f->n_params * sizeof *s->grad);
    nn_loss(s->workspace, f->params, s->gathered, n, &f->recipe.objective, seed, s->grad, &loss, NULL);
    if (f->recipe.adversary > 0)
        add_adversary(s, n, seed);
    weigh(s, s->grad, false);
    weigh(s, f->params, true);
    nn_optimizer_step(&s->adam, f->params, s->grad, rate);
    shrink(s, rate);
    weigh(s, f->params, false);
    if (f->recipe.average > 0)
        average_in(s);
    return loss;
}

static double take_step(struct state *s, const uint32_t *rows, uint32_t n)
{
    double loss, rate = rate_at(s);
    uint64_t seed = s->f->seed << 32 ^ s->step;

    for (uint32_t i = 0; i < n; i++)
        s->gathered[i] = s->f->train[rows[i]];
    if (s->trainer)
        nn_trainer_step(s->trainer, s->gathered, n, rate, seed, &loss, NULL);
    else
        loss = dense_step(s, n, rate, seed);
    s->step++;
    return loss * n;
}

static void start(struct state *s, struct fit *f, uint32_t n_batches)
{
    uint32_t most = batches_max((uint32_t)f->n_train, n_batches);

    *s = (struct state){.f = f, .n_steps = (uint64_t)n_batches * f->recipe.epochs};
    s->gathered = xcalloc(most, sizeof *s->gathered);
    if (f->recipe.local) {
        s->trainer = nn_trainer_new(&f->recipe.shape, &f->recipe.objective, most);
        nn_trainer_start(s->trainer, f->params);
        return;
    }
    s->workspace = nn_workspace_new(&f->recipe.shape, most);
    s->grad = xaligned(f->n_params, sizeof *s->grad);
    s->n_tensors = nn_tensors(&f->recipe.shape, s->tensors);
    nn_optimizer_init(&s->adam, NN_ADAM, f->n_params);
    s->adam.beta2 = f->recipe.beta2;
    s->adam.clip_norm = f->recipe.clip_norm;
    if (f->recipe.adversary > 0)
        s->moved = xaligned(f->n_params, sizeof *s->moved);
    if (f->recipe.consistency > 0) {
        s->probs = xcalloc((size_t)most * f->recipe.shape.classes, sizeof *s->probs);
        s->targets = xcalloc((size_t)most * f->recipe.shape.classes, sizeof *s->targets);
    }
    if (f->recipe.average > 0) {
        s->average = xaligned(f->n_params, sizeof *s->average);
        memcpy(s->average, f->params, f->n_params * sizeof *s->average);
    }
}

static void finish(struct state *s)
{
    if (s->trainer)
        memcpy(s->f->params, nn_trainer_params(s->trainer), s->f->n_params * sizeof *s->f->params);
    nn_trainer_free(s->trainer);
    if (s->average)
        memcpy(s->f->params, s->average, s->f->n_params * sizeof *s->average);
    nn_workspace_free(s->workspace);
    nn_optimizer_fini(&s->adam);
    free(s->gathered);
    free(s->grad);
    free(s->moved);
    free(s->probs);
    free(s->targets);
    free(s->average);
}

double fit_run(struct fit *f)
{
    uint32_t n_rows = (uint32_t)f->n_train, n_batches = (n_rows + f->recipe.batch - 1) / f->recipe.batch, n;
    struct state s;
    double seconds = 0;

    start(&s, f, n_batches);
    for (uint32_t epoch = 1; epoch <= f->recipe.epochs; epoch++) {
        int64_t from = clock_thread();
        double loss = 0;
        struct batches order;

        batches_init(&order, f->train, n_rows, n_batches, f->seed * 0x9E3779B97F4A7C15u + epoch, 0);
        for (uint32_t place = 0; place < n_batches; place++) {
            const uint32_t *rows = batches_at(&order, place, &n);
            loss += take_step(&s, rows, n);
        }
        batches_fini(&order);
        seconds += clock_thread_seconds(from);
        f->after_epoch(f->arg, epoch, loss / n_rows, params_now(&s));
    }
    finish(&s);
    return seconds;
}

void fit_predict(const struct nn_shape *shape, const float *params, const struct nn_example *rows, size_t n,
                 float *probs)
{
    struct nn_workspace *workspace = nn_workspace_new(shape, PREDICT_BATCH);

    for (size_t from = 0; from < n; from += PREDICT_BATCH) {
        size_t size = n - from < PREDICT_BATCH ? n - from : PREDICT_BATCH;
        nn_predict(workspace, params, rows + from, (uint32_t)size, probs + from * shape->classes);
    }
    nn_workspace_free(workspace);
}
