/* registry.h - the registry of model versions: publishes what a run made, decides what goes into production, and
 * answers bloginfer.v1.ModelRegistryService. The only writer of the model store (model/store.h).
 * Thread-safe, except registry_close(). */
#ifndef AGGREGATOR_REGISTRY_H
#define AGGREGATOR_REGISTRY_H

#include "base/base.h"
#include "model/store.h"
#include "rpc/rpc.h"

#include <stdbool.h>
#include <stdint.h>

#define REGISTRY_MARGIN 0.005 /* how far below production's accuracy a model may be to replace it: 0.5 points */

struct registry;

/* Makes the store's folder where it is not there. keep: versions of a task that stay, the oldest others go at the next
 * publication; those that a pointer or a rollback needs always stay. 0: all. */
struct status registry_open(struct registry **out, const char *dir, uint64_t keep);
void registry_close(struct registry *r); /* NULL is fine */
const char *registry_dir(const struct registry *r);

struct registry_candidate {
    const char *task;
    const char *run; /* as in the model's metadata; a run has one version, however often it is published */
    const struct store_file *files;
    size_t n_files;
    double accuracy;            /* 0..1; NaN: not measured */
    double production_accuracy; /* of the version below on the same rows; NaN: not measured */
    uint64_t production;        /* in production when that was measured; 0: none was */
};

struct registry_verdict {
    uint64_t version;
    bool promoted;
    char reason[STATUS_MSG_SIZE]; /* for a person, why it was promoted or not */
};

/* Publishes, makes it the candidate, and production when nothing is in production or when it is at most
 * REGISTRY_MARGIN below on the same rows. After a crash, calling it again goes on where it stopped. */
struct status registry_publish(struct registry *r, const struct registry_candidate *c, struct registry_verdict *v);

/* For rpc_server_add() with bloginfer__v1__model_registry_service__descriptor; the service is the registry. */
extern const struct rpc_method registry_methods[];
extern const size_t registry_n_methods;

#endif
