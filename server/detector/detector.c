/* detector.c - see detector.h. */
#include "detector.h"

#include "reload.h"

#include <stdlib.h>

struct detector {
    struct detector_config config;
    struct models *models;
    struct queue *queue;
    struct reload *reload;
};

static struct status config_check(const struct detector_config *c)
{
    size_t n = c->models.serve.n_workers;

    if (n < 1 || n > SERVED_MAX_WORKERS)
        return status_errorf(ST_INVALID, "%zu threads: 1 to %d are possible", n, SERVED_MAX_WORKERS);
    if (!(c->queue.stages.nms > 0 && c->queue.stages.nms <= 1))
        return status_errorf(ST_INVALID, "nms %g: above 0 and at most 1 is needed", (double)c->queue.stages.nms);
    return status_ok();
}

struct status detector_open(struct detector **out, const struct detector_config *config)
{
    struct status st = config_check(config);
    struct models *models = NULL;

    if (!st.code)
        st = models_open(&models, &config->models);
    if (st.code)
        return st;
    struct detector *d = xcalloc(1, sizeof *d);
    d->config = *config;
    d->config.queue.n_workers = config->models.serve.n_workers;
    d->models = models;
    d->queue = queue_start(&d->config.queue);
    d->reload = reload_start(models, config->poll_ms, config->changed, config->ctx);
    *out = d;
    return st;
}

void detector_close(struct detector *d)
{
    if (!d)
        return;
    detector_freeze(d);
    queue_stop(d->queue);
    models_close(d->models);
    free(d);
}

struct models *detector_models(struct detector *d)
{
    return d->models;
}

const struct stages_config *detector_stages(const struct detector *d)
{
    return &d->config.queue.stages;
}

void detector_reload(struct detector *d)
{
    reload_now(d->reload);
}

void detector_freeze(struct detector *d)
{
    reload_stop(d->reload);
    d->reload = NULL;
}

struct status detector_submit_to(struct detector *d, struct served *model, struct queue_job *job, int64_t *retry_ms)
{
    job->model = served_acquire(model);
    struct status st = queue_submit(d->queue, job, retry_ms);
    if (st.code)
        served_release(model);
    return st;
}

struct status detector_submit(struct detector *d, const char *model, struct queue_job *job, int64_t *retry_ms)
{
    struct served *s = NULL;
    struct status st = models_acquire(d->models, model, &s);

    if (!st.code)
        st = detector_submit_to(d, s, job, retry_ms);
    served_release(s);
    return st;
}
