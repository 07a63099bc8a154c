/* served.h - one model as it serves: its files, checked, and an engine for each worker thread. Immutable once loaded, and
 * counted: a newer one may take its name while pictures are still on their way through this one. */
#ifndef DETECTOR_SERVED_H
#define DETECTOR_SERVED_H

#include "executor/engine.h"
#include "metrics/metrics.h"
#include "network/loader.h"
#include "stages.h"

#include <stdatomic.h>

#define SERVED_MAX_WORKERS 64

struct served {
    struct model *model;
    const struct engine_kind *kind;
    float threshold;        /* what 0 in a request means */
    double forward_seconds; /* when the engine was chosen; 0: not timed */
    int64_t loaded_at;      /* clock_wall() */

    struct served_worker {
        struct engine *engine;
        float *input; /* (3, h, w) */
    } * workers;      /* (n_workers,): one thread each */
    size_t n_workers;

    struct series *stages[N_STAGES];
    struct metric *results;
    _Atomic int64_t mean_ns; /* of a picture's stages without the wait, lately */
    atomic_int refs;
};

struct served_config {
    const char *path;      /* folders, see loader.h */
    const char *engine;    /* "auto", or the name of an engine */
    const char *precision; /* "auto", or what the engine computes in; for the engine "auto" */
    size_t n_workers;
    float threshold; /* 0: the model's own */
};

/* What a check found. */
struct served_check {
    char engine[32];
    char digest[2 * SHA256_SIZE + 1]; /* of the files that were checked */
    double forward_seconds;
};

/* ST_INVALID: there is no such engine, or none of that precision; the message names those there are. ST_UNAVAILABLE: this
 * CPU cannot run it. */
struct status served_engine_check(const struct served_config *config);

/* Looks at the model's files, runs its candidates for an engine beside darknet, and says which serves; the first half of
 * served_load(). Starts a child process for a moment (trial.h): call before threads exist. */
struct status served_try(struct served_check *out, const char *name, const struct served_config *config);

/* checked: what served_try() said, in this process or in another one; ST_ABORTED when the files have changed since. NULL:
 * tries here, too. *out: the caller's reference. */
struct status served_load(struct served **out, const char *name, const struct served_config *config,
                          const struct served_check *checked);

struct served *served_acquire(struct served *s); /* one more reference; the same s */
void served_release(struct served *s);           /* NULL is fine */

const char *served_precision(const struct served *s); /* "fp32" and so on */

/* Notes how a picture went. */
void served_observe(struct served *s, const struct detection *d, enum code code);

#endif
