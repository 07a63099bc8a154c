/* watch.c - follows a run: a line for each round as it ends, and on a terminal a line that moves in between.
 *
 * The stream tells all finished rounds again when it is opened again, so that an aggregator that comes back, or a
 * connection that breaks, costs nothing but a moment. */
#include "ctl.h"
#include "format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECONNECT_MS 60000 /* how long an aggregator may be away */
#define RETRY_MS     500
#define BAR_CELLS    20

struct watch {
    struct ctl *ctl;
    bool terminal;
    bool live;           /* the moving line is on the screen */
    bool announced;      /* the line that describes the run, and the headers */
    uint32_t rounds;     /* of the run; 0: not known yet */
    uint32_t shown;      /* rounds printed */
    double seconds;      /* of these rounds together */
    double accuracy;     /* of the last of them */
    int64_t round_start; /* clock_now() when the current round was first seen */
    double round_done;   /* how much of it was done by then, 0 to 1 */
    int64_t start;       /* clock_now() minus what the run had taken already */
    bool complained;     /* about a connection that broke, once */
    bool ended;
    int code;
};

static void clear_live(struct watch *w)
{
    if (w->live)
        fputs("\r\033[K", stdout);
    w->live = false;
}

static const char *method(const Bloginfer__V1__RunConfig *c, char *text, size_t size)
{
    if (c->local_epochs)
        snprintf(text, size, "FedAvg, %u local epochs, %s %g", c->local_epochs, c->optimizer, c->learning_rate);
    else
        snprintf(text, size, "FedSGD, %u rows an exchange, %s %g", c->global_batch, c->optimizer, c->learning_rate);
    return text;
}

static void announce(struct watch *w, const Bloginfer__V1__Run *run)
{
    char text[160];

    if (w->announced || !run->config)
        return;
    w->announced = true;
    w->rounds = run->config->rounds;
    w->start = clock_now();
    if (run->started_ms > 0 && clock_wall() / CLOCK_MS > run->started_ms)
        w->start -= clock_wall() - run->started_ms * CLOCK_MS;
    printf("run %s: %s, %s, %u rounds, %u workers, %s, partition %s\n", run->run_id, run->config->task,
           run->config->architecture, run->config->rounds, run->config->workers, method(run->config, text, sizeof text),
           run->config->partition);
    printf("%7s  %10s  %8s  %7s  %9s  %9s  %9s  %7s  %8s\n", "round", "train loss", "accuracy", "workers", "samples",
           "up", "down", "seconds", "elapsed");
}

static void show_round(struct watch *w, const Bloginfer__V1__RoundResult *r)
{
    char round[32], samples[FORMAT_SIZE], up[FORMAT_SIZE], down[FORMAT_SIZE], elapsed[FORMAT_SIZE];

    if (r->round <= w->shown)
        return;
    clear_live(w);
    w->shown = r->round;
    w->seconds += r->seconds;
    w->accuracy = r->eval_accuracy;
    w->round_start = 0;
    snprintf(round, sizeof round, "%u/%u", r->round, w->rounds);
    printf("%7s  %10.4f  %8.4f  %7u  %9s  %9s  %9s  %7.1f  %8s\n", round, r->train_loss, r->eval_accuracy, r->workers,
           format_count(samples, r->samples), format_bytes(up, r->bytes_up), format_bytes(down, r->bytes_down),
           r->seconds, format_duration(elapsed, w->seconds));
    if (r->rejected)
        printf("%7s  %u of %u updates were rejected\n", "", r->rejected, r->updates + r->rejected);
}

/* Seconds to the end of the run: finished rounds tell how long one takes, the first tells it by its exchanges. */
static double remaining(const struct watch *w, const Bloginfer__V1__RoundProgress *p, double done)
{
    double spent = clock_seconds(w->round_start), seen = done - w->round_done, a_round;

    if (w->shown)
        a_round = w->seconds / w->shown;
    else if (seen > 0.01)
        a_round = spent / seen;
    else
        return -1;
    return a_round * (w->rounds - (p->round ? p->round : 1) + 1 - done);
}

static void show_progress(struct watch *w, const Bloginfer__V1__RoundProgress *p)
{
    char elapsed[FORMAT_SIZE], eta[FORMAT_SIZE], bar[BAR_CELLS + 1];
    double done = p->exchanges ? (double)p->exchange / p->exchanges : 0;

    if (!w->terminal || !w->announced || p->round <= w->shown)
        return;
    done = done > 1 ? 1 : done;
    if (!w->round_start) {
        w->round_start = clock_now();
        w->round_done = done;
    }
    int filled = (int)(done * BAR_CELLS);
    memset(bar, '-', BAR_CELLS);
    memset(bar, '#', (size_t)filled);
    bar[BAR_CELLS] = '\0';
    double left = remaining(w, p, done);
    clear_live(w);
    printf("%5u/%u  [%s] exchange %u/%u  elapsed %s  ETA %s", p->round, w->rounds, bar, p->exchange, p->exchanges,
           format_duration(elapsed, clock_seconds(w->start)), left < 0 ? "-" : format_duration(eta, left));
    w->live = true;
}

static void show_waiting(struct watch *w, const Bloginfer__V1__Run *run)
{
    if (!w->terminal || run->state != BLOGINFER__V1__RUN_STATE__RUN_STATE_WAITING)
        return;
    char *message = text_clean(*run->message ? run->message : "waiting for the workers");
    clear_live(w);
    printf("         %.60s", message);
    w->live = true;
    free(message);
}

