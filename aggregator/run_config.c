/* run_config.c - see run_config.h. The numbers are the recipes that won on the validation part (docs/models.md). */
#include "run_config.h"

#include "classifier/classifier.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM_UP_STEPS 50
#define FINAL_RATE    0.02 /* of the learning rate, at the last step */

/* A row for each architecture:
 *     {server's rate, rows of an exchange, worker's rate, rows of its batch,
 *         {loss, dropout of tokens, of embeddings, of features, of n-grams, label smoothing (not of the hinge loss)}} */
static const struct run_recipe recipes[] = {
    [NN_LSTM] = {2e-3, 64, 2e-3, 32, {NN_CROSS_ENTROPY, 0.1f, 0.4f, 0.5f, 0.3f, 0.1f}},
    [NN_LSTM_PLAIN] = {1e-3, 64, 1e-3, 32, {NN_CROSS_ENTROPY, 0.0f, 0.2f, 0.2f, 0.0f, 0.0f}},
    [NN_TEXTCNN] = {2e-3, 64, 2e-3, 32, {NN_CROSS_ENTROPY, 0.1f, 0.4f, 0.5f, 0.3f, 0.1f}},
    [NN_LINEAR] = {2e-3, 64, 2e-2, 32, {NN_CROSS_ENTROPY, 0.0f, 0.0f, 0.0f, 0.3f, 0.1f}},
    [NN_BAG] = {5e-3, 64, 2e-2, 32, {NN_CROSS_ENTROPY, 0.0f, 0.0f, 0.0f, 0.3f, 0.0f}},
};

struct status run_id_check(const char *run_id)
{
    size_t n = strlen(run_id);

    if (n < 1 || n >= RUN_ID_SIZE || strspn(run_id, "abcdefghijklmnopqrstuvwxyz0123456789-") != n)
        return status_errorf(ST_INVALID, "run_id: must be 1 to %d characters of a-z, 0-9 and -", RUN_ID_SIZE - 1);
    return status_ok();
}

static void set_default(char *text, size_t size, const char *preset)
{
    if (!text[0])
        snprintf(text, size, "%s", preset);
}

static void fill(struct run_config *c)
{
    set_default(c->task, sizeof c->task, "sentiment");
    set_default(c->architecture, sizeof c->architecture, nn_family_name(NN_LSTM));
    set_default(c->loss, sizeof c->loss, nn_loss_name(NN_CROSS_ENTROPY));
    set_default(c->partition, sizeof c->partition, "iid");
    set_default(c->optimizer, sizeof c->optimizer, c->local_epochs ? "sgd" : "adam");
    if (!c->rounds)
        c->rounds = 5;
    if (!c->workers)
        c->workers = 3;
    if (!c->quorum)
        c->quorum = c->workers > 1 ? c->workers - 1 : 1;
    if (!c->seed)
        c->seed = 1;
    if (!c->exchange_timeout_ms)
        c->exchange_timeout_ms = 60000;
}

static struct status check_range(const char *name, uint64_t value, uint64_t low, uint64_t high)
{
    if (value < low || value > high)
        return status_errorf(ST_INVALID, "%s %llu: must be from %llu to %llu", name, (unsigned long long)value,
                             (unsigned long long)low, (unsigned long long)high);
    return status_ok();
}

static struct status check_partition(const char *partition)
{
    const char *prefix = "dirichlet:";
    char *end;

    if (!strcmp(partition, "iid"))
        return status_ok();
    if (!strncmp(partition, prefix, strlen(prefix))) {
        const char *text = partition + strlen(prefix);
        double alpha = strtod(text, &end);

        if (end != text && !*end && alpha >= 0.01 && alpha <= 1000)
            return status_ok();
    }
    return status_errorf(ST_INVALID, "partition \"%s\": must be iid or dirichlet:ALPHA with ALPHA from 0.01 to 1000",
                         partition);
}

enum nn_family run_family(const struct run_config *c)
{
    enum nn_family family = NN_LSTM;

    nn_family_parse(c->architecture, &family);
    return family;
}

const struct run_recipe *run_recipe(const struct run_config *c)
{
    return &recipes[run_family(c)];
}

struct nn_objective run_objective(const struct run_config *c)
{
    struct nn_objective objective = run_recipe(c)->objective;

    nn_loss_parse(c->loss, &objective.loss);
    return objective;
}

/* What the recipe of the architecture, which has been checked, says. */
static void fill_by_recipe(struct run_config *c)
{
    const struct run_recipe *recipe = run_recipe(c);

    if (!c->global_batch)
        c->global_batch = recipe->global_batch;
    if (c->learning_rate == 0)
        c->learning_rate = c->local_epochs ? 1.0 : recipe->learning_rate;
}

struct status run_config_complete(struct run_config *c)
{
    enum nn_optimizer_kind kind;
    enum nn_family family;
    enum nn_loss_kind loss;
    struct status st;

    fill(c);
    if (!classifier_task_labels(c->task))
        return status_errorf(ST_INVALID, "task \"%s\": must be sentiment or troll", c->task);
    if ((st = nn_family_parse(c->architecture, &family)).code || (st = nn_loss_parse(c->loss, &loss)).code)
        return st;
    fill_by_recipe(c);
    if ((st = check_range("rounds", c->rounds, 1, 1000)).code ||
        (st = check_range("workers", c->workers, 1, RUN_MAX_WORKERS)).code ||
        (st = check_range("quorum", c->quorum, 1, c->workers)).code ||
        (st = check_range("global_batch", c->global_batch, 1, 8192)).code ||
        (st = check_range("local_epochs", c->local_epochs, 0, 20)).code ||
        (st = check_range("exchange_timeout_ms", c->exchange_timeout_ms, 100, 3600000)).code ||
        (st = nn_optimizer_kind_parse(c->optimizer, &kind)).code || (st = check_partition(c->partition)).code)
        return st;
    if (!isfinite(c->learning_rate) || c->learning_rate <= 0 || c->learning_rate > 100)
        return status_errorf(ST_INVALID, "learning_rate %g: must be above 0 and at most 100", c->learning_rate);
    return status_ok();
}

double run_learning_rate(const struct run_config *c, uint64_t step, uint64_t n_steps)
{
    uint64_t warm_up = n_steps / 10 < WARM_UP_STEPS ? n_steps / 10 : WARM_UP_STEPS;

    if (c->local_epochs || n_steps <= 1)
        return c->learning_rate;
    if (step < warm_up)
        return c->learning_rate * (double)(step + 1) / (double)warm_up;
    if (step >= n_steps)
        return c->learning_rate * FINAL_RATE;
    double left = (double)(n_steps - 1 - step) / (double)(n_steps - 1 - warm_up + (n_steps - 1 == warm_up));
    return c->learning_rate * (FINAL_RATE + (1 - FINAL_RATE) * left);
}
