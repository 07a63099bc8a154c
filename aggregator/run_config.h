/* run_config.h - what to train and how: the domain's form of the message RunConfig, with its defaults and limits. */
#ifndef AGGREGATOR_RUN_CONFIG_H
#define AGGREGATOR_RUN_CONFIG_H

#include "base/base.h"
#include "nn/nn.h"

#define RUN_ID_SIZE     65 /* with the NUL */
#define RUN_MAX_WORKERS 64

struct run_config {
    char task[32];
    uint32_t rounds, workers, quorum;
    uint32_t global_batch; /* rows of all workers in one FedSGD exchange */
    uint32_t local_epochs; /* 0: FedSGD */
    double learning_rate;
    char optimizer[16];
    uint64_t seed;
    uint32_t exchange_timeout_ms;
    char partition[32];
    bool continue_from_production;
    char architecture[16]; /* nn_family_name() */
    char loss[16];         /* nn_loss_name() */
};

/* What an architecture is trained with where a configuration leaves it open. */
struct run_recipe {
    double learning_rate;       /* FedSGD: of Adam on the server, at its highest */
    uint32_t global_batch;      /* FedSGD: rows of an exchange */
    double local_learning_rate; /* FedAvg: of nn_trainer on the workers */
    uint32_t local_batch;
    struct nn_objective objective; /* but for the kind of loss */
};

/* Of a completed configuration. */
enum nn_family run_family(const struct run_config *c);
const struct run_recipe *run_recipe(const struct run_config *c);
struct nn_objective run_objective(const struct run_config *c);

/* Fills in what is 0 or empty, then checks. ST_INVALID names the member, the value and what is allowed. */
struct status run_config_complete(struct run_config *c);

struct status run_id_check(const char *run_id);

/* The rate of one step: rises linearly over the warm-up, then falls linearly to 2 % at the last of n_steps. */
double run_learning_rate(const struct run_config *c, uint64_t step, uint64_t n_steps);

#endif
