/* runs.h - every run of this aggregator, on disk under <state>/runs/. Thread-safe. */
#ifndef AGGREGATOR_RUNS_H
#define AGGREGATOR_RUNS_H

#include "run.h"

#define RUNS_KEPT 100 /* runs that have ended; older ones are removed when a new one starts */

struct runs;

struct runs_config {
    const char *state_dir; /* borrowed for the life */
    struct registry *registry;
    uint32_t join_timeout_ms, heartbeat_ms;
};

/* Brings back every run on disk and goes on with the active ones. A checkpoint that does not hold is logged, left
 * alone and not listed. */
struct status runs_open(struct runs **out, const struct runs_config *config);

/* Suspends the active runs (they go on at the next runs_open()) and frees. NULL is fine. */
void runs_close(struct runs *rs);

/* A new run, or the one of that id as it is (*created false). id "" makes one. ST_EXISTS: another run of the task is
 * active. *run: the caller's reference. */
struct status runs_start(struct runs *rs, const char *id, const struct run_config *config, struct run **run,
                         bool *created);

struct run *runs_find(struct runs *rs, const char *id); /* the caller's reference; NULL: no such run */

/* At most limit runs, newest first: the caller's references in an array to free(). */
struct run **runs_list(struct runs *rs, bool active_only, size_t limit, size_t *n);

#endif
