/* detector.h - the detector without its network side: its models, the queue in front of them, and what follows their files.
 * Thread-safe after detector_open().
 *
 * Without a usable model it is still there and says why it cannot work, so that the service starts, answers and shows
 * what is missing instead of dying again and again; files that appear later serve as soon as they are checked. */
#ifndef DETECTOR_DETECTOR_H
#define DETECTOR_DETECTOR_H

#include "models.h"
#include "queue.h"

struct detector;

struct detector_config {
    struct models_config models; /* serve.n_workers: of the queue, too */
    struct queue_config queue;
    int64_t poll_ms;            /* how often the models' files are looked at */
    void (*changed)(void *ctx); /* a model came, went bad or became good again; any thread; NULL: none */
    void *ctx;
};

/* ST_INVALID: settings that make no sense. Starts a child process for a moment (trial.h): call before threads exist. */
struct status detector_open(struct detector **out, const struct detector_config *config);

/* Computes what is queued before it returns. NULL is fine. */
void detector_close(struct detector *d);

struct models *detector_models(struct detector *d);
const struct stages_config *detector_stages(const struct detector *d);

/* See reload_now(). */
void detector_reload(struct detector *d);

/* From now on the models stay as they are. Not from several threads at once. */
void detector_freeze(struct detector *d);

/* One picture to the model of that name ("": the default): queue_submit() with the model filled in. */
struct status detector_submit(struct detector *d, const char *model, struct queue_job *job, int64_t *retry_ms);

/* The same with a model that the caller holds, and goes on holding. */
struct status detector_submit_to(struct detector *d, struct served *model, struct queue_job *job, int64_t *retry_ms);

#endif
