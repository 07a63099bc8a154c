/* local.c - see local.h. */
#include "local.h"

#include "batches.h"
#include "nn/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EVAL_BATCH    64
#define WARM_UP_STEPS 10 /* of the local optimizer, which starts afresh in every FedAvg round */

struct local {
    struct local_plan plan;
    size_t n_params;
    const struct nn_example *train, *eval;
    uint32_t n_train, n_eval;
    struct nn_workspace *workspace;
    uint32_t workspace_rows;
    struct nn_example *gathered; /* (workspace_rows,), the batch at work */
    struct nn_trainer *trainer;  /* of local epochs; NULL before the first */
    struct batches order;
    uint32_t order_round; /* that `order` holds; 0: none */
    atomic_bool abandoned;
    atomic_uint_fast64_t rows_done;
};

struct local *local_new(const struct local_plan *plan, const struct nn_example *train, uint32_t n_train,
                        const struct nn_example *eval, uint32_t n_eval)
{
    struct local *l = xcalloc(1, sizeof *l);

    l->plan = *plan;
    l->n_params = nn_n_params(&plan->shape);
    l->train = train;
    l->n_train = n_train;
    l->eval = eval;
    l->n_eval = n_eval;
    return l;
}

void local_free(struct local *l)
{
    if (!l)
        return;
    if (l->order_round)
        batches_fini(&l->order);
    nn_workspace_free(l->workspace);
    nn_trainer_free(l->trainer);
    free(l->gathered);
    free(l);
}

void local_abandon(struct local *l)
{
    atomic_store(&l->abandoned, true);
}

void local_resume(struct local *l)
{
    atomic_store(&l->abandoned, false);
}

uint64_t local_rows_done(const struct local *l)
{
    return atomic_load(&l->rows_done);
}

static struct status check_wanted(const struct local *l)
{
    return atomic_load(&l->abandoned) ? status_errorf(ST_ABORTED, "not wanted any more") : status_ok();
}

static void reserve(struct local *l, uint32_t n_rows)
{
    if (n_rows <= l->workspace_rows)
        return;
    nn_workspace_free(l->workspace);
    l->workspace = nn_workspace_new(&l->plan.shape, n_rows);
    l->gathered = xrealloc(l->gathered, n_rows, sizeof *l->gathered);
    l->workspace_rows = n_rows;
}

/* One number for each round (and local epoch) of a run. */
static uint64_t round_seed(const struct local *l, uint32_t round, uint32_t epoch)
{
    return l->plan.seed * 0x9E3779B97F4A7C15u + ((uint64_t)round << 8) + epoch;
}

static void shuffle(struct local *l, uint32_t round, uint32_t epoch, uint32_t n_batches)
{
    if (l->order_round)
        batches_fini(&l->order);
    batches_init(&l->order, l->train, l->n_train, n_batches, round_seed(l, round, epoch), l->plan.shard);
    l->order_round = round;
    reserve(l, batches_max(l->n_train, n_batches));
}

/* The rows of the batch at that place, into l->gathered; returns their number. */
static uint32_t gather(struct local *l, uint32_t place)
{
    uint32_t n;
    const uint32_t *rows = batches_at(&l->order, place, &n);

    for (uint32_t i = 0; i < n; i++)
        l->gathered[i] = l->train[rows[i]];
    return n;
}

static uint64_t batch_seed(const struct local *l, uint32_t place, uint64_t seed)
{
    return seed ^ (uint64_t)(l->plan.shard + 1) << 40 ^ (uint64_t)place << 16;
}

/* Gradient of the batch at that place, into grad, which is cleared first. */
static uint32_t batch_gradient(struct local *l, const float *params, uint32_t place, uint64_t seed, float *grad,
                               double *loss)
{
    uint32_t n = gather(l, place);

    memset(grad, 0, l->n_params * sizeof *grad);
    nn_loss(l->workspace, params, l->gathered, n, &l->plan.objective, batch_seed(l, place, seed), grad, loss, NULL);
    atomic_fetch_add(&l->rows_done, n);
    return n;
}

