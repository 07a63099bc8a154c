/* registry_internal.h - what the registry's handlers share: registry.c, model_files.c, model_parameters.c and
 * model_settings.c, nobody else. */
#ifndef AGGREGATOR_REGISTRY_INTERNAL_H
#define AGGREGATOR_REGISTRY_INTERNAL_H

#include "registry.h"

#include "bloginfer/v1/registry.pb-c.h"

/* Makes a file, which the caller has checked, a new version of the task and its candidate. */
struct status registry_import(struct registry *r, const char *task, const char *data, size_t size, uint64_t *version);

/* Around steps in the store that other threads must not cross. */
void registry_lock(struct registry *r);
void registry_unlock(struct registry *r);

/* ST_NOT_FOUND: neither a task of the store nor one that this product trains. ST_INVALID: not a task's name. */
struct status registry_task_check(struct registry *r, const char *task);

/* NULL: the arena is full. */
Bloginfer__V1__ModelParameters *registry_parameters(struct arena *a, const struct model_parameters *p);

/* Takes these members of `from` over into the task's parameters, all or none. *out: all of them now. */
struct status registry_set_parameters(struct registry *r, const char *task, const struct model_parameters *from,
                                      char *const *names, size_t n, struct model_parameters *out);

/* *out: a message in the arena for the version. ST_EXHAUSTED: the arena is full. */
struct status registry_version(struct registry *r, struct arena *a, const char *task, uint64_t version,
                               Bloginfer__V1__ModelVersion **out);

/* Codes whose messages may hold the store's path are logged whole and answered without it. */
struct status registry_answerable(struct status st, const char *task);

#endif
