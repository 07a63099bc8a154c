/* aggregator.h - the runs of the aggregator, as the trainer calls them (FederationService). Thread-safe.
 *
 * Replies live in the arena. ST_UNAVAILABLE, after a few seconds, names the aggregator's address; all other errors are
 * its own words. */
#ifndef TRAINER_AGGREGATOR_H
#define TRAINER_AGGREGATOR_H

#include "base/base.h"
#include "bloginfer/v1/federation.pb-c.h"
#include "rpc/rpc.h"

struct aggregator;

struct status aggregator_open(struct aggregator **out, const struct rpc_client_config *config);
void aggregator_close(struct aggregator *a);

/* ST_EXISTS: another run of the task is active. */
struct status aggregator_start_run(struct aggregator *a, struct arena *arena, const char *run_id,
                                   const Bloginfer__V1__RunConfig *config, const Bloginfer__V1__StartRunResponse **out);
struct status aggregator_stop_run(struct aggregator *a, struct arena *arena, const char *run_id, const char *reason,
                                  const Bloginfer__V1__Run **out);
struct status aggregator_get_run(struct aggregator *a, struct arena *arena, const char *run_id,
                                 const Bloginfer__V1__Run **out);
struct status aggregator_list_runs(struct aggregator *a, struct arena *arena, bool active_only,
                                   const Bloginfer__V1__ListRunsResponse **out);

#endif