static void show_end(struct watch *w, const Bloginfer__V1__Run *run)
{
    char *message = text_clean(run->message);

    w->ended = true;
    clear_live(w);
    switch (run->state) {
    case BLOGINFER__V1__RUN_STATE__RUN_STATE_FINISHED:
        printf("published %s version %" PRIu64 " (accuracy %.4f), %s%s%s\n", run->config ? run->config->task : "",
               run->version, w->accuracy, run->promoted ? "now in production" : "kept as candidate",
               *message ? ": " : "", message);
        w->code = CTL_OK;
        break;
    case BLOGINFER__V1__RUN_STATE__RUN_STATE_STOPPED:
        w->code = ctl_fail(status_errorf(ST_ABORTED, "run %s was stopped: %s", run->run_id, message));
        break;
    case BLOGINFER__V1__RUN_STATE__RUN_STATE_FAILED:
        w->code = ctl_fail(status_errorf(ST_ABORTED, "run %s failed: %s", run->run_id, message));
        break;
    default:
        w->ended = false;
    }
    free(message);
}

static void handle(struct watch *w, const Bloginfer__V1__WatchRunResponse *event)
{
    switch (event->event_case) {
    case BLOGINFER__V1__WATCH_RUN_RESPONSE__EVENT_ROUND:
        show_round(w, event->round);
        break;
    case BLOGINFER__V1__WATCH_RUN_RESPONSE__EVENT_PROGRESS:
        show_progress(w, event->progress);
        break;
    case BLOGINFER__V1__WATCH_RUN_RESPONSE__EVENT_RUN:
        announce(w, event->run);
        for (size_t i = 0; i < event->run->n_rounds; i++)
            show_round(w, event->run->rounds[i]);
        show_waiting(w, event->run);
        show_end(w, event->run);
        break;
    default:
        break;
    }
    fflush(stdout);
}

/* What the headers need is told before the first round. */
static struct status describe(struct watch *w, const char *run_id)
{
    Bloginfer__V1__GetRunRequest req = BLOGINFER__V1__GET_RUN_REQUEST__INIT;
    const Bloginfer__V1__GetRunResponse *rep;

    req.run_id = (char *)run_id;
    struct status st = ctl_call(w->ctl, CTL_AGGREGATOR, &bloginfer__v1__federation_service__descriptor, "GetRun", &req,
                                (const void **)&rep);
    if (!st.code && rep->run)
        announce(w, rep->run);
    fflush(stdout);
    return st;
}

/* One stream, until it ends or breaks. */
static struct status follow(struct watch *w, const char *run_id)
{
    Bloginfer__V1__WatchRunRequest req = BLOGINFER__V1__WATCH_RUN_REQUEST__INIT;
    struct rpc_call *call;
    const void *event;
    struct status st =
        ctl_stream(w->ctl, CTL_AGGREGATOR, &bloginfer__v1__federation_service__descriptor, "WatchRun", &call);

    if (st.code)
        return st;
    req.run_id = (char *)run_id;
    st = rpc_send(call, &req);
    if (!st.code)
        st = rpc_send_done(call);
    while (!st.code && !(st = rpc_recv(call, &event)).code && event)
        handle(w, event);
    return rpc_stream_finish(call);
}

/* The stream ended, or broke, before the run did. */
static bool is_worth_another_try(const struct watch *w, struct status st, int64_t give_up_at)
{
    return !w->ended && (!st.code || st.code == ST_UNAVAILABLE || st.code == ST_CANCELLED) && clock_now() < give_up_at;
}

/* The rows go to standard output, this does not. */
static void pause_before_retry(struct watch *w, struct status why)
{
    clear_live(w);
    fflush(stdout);
    if (!w->complained)
        fprintf(stderr, "bloginferctl: the connection broke (%.120s); trying again\n", why.msg);
    w->complained = true;
    clock_sleep_ms(RETRY_MS);
}

int ctl_follow_run(struct ctl *ctl, const char *run_id)
{
    struct watch w = {.ctl = ctl, .terminal = terminal_width(stdout) > 0, .code = CTL_FAILED};
    struct status st = describe(&w, run_id);
    int64_t give_up_at = 0;

    if (st.code)
        return ctl_fail(st);
    do {
        uint32_t shown = w.shown;

        if (give_up_at)
            pause_before_retry(&w, st);
        st = follow(&w, run_id);
        if (!give_up_at || w.shown > shown)
            give_up_at = clock_after_ms(RECONNECT_MS);
    } while (is_worth_another_try(&w, st, give_up_at));
    clear_live(&w);
    if (w.ended)
        return w.code;
    return ctl_fail(st.code ? st
                            : status_errorf(ST_UNAVAILABLE, "the aggregator stopped telling about run %s", run_id));
}

static int watch(struct ctl *ctl, int n_words, char **words)
{
    (void)n_words;
    return ctl_follow_run(ctl, words[0]);
}

const struct ctl_command ctl_watch = {
    .name = "watch",
    .words = "RUN",
    .summary = "follows a run to its end",
    .details = "Exit code 0 when it published a version, 1 when it failed or was stopped.",
    .min_words = 1,
    .max_words = 1,
    .run = watch,
};
