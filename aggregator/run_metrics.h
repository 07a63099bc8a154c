/* run_metrics.h - what Prometheus sees of the runs. Thread-safe. */
#ifndef AGGREGATOR_RUN_METRICS_H
#define AGGREGATOR_RUN_METRICS_H

#include "run.h"

/* bloginfer_federation_updates_total{task,verdict} */
void run_metrics_update(const char *task, enum run_verdict verdict);

/* bloginfer_federation_rounds_total, _round_seconds, _accuracy, _train_loss, _bytes_total{task,direction} */
void run_metrics_round(const char *task, const struct run_round *o);

/* bloginfer_federation_workers{task}: connected now */
void run_metrics_workers(const char *task, uint32_t n);

/* bloginfer_federation_runs_total{task,state} */
void run_metrics_end(const char *task, enum run_state state);

#endif
