/* queue.h - pictures that wait for a worker thread, first come, first served, and what is not even let in.
 *
 * Two profiles. Production refuses early: when the queue is full (pictures or bytes), or when what waits ahead would take
 * longer than the caller's deadline by the measured time of a picture, the caller hears it at once, and when to come again;
 * an idle worker takes whatever comes. Experiment queues by bytes alone, as far as memory reaches, and refuses nothing
 * before that.
 *
 * A picture whose deadline has passed or whose caller has gone is dropped before it is decoded, before the forward pass
 * and between its layers. Pictures of one call are jobs of their own: they use the threads that are idle, but never share
 * a forward pass, which on one core is not faster: the GEMMs of yolov3-tiny took 222 ms a picture alone and 271 ms two at a
 * time (minimum of 12 interleaved rounds, OpenBLAS on a busy Zen 3), since one picture's columns fill the kernels already.
 *
 * Memory is the caller's: nothing is allocated for a job. Thread-safe, except queue_stop(). */
#ifndef DETECTOR_QUEUE_H
#define DETECTOR_QUEUE_H

#include "served.h"

/* One picture. Everything is borrowed until done(). */
struct queue_job {
    struct served *model; /* a reference, given away when queue_submit() takes the job: released after done() */
    const uint8_t *data;  /* the file */
    size_t size;
    size_t held_bytes;       /* what waits in memory with the job, for the queue's limit */
    float threshold;         /* 0: the model's default; else 0.001..1 */
    int64_t deadline;        /* clock_now() scale; CLOCK_NEVER: none */
    bool (*gone)(void *ctx); /* the caller wants no answer any more; any thread, cheap; NULL: never */
    /* Once for each job that was taken, on a worker thread, which does nothing else meanwhile, or, for one that is over,
     * in a later queue_submit(). found: until it returns; its times are there whatever st is. ST_INVALID: not a picture, or over a limit; ST_DEADLINE, ST_CANCELLED: dropped.
     * The job may be freed in it. */
    void (*done)(struct queue_job *job, struct status st, const struct detection *found);
    void *ctx;

    /* The queue's. */
    int64_t arrival, cost_ns;
    struct queue_job *prev, *next;
};

struct queue_config {
    size_t n_workers; /* threads; the models have as many engines */
    bool experiment;
    int64_t max_bytes;   /* waiting; 0 with experiment: by the memory limit of now */
    int64_t max_images;  /* waiting; production only */
    int64_t max_wait_ms; /* deadline of calls that have none or a later one; production only */
    struct stages_config stages;
};

struct queue;

struct queue *queue_start(const struct queue_config *config);
void queue_stop(struct queue *q); /* computes what is queued, then joins; NULL is fine */

/* Never blocks. ST_EXHAUSTED: refused, and *retry_ms says when to try again; ST_INVALID: the threshold. done() will not
 * be called then, and the reference stays the caller's. */
struct status queue_submit(struct queue *q, struct queue_job *job, int64_t *retry_ms);

#endif
