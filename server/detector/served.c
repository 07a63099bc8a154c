/* served.c - see served.h. */
#include "served.h"

#include "executor/trial.h"
#include "nn/nn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- which engine ---- */

/* NULL when anything will do. */
static const char *wanted(const char *name)
{
    return strcmp(name, "auto") == 0 ? NULL : name;
}

struct status served_engine_check(const struct served_config *config)
{
    const char *engine = wanted(config->engine), *precision = wanted(config->precision);
    char list[STATUS_MSG_SIZE / 2] = "";
    struct status unfit = status_ok();
    size_t used = 0;

    for (size_t i = 0; engine_kind_at(i); i++) {
        const struct engine_kind *kind = engine_kind_at(i);
        if ((!engine || strcmp(kind->name, engine) == 0) && (!precision || strcmp(kind->precision, precision) == 0)) {
            struct status st = kind->check_cpu ? kind->check_cpu() : status_ok();
            if (!st.code)
                return st;
            unfit = st;
        }
        if (used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, ", %s (%s)", kind->name, kind->precision);
    }
    if (unfit.code)
        return unfit;
    return status_errorf(ST_INVALID, "no engine \"%.20s\" of precision \"%.20s\": there is auto%s", config->engine,
                         config->precision, list);
}

/* The engine that config names, or with "auto" the fastest that computes this network right. */
static struct status choose_engine(struct engine **out, double *seconds, const struct model *m,
                                   const struct served_config *config)
{
    struct trial t;
    struct status st = trial_choose(out, &t, config->engine, wanted(config->precision), m->network, m->name);

    if (!st.code)
        *seconds = t.forward_seconds;
    return st;
}

struct status served_try(struct served_check *out, const char *name, const struct served_config *config)
{
    struct engine *engine = NULL;
    struct model *m = NULL;
    struct status st = loader_load(&m, name, config->path);

    if (!st.code)
        st = choose_engine(&engine, &out->forward_seconds, m, config);
    if (!st.code) {
        snprintf(out->engine, sizeof out->engine, "%s", engine->kind->name);
        memcpy(out->digest, m->digest, sizeof out->digest);
    }
    engine_free(engine);
    model_free(m);
    return st;
}

/* ---- loading ---- */

/* The first one's engine, and clones of it for the others. */
static struct status make_workers(struct served *s, struct engine *first, size_t n)
{
    const struct network *net = s->model->network;

    s->workers = xcalloc(n, sizeof *s->workers);
    for (size_t i = 0; i < n; i++) {
        struct status st = status_ok();
        if (i == 0)
            s->workers[i].engine = first;
        else
            st = engine_clone(&s->workers[i].engine, first, net);
        if (st.code)
            return st;
        s->workers[i].input = xaligned(cfg_shape_size(net->cfg->input), sizeof(float));
        s->n_workers++;
    }
    return status_ok();
}

static void make_metrics(struct served *s)
{
    static const double bounds[] = {1e-5,  3e-5,  1e-4,  3e-4, 1e-3, 2e-3, 4e-3, 8e-3, 0.016,
                                    0.032, 0.064, 0.125, 0.25, 0.5,  1,    2,    4,    8};
    const char *name = s->model->name;
    struct metric *m = metric_histogram("bloginfer_detector_stage_duration_seconds",
                                        "Time of one picture in a stage; queue: until a thread took it.", "model,stage",
                                        bounds, COUNT_OF(bounds));

    for (int i = 0; i < N_STAGES; i++)
        s->stages[i] = metric_series(m, name, stage_names[i]);
    s->results = metric_counter("bloginfer_detector_images_total", "Pictures by result.", "model,result");
}

/* The engine: what was found elsewhere, or what is found now. */
static struct status find_engine(struct engine **out, struct served *s, const struct served_config *config,
                                 const struct served_check *checked)
{
    if (!checked)
        return choose_engine(out, &s->forward_seconds, s->model, config);
    if (strcmp(checked->digest, s->model->digest) != 0)
        return status_errorf(ST_ABORTED, "the files of %s changed while they were checked", s->model->name);
    const struct engine_kind *kind = engine_kind_find(checked->engine);
    s->forward_seconds = checked->forward_seconds;
    return kind ? kind->create(out, s->model->network)
                : status_errorf(ST_INTERNAL, "no engine \"%s\"", checked->engine);
}

static void served_free(struct served *s)
{
    for (size_t i = 0; i < s->n_workers; i++) {
        engine_free(s->workers[i].engine);
        free(s->workers[i].input);
    }
    free(s->workers);
    model_free(s->model);
    free(s);
}

struct status served_load(struct served **out, const char *name, const struct served_config *config,
                          const struct served_check *checked)
{
    struct served *s = xcalloc(1, sizeof *s);
    struct engine *engine = NULL;
    struct status st = loader_load(&s->model, name, config->path);

    if (!st.code)
        st = find_engine(&engine, s, config, checked);
    if (!st.code) {
        s->kind = engine->kind;
        st = make_workers(s, engine, config->n_workers);
    }
    if (st.code) {
        served_free(s);
        return st;
    }
    engine_release_parameters(engine, s->model->network);
    s->threshold = config->threshold > 0 ? config->threshold : s->model->threshold;
    s->loaded_at = clock_wall();
    atomic_init(&s->refs, 1);
    atomic_init(&s->mean_ns, (int64_t)(s->forward_seconds * 1.2e9)); /* a guess until the first picture */
    make_metrics(s);
    log_info("model", log_s("name", name), log_s("sha256", s->model->sha256), log_s("engine", s->kind->name),
             log_f("threshold", (double)s->threshold), log_i("engines", (int64_t)s->n_workers));
    *out = s;
    return st;
}

struct served *served_acquire(struct served *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

void served_release(struct served *s)
{
    if (s && atomic_fetch_sub(&s->refs, 1) == 1)
        served_free(s);
}

const char *served_precision(const struct served *s)
{
    return s->kind->precision;
}

/* ---- counting ---- */

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
        return "refused";
    case ST_DEADLINE:
        return "deadline";
    case ST_CANCELLED:
        return "cancelled";
    default:
        return "error";
    }
}

void served_observe(struct served *s, const struct detection *d, enum code code)
{
    double seconds = 0;

    metric_add(s->results, 1, s->model->name, result_name(code));
    for (int i = 0; i < N_STAGES; i++)
        if (d && d->seconds[i] > 0) {
            series_observe(s->stages[i], d->seconds[i]);
            seconds += i == STAGE_QUEUE ? 0 : d->seconds[i];
        }
    if (code == ST_OK && d) { /* two threads at once may lose one of the two: it is a mean */
        int64_t mean = atomic_load(&s->mean_ns), now = (int64_t)(seconds * 1e9);
        atomic_store(&s->mean_ns, mean > 0 ? mean + (now - mean) / 8 : now);
    }
}
