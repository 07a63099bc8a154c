/* loader.h - the thread that makes models ready to serve and frees them, so that no call does. Its priority is low
 * once the service runs: reading, checking and warming up a model must not be felt. It shares no lock
 * with calls, since a thread that rarely runs would hold it for long. Thread-safe, except loader_stop(). */
#ifndef INFERENCE_LOADER_H
#define INFERENCE_LOADER_H

#include "served.h"

struct loader;

void loader_start(struct loader **out, const char *dir, enum engine_kind engine); /* dir: of the store, borrowed */
void loader_stop(struct loader *l); /* after the last load has ended; frees what was given away */

/* From now on with low priority; not to be undone. */
void loader_lower_priority(struct loader *l);

struct loader_source {
    const char *task;
    uint64_t version;
    const void *data; /* NULL: the version of the store; else a model file in memory */
    size_t size;
};

/* Reads, verifies and warms up, and waits for that. *out has one reference and no task yet.
 * ST_NOT_FOUND, ST_DATA_LOSS: see store_load(). */
struct status loader_load(struct loader *l, const struct loader_source *source, struct served_model **out);

/* Frees it some time later. Never waits. */
void loader_discard(struct loader *l, struct served_model *m);

#endif
