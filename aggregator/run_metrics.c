/* run_metrics.c - see run_metrics.h. */
#include "run_metrics.h"

#include "metrics/metrics.h"

#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct metric *updates, *rounds, *seconds, *accuracy, *train_loss, *bytes, *workers, *runs;

static void init(void)
{
    static const double bounds[] = {0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600};

    updates = metric_counter("bloginfer_federation_updates_total", "Updates of workers by what became of them.",
                             "task,verdict");
    rounds = metric_counter("bloginfer_federation_rounds_total", "Rounds finished.", "task");
    seconds = metric_histogram("bloginfer_federation_round_seconds", "Wall time of a round with its evaluation.",
                               "task", bounds, COUNT_OF(bounds));
    accuracy =
        metric_gauge("bloginfer_federation_accuracy", "Share of evaluation rows right after the last round.", "task");
    train_loss = metric_gauge("bloginfer_federation_train_loss", "Mean training loss of the last round.", "task");
    bytes = metric_counter("bloginfer_federation_bytes_total", "Parameters sent down and updates taken up.",
                           "task,direction");
    workers = metric_gauge("bloginfer_federation_workers", "Workers connected.", "task");
    runs = metric_counter("bloginfer_federation_runs_total", "Runs that have ended.", "task,state");
}

void run_metrics_update(const char *task, enum run_verdict verdict)
{
    static const char *const names[] = {
        [RUN_ACCEPTED] = "accepted", [RUN_DUPLICATE] = "duplicate", [RUN_LATE] = "late", [RUN_REJECTED] = "rejected"};

    pthread_once(&once, init);
    metric_add(updates, 1, task, names[verdict]);
}

void run_metrics_round(const char *task, const struct run_round *o)
{
    pthread_once(&once, init);
    metric_add(rounds, 1, task);
    metric_observe(seconds, o->seconds, task);
    metric_set(accuracy, o->eval_accuracy, task);
    metric_set(train_loss, o->train_loss, task);
    metric_add(bytes, (double)o->bytes_up, task, "up");
    metric_add(bytes, (double)o->bytes_down, task, "down");
}

void run_metrics_workers(const char *task, uint32_t n)
{
    pthread_once(&once, init);
    metric_set(workers, n, task);
}

void run_metrics_end(const char *task, enum run_state state)
{
    pthread_once(&once, init);
    metric_add(runs, 1, task, run_state_name(state));
}
