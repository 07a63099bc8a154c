/* stages.c - see stages.h. A large JPEG is decoded at a half, a quarter or an eighth where the network needs no more,
 * except for what has to be as OpenCV computes it. */
#include "stages.h"

#define MAX_DECODE_MS 10000 /* the largest pictures need a fifth of it on half a core */

const char *const stage_names[N_STAGES] = {"queue", "decode", "resize", "forward", "boxes"};

/* Notes the time since *start under the stage and starts the next one. */
static void stage_end(struct detection *d, enum stage stage, int64_t *start)
{
    d->seconds[stage] = clock_seconds(*start);
    *start = clock_now();
}

static bool stopped(const struct stages_job *job)
{
    return job->stop(job->ctx);
}

static struct status not_wanted(void)
{
    return status_errorf(ST_CANCELLED, "nobody waits for the answer any more");
}

static struct image_limits limits_of(const struct stages_config *config, const struct cfg *cfg,
                                     const struct stages_job *job)
{
    bool full = config->resize == RESIZE_OPENCV;

    return (struct image_limits){.max_bytes = config->max_bytes,
                                 .max_pixels = config->max_pixels,
                                 .need_width = full ? 0 : (uint32_t)cfg->input.w,
                                 .need_height = full ? 0 : (uint32_t)cfg->input.h,
                                 .deadline = clock_after_ms(MAX_DECODE_MS),
                                 .stop = job->stop,
                                 .ctx = job->ctx};
}

struct status stages_run(const struct stages_config *config, const struct cfg *cfg, struct engine *engine, float *input,
                         const struct stages_job *job, struct detection *out)
{
    const struct image_limits limits = limits_of(config, cfg, job);
    int64_t start = clock_now();
    struct image im;

    if (stopped(job))
        return not_wanted();
    struct status st = image_decode(&im, job->data, job->size, &limits);
    if (st.code)
        return st;
    stage_end(out, STAGE_DECODE, &start);
    out->width = im.width;
    out->height = im.height;
    struct boxes_request boxes = {
        .threshold = job->threshold, .nms = config->nms, .width = (float)im.width, .height = (float)im.height};
    boxes.frame = resize_to_planes(input, (uint32_t)cfg->input.w, (uint32_t)cfg->input.h, &im, config->resize);
    image_fini(&im);
    stage_end(out, STAGE_RESIZE, &start);
    if (stopped(job) || !engine_forward_until(engine, input, job->stop, job->ctx))
        return not_wanted();
    stage_end(out, STAGE_FORWARD, &start);
    out->n_objects = boxes_find(cfg, engine->heads, &boxes, out->objects);
    stage_end(out, STAGE_BOXES, &start);
    return st;
}
