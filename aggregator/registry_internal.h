/* registry_internal.h - what the registry's handlers share: registry.c, model_files.c and model_parameters.c, nobody
 * else. */
#ifndef AGGREGATOR_REGISTRY_INTERNAL_H
#define AGGREGATOR_REGISTRY_INTERNAL_H

#include "registry.h"

#include "bloginfer/v1/registry.pb-c.h"

/* Makes a file, which the caller has checked, a new version of the task and its candidate. */
struct status registry_import(struct registry *r, const char *task, const char *data, size_t size, uint64_t *version);

/* Takes these members of `from` over into the task's parameters, all or none. *out: all of them now. */
struct status registry_set_parameters(struct registry *r, const char *task, const struct model_parameters *from,
                                      char *const *names, size_t n, struct model_parameters *out);

/* *out: a message in the arena for the version. ST_EXHAUSTED: the arena is full. */
struct status registry_version(struct registry *r, struct arena *a, const char *task, uint64_t version,
                               Bloginfer__V1__ModelVersion **out);

/* Codes whose messages may hold the store's path are logged whole and answered without it. */
struct status registry_answerable(struct status st, const char *task);

#endif
