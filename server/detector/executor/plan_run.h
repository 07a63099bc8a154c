/* plan_run.h - one thread's execution of a plan: its memory and the way through the steps. */
#ifndef DETECTOR_PLAN_RUN_H
#define DETECTOR_PLAN_RUN_H

#include "executor/plan.h"

struct plan_run;

struct plan_run *plan_run_new(struct plan *p); /* holds the plan until plan_run_free() */
void plan_run_free(struct plan_run *r);        /* NULL is fine */

/* picture (3, h, w), 0..1. */
void plan_run_forward(struct plan_run *r, const float *picture);
const float *plan_run_head(const struct plan_run *r, size_t head); /* (c, h, w), valid after plan_run_forward() */

/* Calls after() when a step is done, in order: to look at what it wrote, or at the clock. Steps that go band by band
 * together are done together: only the last one is told. */
struct plan_watch {
    void (*after)(void *ctx, size_t step);
    void *ctx;
};
void plan_run_watched(struct plan_run *r, const float *picture, const struct plan_watch *watch);

/* The tensor with its memory in this run. */
const struct tensor *plan_run_tensor(const struct plan_run *r, int tensor);

#endif
