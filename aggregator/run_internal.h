/* run_internal.h - the inside of a run, shared by run.c (life), run_members.c (words of workers), run_driver.c (the thread
 * that moves it on) and nobody else. */
#ifndef AGGREGATOR_RUN_INTERNAL_H
#define AGGREGATOR_RUN_INTERNAL_H

#include "accumulator.h"
#include "classifier/classifier.h"
#include "run.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

struct run_member {
    struct run_join join;
    void (*wake)(void *arg);
    void *arg;
    uint64_t seen; /* number of the last directive it was given */
    bool replaced; /* a newer stream of the same shard took its place */
    struct run_member *next;
};

struct run {
    const struct run_house *house;
    char id[RUN_ID_SIZE];
    char dir[PATH_MAX];
    struct run_config config;
    struct nn_shape shape;
    size_t n_params;
    struct accumulator *accumulator;
    atomic_int refs;
    atomic_uint_fast64_t bytes_up, bytes_down;
    pthread_t driver;
    bool started; /* the above is set at birth or by run_start(), read without mu */

    /* the driver's own */
    struct nn_optimizer optimizer;
    uint64_t steps_planned, incarnation, last_version;

    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t changed;
    enum run_state state;
    char message[STATUS_MSG_SIZE];
    struct run_round *rounds;
    uint32_t n_rounds;
    uint64_t version;
    bool promoted;
    char source[2 * RUN_SOURCE_SIZE + 16]; /* where the first worker's rows come from, for the metadata */
    int64_t started_ms, ended_ms;
    bool stop_asked, suspended;
    char stop_reason[STATUS_MSG_SIZE];
    struct run_member *members;
    struct run_watcher *watchers;
    struct run_directive directive;
    uint64_t directive_number;
    struct snapshot *current;
    bool tensors_kept; /* false once the run has ended */

    struct { /* the open exchange */
        bool open;
        bool delivered[RUN_MAX_WORKERS];
        uint32_t n_delivered;
        uint32_t adding; /* updates on their way into the accumulator */
    } exchange;

    struct { /* the open evaluation */
        bool open;
        bool reported[RUN_MAX_WORKERS];
        uint32_t n_reported;
        uint64_t rows, correct;
        double loss_sum;
    } evaluation;

    struct { /* since the start of the round */
        uint64_t samples;
        double loss_sum; /* of loss * samples */
        uint32_t updates, rejected;
        bool contributed[RUN_MAX_WORKERS];
    } tally;
};

void *run_drive(void *run); /* the driver thread */

uint32_t run_connected_locked(const struct run *r);

/* Something that watchers may show has changed; also wakes the driver. */
void run_changed_locked(struct run *r);

/* Makes d the directive of the hour and wakes every member. */
void run_direct_locked(struct run *r, const struct run_directive *d);

/* Writes the checkpoint; with the tensors while the run is active. Not under mu. */
struct status run_save(struct run *r);

/* The same with what will be shown of the run once it is on disk. */
struct status run_save_as(struct run *r, const struct run_view *v);

/* Publishes the current parameters. production: the version in production whose accuracy on the same rows is baseline; 0
 * and NaN when there is none to compare with. */
struct status run_publish(struct run *r, uint64_t production, double baseline);

/* The task's production model, to classifier_free(), and its version; NULL and 0 when there is none, or none that can be
 * read and has the task's labels. */
struct classifier *run_production(const struct run *r, uint64_t *version);

#endif
