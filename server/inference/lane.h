/* lane.h - the texts that wait for one model version: a queue a level, in buckets of nearly equal length, each first come
 * first served. Private to the batcher, under its lock. */
#ifndef INFERENCE_LANE_H
#define INFERENCE_LANE_H

#include "batcher.h"

#define LANE_BUCKETS 15 /* lengths up to 8, and from there in steps of sqrt(2) up to NN_MAX_TOKENS */

struct lane {
    struct lane_queue {
        struct batcher_row buckets[LANE_BUCKETS]; /* heads of rings; of a head only prev and next are used */
        size_t n_rows;
    } queues[BATCHER_N_LEVELS];
    size_t n_rows; /* of all queues */
};

/* Empty. A lane must not be moved while rows wait in it. */
void lane_init(struct lane *l);

/* Queues every row of the job. */
void lane_add(struct lane *l, struct batcher_job *job);

/* Takes the job's rows that still wait; returns how many. */
size_t lane_remove(struct lane *l, struct batcher_job *job);

/* The row that came first; NULL: none of the level waits. */
const struct batcher_row *lane_oldest(const struct lane *l, enum batcher_level level);

/* Up to max rows of the bucket and its neighbours, nearest first: no text is more than about twice as long as another in
 * the middle. Returns how many. The bucket is lane_bucket() of lane_oldest(), so that the oldest is among the rows. */
size_t lane_take(struct lane *l, enum batcher_level level, size_t bucket, size_t max, struct batcher_row **rows);

/* Where a text belongs; 0 for models that do not read in steps. */
size_t lane_bucket(const struct batcher_row *row);

#endif
