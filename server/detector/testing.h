/* testing.h - for this folder's tests: the small model as it is served, pictures for it, and jobs that one waits for.
 * Helpers die on failure. */
#ifndef DETECTOR_TESTING_H
#define DETECTOR_TESTING_H

#include "detector.h"
#include "image/picture.h"
#include "network/small_model.h"

#include <pthread.h>

/* A job and what became of it. */
struct testing_job {
    struct queue_job job;
    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t changed;
    bool is_done, may_go_on; /* done() returns when may_go_on */
    struct status st;
    struct detection found;
    int order; /* of done() among all jobs, from 1 */
};

static inline void testing_done(struct queue_job *job, struct status st, const struct detection *found)
{
    static atomic_int n_done;
    struct testing_job *t = job->ctx;

    pthread_mutex_lock(&t->mu);
    t->st = st;
    t->found = *found;
    t->is_done = true;
    t->order = atomic_fetch_add(&n_done, 1) + 1;
    pthread_cond_broadcast(&t->changed);
    while (!t->may_go_on)
        pthread_cond_wait(&t->changed, &t->mu);
    pthread_mutex_unlock(&t->mu);
}

static inline void testing_job_init(struct testing_job *t, const uint8_t *data, size_t size)
{
    *t = (struct testing_job){.may_go_on = true};
    pthread_mutex_init(&t->mu, NULL);
    cond_init_monotonic(&t->changed);
    t->job = (struct queue_job){.data = data,
                                .size = size,
                                .held_bytes = size,
                                .threshold = 0.05f,
                                .deadline = CLOCK_NEVER,
                                .done = testing_done,
                                .ctx = t};
}

/* Until done() has been called. */
static inline void testing_job_wait(struct testing_job *t)
{
    pthread_mutex_lock(&t->mu);
    while (!t->is_done)
        pthread_cond_wait(&t->changed, &t->mu);
    pthread_mutex_unlock(&t->mu);
}

/* Lets done() return. */
static inline void testing_job_go_on(struct testing_job *t)
{
    pthread_mutex_lock(&t->mu);
    t->may_go_on = true;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mu);
}

/* 300 x 200 pixels and the like. */
static inline uint8_t *testing_picture(int width, int height, size_t *size)
{
    return picture_jpeg(&(struct picture_jpeg){width, height, 3, false, 0}, size);
}

/* model: "" for the default one. */
static inline struct status testing_detect(struct detector *d, const char *model, const uint8_t *data, size_t size,
                                           float threshold, int64_t deadline, struct detection *found)
{
    struct testing_job t;
    int64_t retry_ms = 0;

    *found = (struct detection){.n_objects = 0};
    testing_job_init(&t, data, size);
    t.job.threshold = threshold;
    t.job.deadline = deadline;
    struct status st = detector_submit(d, model, &t.job, &retry_ms);
    if (st.code)
        return st;
    testing_job_wait(&t);
    pthread_mutex_lock(&t.mu); /* done() has let go of it */
    *found = t.found;
    pthread_mutex_unlock(&t.mu);
    return t.st;
}

/* Of the models in the folders. */
static inline struct detector_config testing_config(const char *path, const char *model, size_t n_workers)
{
    return (struct detector_config){
        .models = {.model = model,
                   .others = "",
                   .serve = {.path = path, .engine = "openblas", .precision = "auto", .n_workers = n_workers}},
        .queue = {.max_bytes = 64 << 20,
                  .max_images = 100,
                  .max_wait_ms = 60000,
                  .stages = {1 << 20, 1000000, RESIZE_PLAIN, 0.45f}},
        .poll_ms = 1000,
    };
}

#endif
