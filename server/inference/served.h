/* served.h - the models in service, one a task: what stands in production in the store, loaded, verified and warmed up
 * beside the old one and then put in its place at once. Whoever holds the old one goes on with it; the last to leave
 * frees it. Nothing that does not verify ever gets here, and the old model goes on serving, also when the pointer or
 * the whole store disappears. The store is only read. Thread-safe, except served_freeze() and served_stop(). */
#ifndef INFERENCE_SERVED_H
#define INFERENCE_SERVED_H

#include "base/base.h"
#include "classifier/classifier.h"
#include "workspaces.h"

#include <stdatomic.h>
#include <stdbool.h>

struct served;

struct served_model {
    struct classifier *classifier;
    struct workspaces *workspaces;
    uint64_t version;
    char sha256[2 * SHA256_SIZE + 1];
    atomic_uint refs;
};

struct served_config {
    const char *dir; /* of the store, copied */
    int64_t poll_ms;

    /* A task's first model is in service. On the watcher's thread, or inside served_start(); may be NULL. */
    void (*first)(void *ctx);
    void *ctx;
};

/* Loads what there is, then watches. */
void served_start(struct served **out, const struct served_config *config);
void served_stop(struct served *s); /* every model has been released; NULL is fine */

/* What is in service stays, nothing is loaded any more, and `first` is not running nor called again. Before what
 * `first` needs goes; served_stop() does it, too. */
void served_freeze(struct served *s);

/* The task's model, to served_release(). ST_NOT_FOUND: no such task; ST_PRECONDITION: it has no model yet. */
struct status served_acquire(struct served *s, const char *task, struct served_model **out);
void served_release(struct served_model *m); /* NULL is fine */

/* All of them, each to served_release(); returns their number. models: (STORE_MAX_TASKS,) */
size_t served_acquire_all(struct served *s, struct served_model **models);

/* For /readyz: OK while any model is in service. s is a struct served. */
struct status served_ready(void *s);

#endif
