/* runs.c - bloginferctl runs: the runs that the aggregator knows. */
#include "ctl.h"
#include "format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE &bloginfer__v1__federation_service__descriptor

static const char *state_name(Bloginfer__V1__RunState state)
{
    static const char *const names[] = {"unknown", "waiting", "training", "finished", "failed", "stopped"};

    return (size_t)state < COUNT_OF(names) ? names[state] : names[0];
}

static double run_seconds(const Bloginfer__V1__Run *run)
{
    int64_t end = run->ended_ms ? run->ended_ms : clock_wall() / CLOCK_MS;

    return run->started_ms ? (double)(end - run->started_ms) / 1000 : 0;
}

static unsigned connected(const Bloginfer__V1__Run *run)
{
    unsigned n = 0;

    for (size_t i = 0; i < run->n_workers; i++)
        n += run->workers[i]->connected != 0;
    return n;
}

static void add_run(struct table *t, const Bloginfer__V1__Run *run)
{
    char text[FORMAT_SIZE];

    table_cell(t, "%s", run->run_id);
    table_cell(t, "%s", run->config ? run->config->task : "");
    table_cell(t, "%s", state_name(run->state));
    table_cell(t, "%zu/%u", run->n_rounds, run->config ? run->config->rounds : 0);
    table_cell(t, "%u/%u", connected(run), run->config ? run->config->workers : 0);
    if (run->n_rounds)
        table_cell(t, "%.4f", run->rounds[run->n_rounds - 1]->eval_accuracy);
    else
        table_cell(t, "-");
    if (run->version)
        table_cell(t, "%" PRIu64 "%s", run->version, run->promoted ? " (promoted)" : "");
    else
        table_cell(t, "-");
    table_cell(t, "%s", format_time(text, run->started_ms));
    table_cell(t, "%s", format_duration(text, run_seconds(run)));
    table_cell(t, "%s", run->message);
}

static int list(struct ctl *ctl)
{
    Bloginfer__V1__ListRunsRequest req = BLOGINFER__V1__LIST_RUNS_REQUEST__INIT;
    const Bloginfer__V1__ListRunsResponse *rep;
    struct status st = ctl_call(ctl, CTL_AGGREGATOR, SERVICE, "ListRuns", &req, (const void **)&rep);

    if (st.code)
        return ctl_fail(st);
    if (ctl->settings.json)
        return ctl_print_json(&rep->base);
    struct table *t = table_new("RUN", "TASK", "STATE", ">ROUNDS", ">WORKERS", ">ACCURACY", "VERSION", "STARTED",
                                ">TOOK", "MESSAGE", NULL);
    for (size_t i = 0; i < rep->n_runs; i++)
        add_run(t, rep->runs[i]);
    table_print(t, stdout, terminal_width(stdout));
    return CTL_OK;
}

static void print_rounds(const Bloginfer__V1__Run *run)
{
    struct table *t = table_new(">ROUND", ">TRAIN LOSS", ">ACCURACY", ">EVAL LOSS", ">WORKERS", ">SAMPLES", ">UPDATES",
                                ">REJECTED", ">UP", ">DOWN", ">SECONDS", NULL);
    char text[FORMAT_SIZE];

    for (size_t i = 0; i < run->n_rounds; i++) {
        const Bloginfer__V1__RoundResult *r = run->rounds[i];

        table_cell(t, "%u", r->round);
        table_cell(t, "%.4f", r->train_loss);
        table_cell(t, "%.4f", r->eval_accuracy);
        table_cell(t, "%.4f", r->eval_loss);
        table_cell(t, "%u", r->workers);
        table_cell(t, "%s", format_count(text, r->samples));
        table_cell(t, "%u", r->updates);
        table_cell(t, "%u", r->rejected);
        table_cell(t, "%s", format_bytes(text, r->bytes_up));
        table_cell(t, "%s", format_bytes(text, r->bytes_down));
        table_cell(t, "%.1f", r->seconds);
    }
    table_print(t, stdout, 0);
}