static double local_rate(const struct local *l, uint64_t step)
{
    double rise = step < WARM_UP_STEPS ? (double)(step + 1) / WARM_UP_STEPS : 1.0;

    return l->plan.local_learning_rate * rise;
}

/* One pass over the rows; adds to *loss_sum and *samples. */
static struct status train_epoch(struct local *l, uint32_t round, uint32_t epoch, uint32_t n_batches, double *loss_sum,
                                 uint64_t *samples)
{
    struct status st = status_ok();
    double loss;

    shuffle(l, round, epoch, n_batches);
    for (uint32_t i = 0; i < n_batches && !(st = check_wanted(l)).code; i++) {
        uint32_t n = gather(l, i);
        nn_trainer_step(l->trainer, l->gathered, n, local_rate(l, (uint64_t)epoch * n_batches + i),
                        batch_seed(l, i, round_seed(l, round, epoch)), &loss, NULL);
        atomic_fetch_add(&l->rows_done, n);
        *loss_sum += loss * n;
        *samples += n;
    }
    return st;
}

/* FedAvg: local epochs from params, with an optimizer that starts afresh; update = params - result. */
static struct status train_epochs(struct local *l, const float *params, uint32_t round, float *update,
                                  struct local_update *about)
{
    uint32_t n_batches = (l->n_train + l->plan.local_batch - 1) / l->plan.local_batch;
    struct status st = status_ok();
    double loss_sum = 0;
    uint64_t samples = 0;

    if (!l->trainer)
        l->trainer = nn_trainer_new(&l->plan.shape, &l->plan.objective, batches_max(l->n_train, n_batches));
    nn_trainer_start(l->trainer, params);
    for (uint32_t epoch = 0; epoch < l->plan.local_epochs && !st.code; epoch++)
        st = train_epoch(l, round, epoch, n_batches, &loss_sum, &samples);
    if (st.code)
        return st;
    const float *mine = nn_trainer_params(l->trainer);
    for (size_t i = 0; i < l->n_params; i++)
        update[i] = params[i] - mine[i];
    *about = (struct local_update){.samples = l->n_train, .loss = loss_sum / (double)samples};
    return st;
}

struct status local_train(struct local *l, const float *params, uint32_t round, uint32_t exchange, uint32_t exchanges,
                          float *update, struct local_update *about)
{
    atomic_store(&l->rows_done, 0);
    if (l->plan.local_epochs)
        return train_epochs(l, params, round, update, about);
    if (l->order_round != round || l->order.n_batches != exchanges)
        shuffle(l, round, 0, exchanges);
    about->samples = batch_gradient(l, params, exchange, round_seed(l, round, 0), update, &about->loss);
    return check_wanted(l);
}

struct status local_evaluate(struct local *l, const float *params, struct local_score *score)
{
    uint32_t classes = l->plan.shape.classes;
    float probs[EVAL_BATCH * NN_MAX_CLASSES];
    struct status st = status_ok();

    *score = (struct local_score){0};
    reserve(l, EVAL_BATCH);
    for (uint32_t from = 0; from < l->n_eval && !(st = check_wanted(l)).code; from += EVAL_BATCH) {
        uint32_t n = l->n_eval - from < EVAL_BATCH ? l->n_eval - from : EVAL_BATCH;

        nn_predict(l->workspace, params, l->eval + from, n, probs);
        for (uint32_t i = 0; i < n; i++) {
            const float *p = probs + (size_t)i * classes;
            uint32_t label = l->eval[from + i].label, best = 0;

            for (uint32_t c = 1; c < classes; c++)
                if (p[c] > p[best])
                    best = c;
            score->correct += best == label;
            score->loss_sum += -log(fmax(p[label], 1e-12));
        }
        score->rows += n;
    }
    return st;
}
