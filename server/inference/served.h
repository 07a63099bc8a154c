/* served.h - the models in service. A task has the versions that `production` and `candidate` stand on in the store,
 * and those that were loaded by number; the built-in model, version 0, serves where there is no production version.
 *
 * A version is loaded, verified and warmed up beside the others, on a thread of low priority, and then put in its place
 * at once. Whoever holds the old one goes on with it; when the last has left, that thread frees it: no call waits for
 * either. Nothing that does not verify ever gets here, and the old model goes on serving, also when the pointer or the
 * whole store disappears. The store is only read. Thread-safe, except served_freeze() and served_stop(). */
#ifndef INFERENCE_SERVED_H
#define INFERENCE_SERVED_H

#include "base/base.h"
#include "canary.h"
#include "classifier/classifier.h"
#include "classifier/engine.h"

#include <stdatomic.h>
#include <stdbool.h>

#define SERVED_MAX_LOADED 16 /* versions that served_load() has loaded, of all tasks together */
#define SERVED_MAX_MODELS (2 * STORE_MAX_TASKS + SERVED_MAX_LOADED)
#define SERVED_BUILTIN    "built-in" /* what version 0 is called */
#define SERVED_TEXT_MAX   24         /* bytes of a version as text */

struct served;
struct served_task;

/* One version; what stands here never changes. */
struct served_model {
    struct classifier *classifier;
    struct engine *engine;            /* what answers */
    uint64_t version;                 /* 0: the built-in model */
    char sha256[2 * SHA256_SIZE + 1]; /* of its file */

    /* served.c's and loader.c's own. */
    struct served_task *task;
    atomic_uint refs;
    uint32_t loads;            /* by served_load(), less those undone */
    bool visible;              /* can be acquired */
    uint64_t serial;           /* tells it from one that has had its address */
    struct served_model *next; /* in the list of all, or of those to be freed */
};

/* The candidate's answers beside production's, of the texts that it classified for comparison (shadow.h). */
struct served_comparison {
    uint64_t texts, agreed, failed; /* same label; no number */
    double largest_difference;      /* of a label's probability */
};

/* What changes about a version while it serves. */
struct served_state {
    struct model_parameters parameters; /* of its task */
    bool production, candidate;         /* what stands on it; the built-in model is in production while it serves */
    uint32_t loads;                     /* by served_load() */
    bool rolled_back;                   /* a candidate that was found worse: nothing is routed to it */
    struct canary_report canary;        /* of routed calls; of a candidate rolled back: what was found */
    struct served_comparison shadow;    /* of a candidate, since it is one */
};

struct served_builtin {
    const char *task;
    const void *data; /* a model file, borrowed for the life of struct served */
    size_t size;
};

struct served_config {
    const char *dir; /* of the store, copied */
    int64_t poll_ms;
    enum engine_kind engine; /* wanted */

    /* A task's first model is in service. On the watcher's thread, or inside served_start(); may be NULL. */
    void (*first)(void *ctx);
    void *ctx;

    const struct served_builtin *builtin; /* one a task at most, borrowed */
    size_t n_builtin;
};

/* Loads what there is, then watches. */
void served_start(struct served **out, const struct served_config *config);
void served_stop(struct served *s); /* every model has been released; NULL is fine */

/* What is in service stays, nothing is loaded any more, and `first` is not running nor called again. Before what
 * `first` needs goes; served_stop() does it, too. */
void served_freeze(struct served *s);

/* ---- who answers ---- */

struct served_query {
    const char *task;
    const char *version; /* "" or NULL: routed; "production", "candidate", "built-in", or a number: this one alone */
    const char *key;     /* routed calls with the same key go the same way; "" or NULL: by chance */
};

/* The model for a call, to served_release(). A call without a version goes to production, or by the canary's share to the
 * candidate, unless that was found worse. ST_INVALID: not a task's name or a version; ST_NOT_FOUND: no such task, or
 * this version is not loaded, and the message says what is; ST_PRECONDITION: the task has no model at all. */
struct status served_acquire(struct served *s, const struct served_query *q, struct served_model **out);
void served_hold(struct served_model *m);    /* one more reference, by who has one */
void served_release(struct served_model *m); /* NULL is fine */

/* A call of served_acquire(q) on m has ended, with this code and after so many seconds. Routed calls are what a candidate
 * is judged by (canary.h): INTERNAL, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED and DATA_LOSS count against it, other codes
 * than these and OK do not count. A probability that is no number has to be INTERNAL, see served_check(). */
void served_observe(struct served_model *m, const struct served_query *q, enum code code, double seconds);

/* The model that answers a call of served_acquire(q) in place of m, which failed, to served_release(): production, where q
 * was routed elsewhere. NULL: there is none. */
struct served_model *served_stand_in(const struct served_model *m, const struct served_query *q);

/* A call of served_acquire(q) was answered by m, with probs (n,C) for these texts: by the shadow's share they are put to
 * the candidate as well, later, as copies (shadow.h). Never waits. */
void served_shadow(struct served_model *m, const struct served_query *q, char *const *texts, size_t n,
                   const float *probs);

/* ST_INTERNAL: one of the probabilities (n,C) is no number. */
struct status served_check(const struct served_model *m, const float *probs, size_t n);

/* All that can be acquired, by task and version, each to served_release(); returns their number.
 * models: (SERVED_MAX_MODELS,) */
size_t served_acquire_all(struct served *s, struct served_model **models);

struct served_state served_state(const struct served_model *m);

/* Those of its task, as they are now: seen by every call that begins after a change. */
struct model_parameters served_parameters(const struct served_model *m);

/* The version as text: its number, or "built-in". text: (SERVED_TEXT_MAX,); returned. */
const char *served_version_text(uint64_t version, char *text);

/* For /readyz: OK while any model is in service. s is a struct served. */
struct status served_ready(void *s);

/* ---- versions by number ---- */

/* Makes a version of the store available by its number, whatever the pointers do, and waits until it is. Loads are
 * counted: each needs an unload. ST_NOT_FOUND, ST_DATA_LOSS: see store_load(); ST_INVALID; ST_EXHAUSTED: over
 * SERVED_MAX_LOADED; ST_UNAVAILABLE: another load is under way, or the service stops. */
struct status served_load(struct served *s, const char *task, uint64_t version);

/* Takes one load back. After the last the version cannot be acquired any more, unless a pointer stands on it, and this
 * waits until the calls that hold it have ended. ST_NOT_FOUND: it is not loaded; ST_PRECONDITION: it is there for a
 * pointer alone; ST_DEADLINE: it is unloaded, but calls still run at the deadline (clock_now() scale). */
struct status served_unload(struct served *s, const char *task, uint64_t version, int64_t deadline);

const char *served_dir(const struct served *s); /* the store's folder */

#endif
