/* batch_metrics.h - what operators see of the batcher, a task: how much waits and how long, how large passes are and why
 * they begin, and what was never computed. Private to the batcher. */
#ifndef INFERENCE_BATCH_METRICS_H
#define INFERENCE_BATCH_METRICS_H

#include "metrics/metrics.h"
#include "model/store.h"

/* Why a pass began. */
enum release { RELEASE_FULL, RELEASE_IDLE, RELEASE_DELAY, N_RELEASES };

/* Why texts were not computed. */
enum drop { DROP_DEADLINE, DROP_CANCELLED, DROP_FULL, N_DROPS };

struct batch_metrics {
    char task[STORE_TASK_MAX + 1];
    struct series *depth; /* gauge: texts that wait */
    struct series *texts, *wait, *duration;
    struct series *releases[N_RELEASES], *drops[N_DROPS];
};

void batch_metrics_init(struct batch_metrics *m, const char *task);

#endif