static void print_workers(const Bloginfer__V1__Run *run)
{
    struct table *t = table_new("WORKER", "CONNECTED", ">TRAIN ROWS", ">EVAL ROWS", NULL);
    char text[FORMAT_SIZE];

    for (size_t i = 0; i < run->n_workers; i++) {
        table_cell(t, "%s", run->workers[i]->worker_id);
        table_cell(t, "%s", run->workers[i]->connected ? "yes" : "no");
        table_cell(t, "%s", format_count(text, run->workers[i]->train_rows));
        table_cell(t, "%s", format_count(text, run->workers[i]->eval_rows));
    }
    table_print(t, stdout, 0);
}

static void print_run(const Bloginfer__V1__Run *run)
{
    struct table *t = table_new("RUN", "TASK", "STATE", ">ROUNDS", ">WORKERS", ">ACCURACY", "VERSION", "STARTED",
                                ">TOOK", "MESSAGE", NULL);

    add_run(t, run);
    table_print(t, stdout, 0);
    if (run->config)
        printf("\narchitecture %s, loss %s, quorum %u, batch %u, local epochs %u, %s %g, seed %" PRIu64
               ", timeout %u ms, partition %s\n",
               run->config->architecture, run->config->loss, run->config->quorum, run->config->global_batch,
               run->config->local_epochs, run->config->optimizer, run->config->learning_rate, run->config->seed,
               run->config->exchange_timeout_ms, run->config->partition);
    if (run->n_rounds) {
        putchar('\n');
        print_rounds(run);
    }
    if (run->n_workers) {
        putchar('\n');
        print_workers(run);
    }
}

static int show(struct ctl *ctl, char *run_id)
{
    Bloginfer__V1__GetRunRequest req = BLOGINFER__V1__GET_RUN_REQUEST__INIT;
    const Bloginfer__V1__GetRunResponse *rep;

    req.run_id = run_id;
    struct status st = ctl_call(ctl, CTL_AGGREGATOR, SERVICE, "GetRun", &req, (const void **)&rep);
    if (st.code || !rep->run)
        return ctl_fail(st.code ? st : status_errorf(ST_INTERNAL, "an answer without a run"));
    if (ctl->settings.json)
        return ctl_print_json(&rep->run->base);
    print_run(rep->run);
    return CTL_OK;
}

static int stop(struct ctl *ctl, char *run_id)
{
    Bloginfer__V1__StopRunRequest req = BLOGINFER__V1__STOP_RUN_REQUEST__INIT;
    const Bloginfer__V1__StopRunResponse *rep;

    req.run_id = run_id;
    req.reason = "stopped by an operator";
    struct status st = ctl_call(ctl, CTL_AGGREGATOR, SERVICE, "StopRun", &req, (const void **)&rep);
    if (st.code || !rep->run)
        return ctl_fail(st.code ? st : status_errorf(ST_INTERNAL, "an answer without a run"));
    if (ctl->settings.json)
        return ctl_print_json(&rep->run->base);
    printf("run %s: %s\n", rep->run->run_id, rep->run->ended_ms ? state_name(rep->run->state) : "asked to stop");
    return CTL_OK;
}

static int runs(struct ctl *ctl, int n_words, char **words)
{
    if (n_words == 1 && !strcmp(words[0], "list"))
        return list(ctl);
    if (n_words == 2 && !strcmp(words[0], "show"))
        return show(ctl, words[1]);
    if (n_words == 2 && !strcmp(words[0], "stop"))
        return stop(ctl, words[1]);
    return ctl_fail(status_errorf(ST_INVALID, "usage: bloginferctl runs list | runs show RUN | runs stop RUN"));
}

const struct ctl_command ctl_runs = {
    .name = "runs",
    .words = "list | show RUN | stop RUN",
    .summary = "training runs, newest first",
    .details = "stop ends a run without publishing a version.",
    .min_words = 1,
    .max_words = 2,
    .run = runs,
};
