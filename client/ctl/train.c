/* train.c - bloginferctl train: asks the trainer for a run, and follows it. */
#include "ctl.h"

#include <stdio.h>
#include <stdlib.h>

struct settings {
    char *task, *architecture, *loss, *partition, *optimizer, *run_id;
    int64_t rounds, workers, quorum, global_batch, local_epochs, seed, exchange_timeout_ms;
    double learning_rate;
    bool watch, continue_from_production;
};

static struct settings settings;

#define AT(member) offsetof(struct settings, member)
static const struct config_option options[] = {
    {"task", CONFIG_STR, AT(task), "sentiment", "what to learn: sentiment or troll"},
    {"architecture", CONFIG_STR, AT(architecture), "", "lstm (default), lstm-plain, textcnn, linear or bag"},
    {"loss", CONFIG_STR, AT(loss), "", "cross-entropy (default) or hinge: of linear, a support vector machine"},
    {"rounds", CONFIG_INT, AT(rounds), "5", "passes over the data", 1, 1000},
    {"workers", CONFIG_INT, AT(workers), "3", "workers to launch, each with its shard of the data", 1, 64},
    {"watch", CONFIG_BOOL, AT(watch), "false", "follow the run to its end"},
    {"quorum", CONFIG_INT, AT(quorum), "0", "updates that close an exchange at its deadline; 0: all but one", 0, 64},
    {"global-batch", CONFIG_INT, AT(global_batch), "0", "rows of all workers in one exchange; 0: fits the architecture",
     0, 8192},
    {"local-epochs", CONFIG_INT, AT(local_epochs), "0", "0: FedSGD; E: FedAvg with E local epochs a round", 0, 20},
    {"learning-rate", CONFIG_FLOAT, AT(learning_rate), "0", "of the server; 0: fits method and architecture", 0, 100},
    {"optimizer", CONFIG_STR, AT(optimizer), "", "of the server: adam, sgd, momentum or yogi; empty: fits the method"},
    {"seed", CONFIG_INT, AT(seed), "0", "start of all randomness; 0: 1", 0, 9e18},
    {"exchange-timeout-ms", CONFIG_INT, AT(exchange_timeout_ms), "0", "deadline of an exchange; 0: 60000", 0, 3600000},
    {"partition", CONFIG_STR, AT(partition), "", "how workers share a common file: iid (default) or dirichlet:ALPHA"},
    {"continue-from-production", CONFIG_BOOL, AT(continue_from_production), "false",
     "start from the production model, which has to have the same architecture, not from fresh parameters"},
    {"run-id", CONFIG_STR, AT(run_id), "", "name of the run, a-z 0-9 -; the same name again finds the same run"},
};

static void set_int(json_t *body, const char *key, int64_t value)
{
    if (value)
        json_object_set_new(body, key, json_integer(value));
}

static void set_text(json_t *body, const char *key, const char *value)
{
    if (*value)
        json_object_set_new(body, key, json_string(value));
}

/* What is left at its default is left out: the aggregator fills it in. */
static json_t *request_body(void)
{
    json_t *body = json_object();

    set_text(body, "task", settings.task);
    set_text(body, "run_id", settings.run_id);
    set_text(body, "architecture", settings.architecture);
    set_text(body, "loss", settings.loss);
    set_text(body, "optimizer", settings.optimizer);
    set_text(body, "partition", settings.partition);
    set_int(body, "rounds", settings.rounds);
    set_int(body, "workers", settings.workers);
    set_int(body, "quorum", settings.quorum);
    set_int(body, "global_batch", settings.global_batch);
    set_int(body, "local_epochs", settings.local_epochs);
    set_int(body, "seed", settings.seed);
    set_int(body, "exchange_timeout_ms", settings.exchange_timeout_ms);
    if (settings.learning_rate != 0)
        json_object_set_new(body, "learning_rate", json_real(settings.learning_rate));
    if (settings.continue_from_production)
        json_object_set_new(body, "continue_from_production", json_true());
    return body;
}

static int train(struct ctl *ctl, int n_words, char **words)
{
    json_t *body = request_body(), *reply;
    struct status st = ctl_trainer(ctl, "/train", body, &reply);

    (void)n_words;
    (void)words;
    json_decref(body);
    if (st.code)
        return ctl_fail(st);
    const char *run_id = json_string_value(json_object_get(reply, "run_id"));
    int code = CTL_OK;
    if (!run_id) {
        code = ctl_fail(status_errorf(ST_UNKNOWN, "the trainer's answer names no run"));
    } else if (settings.watch) {
        code = ctl_follow_run(ctl, run_id);
    } else if (ctl->settings.json) {
        json_dumpf(reply, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        printf("run %s %s; follow it with: bloginferctl watch %s\n", run_id,
               json_is_true(json_object_get(reply, "created")) ? "has started" : "was there already", run_id);
    }
    json_decref(reply);
    return code;
}

const struct ctl_command ctl_train = {
    .name = "train",
    .words = "",
    .summary = "starts a training run; --watch follows it",
    .details = "The trainer launches the workers; the run goes on when this command is interrupted.",
    .run = train,
    .options = options,
    .n_options = COUNT_OF(options),
    .settings = &settings,
};
