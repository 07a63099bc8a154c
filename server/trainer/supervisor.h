/* supervisor.h - the thread that gives every active run its workers.
 *
 * It asks the aggregator which runs are active, every poll interval and whenever something happened, and keeps a crew
 * for each. It remembers nothing that it could not find out again: what the aggregator and the launcher say is the
 * state. While the aggregator does not answer, nothing is started. */
#ifndef TRAINER_SUPERVISOR_H
#define TRAINER_SUPERVISOR_H

#include "aggregator.h"
#include "crew.h"

struct supervisor_config {
    struct aggregator *aggregator; /* borrowed */
    struct crew_config crew;
    int64_t poll_interval_ms;
};

struct supervisor;

struct supervisor *supervisor_start(const struct supervisor_config *config);

/* Joins the thread. Workers of a launcher that ends with the trainer are asked to stop, and after end_grace_ms made
 * to; all others go on. NULL is fine. */
void supervisor_stop(struct supervisor *s);

/* Any thread: this run was just created here, so its workers are started without waiting for any to show up. */
void supervisor_launch(struct supervisor *s, const char *run_id);

/* Any thread: something happened to a run, so look at once. */
void supervisor_wake(struct supervisor *s);

#endif
