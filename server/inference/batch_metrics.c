/* batch_metrics.c - see batch_metrics.h. The series are looked up once for a task, so that a pass pays a few atomic adds. */
#include "batch_metrics.h"

#include <string.h>

static struct series *gauge(const char *name, const char *help, const char *task)
{
    return metric_series(metric_gauge(name, help, "task"), task);
}

static struct series *counter(const char *name, const char *help, const char *task, const char *reason)
{
    return metric_series(metric_counter(name, help, "task,reason"), task, reason);
}

static struct series *sizes(const char *name, const char *help, const char *task)
{
    static const double bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};

    return metric_series(metric_histogram(name, help, "task", bounds, COUNT_OF(bounds)), task);
}

static struct series *times(const char *name, const char *help, const char *task)
{
    static const double bounds[] = {0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
                                    0.01,    0.025,  0.05,    0.1,    0.25,  0.5,    1};

    return metric_series(metric_histogram(name, help, "task", bounds, COUNT_OF(bounds)), task);
}

void batch_metrics_init(struct batch_metrics *m, const char *task)
{
    static const char *const releases[N_RELEASES] = {"full", "idle", "delay"};
    static const char *const drops[N_DROPS] = {"deadline", "cancelled", "full"};

    memcpy(m->task, task, strlen(task) + 1);
    m->depth = gauge("bloginfer_batch_queue_texts", "Texts that wait for their forward pass.", task);
    m->texts = sizes("bloginfer_batch_texts", "Texts in a forward pass.", task);
    m->wait = times("bloginfer_batch_queue_wait_seconds", "From a call's arrival to the pass of its first text.", task);
    m->duration = times("bloginfer_batch_duration_seconds", "Forward pass of one batch.", task);
    for (size_t i = 0; i < N_RELEASES; i++)
        m->releases[i] = counter("bloginfer_batch_releases_total",
                                 "Forward passes, by why they began: full, idle (nothing else to do), delay (is over).",
                                 task, releases[i]);
    for (size_t i = 0; i < N_DROPS; i++)
        m->drops[i] =
            counter("bloginfer_batch_dropped_total",
                    "Texts that were never computed: deadline over, call cancelled, queue full.", task, drops[i]);
}
