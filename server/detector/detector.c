/* detector.c - opening, the pool, and the stages with their metrics. A picture holds its engine from the decoding on,
 * so that the memory for decoded pictures is bounded by the number of engines, too. */
#include "detector.h"

#include "image/image.h"
#include "metrics/metrics.h"
#include "nn/nn.h"
#include "image/resize.h"
#include "executor/trial.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define FETCH_HINT  "; ./bloginfer fetch gets the weights of yolov3-tiny"
#define MAX_ENGINES 64
#define MAX_WAIT_MS 10000 /* for an engine, when the caller's deadline is later or absent */

enum stage { STAGE_DECODE, STAGE_RESIZE, STAGE_FORWARD, STAGE_BOXES, N_STAGES };

struct slot {
    struct engine *engine;
    float *input; /* (3, h, w) */
};

struct detector {
    struct model *model; /* this and what stands above mu is set at birth; NULL: reason says why */
    struct status reason;
    float threshold;
    struct image_limits limits;
    struct slot *slots;
    size_t n_slots;
    struct series *stages[N_STAGES];
    struct metric *images;

    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t freed;
    struct slot *idle[MAX_ENGINES];
    size_t n_idle;
};

/* ---- opening ---- */

static void log_trial(const struct engine_kind *kind, const struct trial *t, struct status st)
{
    if (st.code)
        log_error("engine_refused", log_s("engine", kind->name), log_s("reason", st.msg));
    else
        log_info("engine", log_s("engine", kind->name), log_f("forward_ms", 1e3 * t->forward_seconds),
                 log_s("compared_with", t->compared ? "darknet" : "nothing"), log_f("error", t->error),
                 log_s("blas", nn_blas_core()), log_s("isa", nn_kernel_isa()));
}

/* The named engine, or with "auto" the first one that computes this network right. */
static struct status choose_engine(const struct engine_kind **out, const char *name, const struct network *net)
{
    const struct engine_kind *named = engine_kind_find(name);
    const struct engine_kind *const candidates[] = {named ? named : &engine_openblas, named ? NULL : &engine_darknet,
                                                    NULL};
    struct status st = status_ok();

    for (size_t i = 0; candidates[i]; i++) {
        struct trial t;
        st = trial_run(candidates[i], net, &t);
        log_trial(candidates[i], &t, st);
        if (!st.code) {
            *out = candidates[i];
            break;
        }
    }
    return st;
}

static struct status make_slots(struct detector *d, const struct engine_kind *kind, size_t n)
{
    const struct network *net = d->model->network;

    d->slots = xcalloc(n, sizeof *d->slots);
    for (size_t i = 0; i < n; i++) {
        struct slot *s = &d->slots[i];
        struct status st = kind->create(&s->engine, net);
        if (st.code)
            return st;
        s->input = xaligned(cfg_shape_size(net->cfg->input), sizeof *s->input);
        d->n_slots++;
        d->idle[d->n_idle++] = s;
    }
    return status_ok();
}

static struct status load(struct detector *d, const struct detector_config *config)
{
    const struct engine_kind *kind = NULL;
    struct status st = loader_load(&d->model, config->model, config->path);

    if (!st.code)
        st = choose_engine(&kind, config->engine, d->model->network);
    if (!st.code)
        st = make_slots(d, kind, (size_t)config->n_engines);
    if (st.code)
        return st;
    network_drop_file(d->model->network);
    d->threshold = config->threshold > 0 ? (float)config->threshold : d->model->threshold;
    d->limits.need_width = (uint32_t)d->model->network->cfg->input.w;
    d->limits.need_height = (uint32_t)d->model->network->cfg->input.h;
    metric_set(metric_gauge("bloginfer_detector_engine", "The engine that serves.", "engine,blas,isa"), 1, kind->name,
               nn_blas_core(), nn_kernel_isa());
    log_info("model", log_s("name", d->model->name), log_s("sha256", d->model->sha256),
             log_f("threshold", (double)d->threshold), log_i("engines", config->n_engines));
    return st;
}

static void drop_slots(struct detector *d)
{
    for (size_t i = 0; i < d->n_slots; i++) {
        engine_free(d->slots[i].engine);
        free(d->slots[i].input);
    }
    free(d->slots);
    d->slots = NULL;
    d->n_slots = d->n_idle = 0;
}

static void make_metrics(struct detector *d)
{
    static const char *const names[N_STAGES] = {"decode", "resize", "forward", "boxes"};
    static const double bounds[] = {1e-5,  3e-5,  1e-4,  3e-4, 1e-3, 2e-3, 4e-3, 8e-3, 0.016,
                                    0.032, 0.064, 0.125, 0.25, 0.5,  1,    2,    4};
    struct metric *m = metric_histogram("bloginfer_detector_stage_duration_seconds", "Time of one picture in a stage.",
                                        "stage", bounds, COUNT_OF(bounds));

    for (int i = 0; i < N_STAGES; i++)
        d->stages[i] = metric_series(m, names[i]);
    d->images = metric_counter("bloginfer_detector_images_total", "Pictures by result.", "result");
}

