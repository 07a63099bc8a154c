/* batcher.h - forward passes for many calls at once: joins the texts of several small calls into one pass of a model
 * version, splits a large call over several passes, and keeps texts of nearly equal length together.
 *
 * Whatever has queued while the engine was busy becomes the next pass, so an idle batcher adds no delay and a busy one
 * joins without being told to. max_queue_delay_us asks for more: under load (the last pass joined several calls, or
 * others arrived while it ran) a pass that is not full waits that long for more texts. It is no limit on latency; that
 * is the deadline: texts whose call is over or whose deadline has passed are dropped before they cost anything, and a
 * pass stops between two steps when nobody waits for it any more.
 *
 * The pass that is next always holds the oldest text of its model, and of several models the one with the oldest text
 * goes first, so nobody starves. A bulk text counts as BATCHER_AGE_MS younger than it is: it waits for online ones that
 * came up to that long after it, and for no others.
 *
 * Memory is the caller's: a job and its rows live in the arena of the call, nothing is allocated here. Thread-safe,
 * except batcher_stop(). */
#ifndef INFERENCE_BATCHER_H
#define INFERENCE_BATCHER_H

#include "base/base.h"
#include "nn/nn.h"
#include "served.h"

#include <stdatomic.h>
#include <stdbool.h>

#define BATCHER_MAX_BATCH 256 /* rows of a pass, whatever a job asks for */
#define BATCHER_AGE_MS    500

enum batcher_level {
    BATCHER_ONLINE, /* somebody waits for the answer */
    BATCHER_BULK,   /* shadow traffic and the like */
};
#define BATCHER_N_LEVELS 2

struct batcher_job;

/* One text. */
struct batcher_row {
    struct nn_example example;

    /* The batcher's. */
    struct batcher_job *job;
    struct batcher_row *prev, *next; /* NULL: not queued */
};

/* The texts of one call on one version. Everything is borrowed until done(). */
struct batcher_job {
    struct served_model *model;
    struct batcher_row *rows; /* (n_rows,), n_rows at least 1 */
    size_t n_rows;
    float *probs;      /* (n_rows,C), for the answer; C classes of the model */
    size_t size_bytes; /* what waits in memory with the job, for the queue's limit */
    enum batcher_level level;
    int64_t deadline;   /* clock_now() scale; CLOCK_NEVER: none */
    uint32_t max_batch; /* 1..BATCHER_MAX_BATCH, for its model; what the latest job says counts */
    uint32_t max_queue_delay_us;
    bool (*cancelled)(void *ctx); /* any thread, cheap; NULL: never */
    /* Once for each job that was taken, on a thread of the batcher, which does nothing else meanwhile. OK: probs are
     * there. ST_DEADLINE, ST_CANCELLED: dropped. The job may be freed in it. */
    void (*done)(struct batcher_job *job, struct status st);
    void *ctx;

    /* The batcher's. */
    int64_t arrival;
    size_t n_waiting;         /* rows in the queue */
    atomic_size_t n_left;     /* rows without an answer */
    atomic_int dropped;       /* enum code of what ended it early */
    struct batcher_job *next; /* that ended early */
};

/* Rows and probs for n texts, from the arena, and the limits that the model's parameters set. ST_EXHAUSTED: it is full.
 * The rest of the job is zero but for the deadline, which is never. */
struct status batcher_job_init(struct batcher_job *job, struct arena *arena, struct served_model *model, size_t n);

/* Tokenises text i into the arena. ST_INVALID, ST_EXHAUSTED as text_tokenise(). */
struct status batcher_job_text(struct batcher_job *job, struct arena *arena, size_t i, const char *text, size_t size);

struct batcher_config {
    int64_t threads;     /* that compute; 0: one for each CPU allowed, at most 2 */
    int64_t queue_texts; /* that wait at most; 0: 8,192 */
    int64_t queue_bytes; /* of jobs with waiting texts at most; 0: 64 MiB */
};

struct batcher;

void batcher_start(struct batcher **out, const struct batcher_config *config);
void batcher_stop(struct batcher *b); /* computes what is queued, then joins; NULL is fine */

/* Never blocks. ST_EXHAUSTED: the queue is full, done() will not be called. Otherwise done() will be, maybe before this
 * returns. */
struct status batcher_submit(struct batcher *b, struct batcher_job *job);

/* For struct rpc_work: with these as its due() and run() a poller computes itself what it has submitted, and no thread is
 * woken for it: on one CPU a change of threads costs more than it brings. b is the struct batcher. */
int64_t batcher_due(void *b);
void batcher_run(void *b);

#endif
