/* crew.h - the workers of one run: started, watched, started again with back-off, and seen off when the run is over.
 *
 * Knows the run only as the aggregator tells it (Run), so that a restarted trainer gets to the same decisions: what
 * lives already is found through the launcher, what is connected from elsewhere is left alone, and only what is
 * missing is started. Not thread-safe, never waits. */
#ifndef TRAINER_CREW_H
#define TRAINER_CREW_H

#include "bloginfer/v1/federation.pb-c.h"
#include "launcher.h"

#define CREW_MAX_WORKERS  64 /* RunConfig.workers */
#define CREW_MAX_FAILURES 3  /* a shard's worker is started again this often, then given up */

struct crew_config {
    struct launcher *launcher; /* borrowed */
    int64_t adopt_grace_ms;    /* a shard that nobody here has started may take this long to connect by itself */
    int64_t backoff_ms;        /* before the first restart; doubles with each */
    int64_t end_grace_ms; /* after the run's end before a worker is asked to stop, and again before it is made to */
};

struct crew;

/* Looks for the run's workers that live already. config: borrowed. ST_INVALID: a run with an id or a number of workers
 * out of range, which no aggregator of ours sends. */
struct status crew_new(struct crew **out, const struct crew_config *config, const Bloginfer__V1__Run *run);

/* Forgets the workers; those that run go on. NULL is fine. */
void crew_free(struct crew *c);

const char *crew_run_id(const struct crew *c);

/* The run was created a moment ago on behalf of this trainer: nobody else's worker is worth waiting for. */
void crew_skip_grace(struct crew *c);

/* Notes which workers are over. True: something is to be decided, so crew_update() should follow soon. */
bool crew_reap(struct crew *c);

/* Brings the crew in line with the run, which is active. An error: too few workers are left to go on, and why; the run
 * should be stopped. */
struct status crew_update(struct crew *c, const Bloginfer__V1__Run *run);

/* The run is over: workers end by themselves or are ended. Call it again and again until crew_size() is 0. */
void crew_dismiss(struct crew *c);

/* Asks every worker to stop, or makes it. */
void crew_stop(struct crew *c, bool hard);

/* Workers that run. */
size_t crew_size(const struct crew *c);

#endif