struct status detector_open(struct detector **out, const struct detector_config *config)
{
    if (strcmp(config->engine, "auto") != 0 && !engine_kind_find(config->engine))
        return status_errorf(ST_INVALID, "engine \"%.40s\": auto, fp32, openblas or darknet is needed", config->engine);
    if (config->n_engines < 1 || config->n_engines > MAX_ENGINES)
        return status_errorf(ST_INVALID, "%lld engines: 1 to %d are possible", (long long)config->n_engines,
                             MAX_ENGINES);
    struct detector *d = xcalloc(1, sizeof *d);
    d->limits = (struct image_limits){(size_t)config->max_image_bytes, (uint64_t)config->max_pixels, 0, 0};
    pthread_mutex_init(&d->mu, NULL);
    cond_init_monotonic(&d->freed);
    make_metrics(d);
    d->reason = load(d, config);
    if (d->reason.code) {
        log_error("no_model", log_s("model", config->model), log_s("reason", d->reason.msg));
        d->reason = status_errorf(ST_PRECONDITION, "the detector has no model: %s%s", d->reason.msg,
                                  d->reason.code == ST_NOT_FOUND ? FETCH_HINT : "");
        drop_slots(d);
        model_free(d->model);
        d->model = NULL;
    }
    *out = d;
    return status_ok();
}

void detector_close(struct detector *d)
{
    if (!d)
        return;
    drop_slots(d);
    model_free(d->model);
    pthread_cond_destroy(&d->freed);
    pthread_mutex_destroy(&d->mu);
    free(d);
}

struct status detector_ready(const struct detector *d)
{
    return d->reason;
}

const struct model *detector_model(const struct detector *d)
{
    return d->model;
}

float detector_threshold(const struct detector *d)
{
    return d->threshold;
}

/* ---- the pool ---- */

/* NULL when none becomes idle until then. */
static struct slot *slot_acquire(struct detector *d, int64_t deadline)
{
    int64_t latest = clock_after_ms(MAX_WAIT_MS), until = deadline < latest ? deadline : latest;
    struct timespec ts = clock_timespec(until);
    struct slot *s = NULL;

    pthread_mutex_lock(&d->mu);
    while (d->n_idle == 0)
        if (pthread_cond_timedwait(&d->freed, &d->mu, &ts) != 0)
            break;
    if (d->n_idle > 0)
        s = d->idle[--d->n_idle];
    pthread_mutex_unlock(&d->mu);
    return s;
}

static void slot_release(struct detector *d, struct slot *s)
{
    pthread_mutex_lock(&d->mu);
    d->idle[d->n_idle++] = s;
    pthread_cond_signal(&d->freed);
    pthread_mutex_unlock(&d->mu);
}

/* ---- one picture ---- */

/* Notes the time since *start under the stage and starts the next one. */
static void stage_end(struct detector *d, enum stage stage, int64_t *start)
{
    series_observe(d->stages[stage], clock_seconds(*start));
    *start = clock_now();
}

static struct status detect_with(struct detector *d, struct slot *s, const uint8_t *data, size_t size, float threshold,
                                 int64_t deadline, struct detection *out)
{
    const struct cfg *c = d->model->network->cfg;
    int64_t start = clock_now();
    struct image im;
    struct status st = image_decode(&im, data, size, &d->limits);

    if (st.code)
        return st;
    stage_end(d, STAGE_DECODE, &start);
    out->width = im.width;
    out->height = im.height;
    resize_to_planes(s->input, (uint32_t)c->input.w, (uint32_t)c->input.h, &im);
    image_fini(&im);
    stage_end(d, STAGE_RESIZE, &start);
    if (start > deadline)
        return status_errorf(ST_DEADLINE, "the deadline passed while the image was decoded");
    engine_forward(s->engine, s->input);
    stage_end(d, STAGE_FORWARD, &start);
    out->n_objects = boxes_find(c, s->engine->heads, threshold, (float)out->width, (float)out->height, out->objects);
    stage_end(d, STAGE_BOXES, &start);
    return st;
}

static struct status detect(struct detector *d, const uint8_t *data, size_t size, float threshold, int64_t deadline,
                            struct detection *out)
{
    if (d->reason.code)
        return d->reason;
    if (threshold == 0)
        threshold = d->threshold;
    if (!(threshold >= 0.001f && threshold <= 1))
        return status_errorf(ST_INVALID, "threshold %g: 0.001 to 1, or 0 for the default, is allowed",
                             (double)threshold);
    struct slot *s = slot_acquire(d, deadline);
    if (!s)
        return status_errorf(ST_EXHAUSTED, "all %zu engines are busy", d->n_slots);
    struct status st = detect_with(d, s, data, size, threshold, deadline, out);
    slot_release(d, s);
    return st;
}

static const char *result_name(enum code code)
{
    switch (code) {
    case ST_OK:
        return "ok";
    case ST_INVALID:
        return "invalid";
    case ST_RANGE:
        return "too_large";
    case ST_EXHAUSTED:
        return "busy";
    case ST_DEADLINE:
        return "deadline";
    case ST_PRECONDITION:
        return "no_model";
    default:
        return "error";
    }
}

struct status detector_detect(struct detector *d, const uint8_t *data, size_t size, float threshold, int64_t deadline,
                              struct detection *out)
{
    *out = (struct detection){.n_objects = 0};
    struct status st = detect(d, data, size, threshold, deadline, out);

    metric_add(d->images, 1, result_name(st.code));
    if (st.code == ST_RANGE)
        st.code = ST_INVALID; /* what the callers were promised */
    return st;
}
