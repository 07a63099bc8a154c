/* served_private.h - what served.c (models and their holders), pointers.c (the store's pointers) and routing.c (who answers)
 * share. Functions with _locked want served->mu. */
#ifndef INFERENCE_SERVED_PRIVATE_H
#define INFERENCE_SERVED_PRIVATE_H

#include "canary.h"
#include "loader.h"
#include "metrics/metrics.h"
#include "served.h"
#include "shadow.h"

#include <pthread.h>

/* A pointer of the store, as its watcher sees it. */
struct watched {
    uint64_t refused; /* version that did not load; 0: none */
    int64_t retry;    /* when it is tried again */
    bool unreadable;  /* said once */
};

struct served_task {
    char name[STORE_TASK_MAX + 1];
    struct served *served;

    /* The watcher's own. */
    struct watched watched[2]; /* by enum store_pointer */
    bool damaged;              /* its parameters; said once */

    /* Guarded by served->mu. */
    struct served_model *alias[2]; /* by enum store_pointer; NULL: none */
    struct model_parameters parameters;
    bool rolled_back;             /* the candidate was worse: nothing is routed to it */
    struct canary_report verdict; /* when that was found */
    struct served_comparison shadow;

    struct canary *canary;      /* of routed calls */
    atomic_uint n_observed;     /* on the candidate */
    struct series *calls[2][2]; /* by enum canary_arm, failed */
};

struct served {
    char *dir;
    int64_t poll_ms;
    void (*first)(void *ctx);
    void *ctx;
    const struct served_builtin *builtin;
    size_t n_builtin;
    struct loader *loader;
    struct shadow *shadow;
    struct metric *versions, *candidates, *loads, *rolled_back, *differences;
    bool unreadable; /* the store, said once; the watcher's own */
    bool frozen;     /* the watcher is joined */
    pthread_t watcher;
    atomic_ullong chance; /* for calls without a key */

    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t wake, gone;
    bool stop, loading;
    struct served_task tasks[STORE_MAX_TASKS];
    size_t n_tasks;
    struct served_model *models; /* all that live, newest first */
    size_t n_loaded;             /* by served_load() */
    uint64_t serial;
};

extern const char *const served_alias_names[2]; /* by enum store_pointer */

/* ---- served.c ---- */

struct served_model *served_find_locked(const struct served_task *t, uint64_t version); /* NULL: none */

/* The task, made where there was none; NULL: there are STORE_MAX_TASKS others. */
struct served_task *served_task_make(struct served *s, const char *name);

/* Takes in a model that was loaded: itself, or the one that others have loaded meanwhile (then *twin is m). */
struct served_model *served_adopt_locked(struct served_task *t, struct served_model *m, struct served_model **twin);

/* After a pointer or a load has left m (NULL is fine): gives back the service's reference when nothing needs m any more,
 * to be released outside of the lock; else NULL. */
struct served_model *served_leave_locked(struct served_model *m);

/* Loads, counts and logs; see loader_load(). */
struct status served_load_now(struct served *s, const struct loader_source *source, struct served_model **out);

/* ---- pointers.c ---- */

/* One look at the store, and what follows from it. On the watcher's thread, or before there is one. */
void pointers_poll(struct served *s);

/* Built-in models, for the tasks that have nothing else. Before there is a watcher. */
void pointers_load_builtin(struct served *s);

/* ---- routing.c ---- */

/* The model for a query without a version; NULL: the task has none. */
struct served_model *routing_locked(struct served_task *t, const struct served_query *q);

/* Another version stands on the pointer: what is known of the old one is forgotten. */
void routing_reset_locked(struct served_task *t, enum store_pointer which);

/* Adds up what came of the candidate's answers. */
void routing_compared(struct served_model *candidate, const struct served_comparison *more);

void routing_task_init(struct served_task *t);
void routing_task_fini(struct served_task *t);

#endif
