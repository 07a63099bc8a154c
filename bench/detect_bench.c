/* detect_bench.c - how long the engines of the detector take for a forward pass, on one core, and where the time goes.
 *
 *     detect_bench [--rounds N] [--layers] [--engines fp32,openblas] --path FOLDERS MODEL...
 *     detect_bench --check FILE --path FOLDERS MODEL       writes FILE for server/detector/executor/known
 *
 * FOLDERS and MODEL as for the detector. Lines are key=value pairs for scripts: "peak" is what the core's multiply-add
 * units reach in registers, in floats; "forward" a model's time in an engine, engines and models interleaved; with
 * --layers also "layer" for every step of an engine that executes a plan. Times are the thread's CPU time, so that a busy
 * neighbour costs less: the minimum and the median of the rounds. */
#include "executor/engine_plan.h"
#include "executor/reference.h"
#include "network/loader.h"
#include "nn/nn.h"
#include "peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ENGINES 8
#define MAX_MODELS  8
#define MAX_ROUNDS  1000

/* ---- one engine for one model ---- */

struct subject {
    const struct model *model;
    struct engine *engine;
    float *picture;
    double create_ms;
    double ms[MAX_ROUNDS];
    double step_ms[PLAN_MAX_STEPS]; /* minima */
};

static double flops(const struct cfg_layer *l)
{
    return l->kind == CFG_CONVOLUTION
               ? 2.0 * (double)(cfg_shape_size(l->out) * l->in.c * l->size * l->size) / (double)l->groups
               : 0;
}

static double network_flops(const struct cfg *c)
{
    double sum = 0;

    for (size_t i = 0; i < c->n_layers; i++)
        sum += flops(&c->layers[i]);
    return sum;
}

struct steps {
    struct subject *subject;
    int64_t last;
};

static void step_done(void *ctx, size_t step)
{
    struct steps *s = ctx;
    int64_t now = clock_thread();
    double ms = 1e-6 * (double)(now - s->last);
    double *best = &s->subject->step_ms[step];

    *best = *best == 0 || ms < *best ? ms : *best;
    s->last = clock_thread();
}

static void run_once(struct subject *s, int round, bool layers)
{
    struct plan_run *run = layers ? engine_plan_run(s->engine) : NULL;
    int64_t start = clock_thread();

    engine_forward(s->engine, s->picture);
    s->ms[round] = 1e-6 * (double)(clock_thread() - start);
    if (run) {
        struct steps steps = {s, clock_thread()};
        plan_run_watched(run, s->picture, &(struct plan_watch){step_done, &steps});
    }
}

static int by_time(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void print_steps(const struct subject *s, double peak_gflops)
{
    static const char *const ops[] = {"conv", "maxpool", "upsample", "add", "convert", "logistic", "picture", "head"};
    const struct plan *p = engine_plan(s->engine);

    double work = 0;

    for (size_t i = 0; p && i < p->n_steps; i++) {
        const struct plan_step *step = &p->steps[i];
        const struct cfg_layer *l = &p->net->cfg->layers[step->op == PLAN_CONV ? step->conv_layer : step->layer];
        work += step->op == PLAN_CONV ? flops(l) : 0;
        double gflops = s->step_ms[i] > 0 ? 1e-6 * work / s->step_ms[i] : 0; /* 0 ms: see the next, they go together */
        work = s->step_ms[i] > 0 ? 0 : work;
        printf("layer=%d op=%s method=%s in=%zux%zux%zu out=%zux%zux%zu size=%zu stride=%zu groups=%zu ms=%.3f "
               "gflops=%.1f peak=%.2f\n",
               step->layer, ops[step->op], step->conv ? step->conv->method->name : "-", l->in.w, l->in.h, l->in.c,
               l->out.w, l->out.h, l->out.c, l->size, l->stride, l->groups, s->step_ms[i], gflops,
               gflops / peak_gflops);
    }
}

static void print_subject(struct subject *s, int rounds, bool layers, double peak_gflops)
{
    double work = network_flops(s->model->network->cfg);

    qsort(s->ms, (size_t)rounds, sizeof *s->ms, by_time);
    if (layers)
        print_steps(s, peak_gflops);
    printf("forward model=%s engine=%s min_ms=%.3f median_ms=%.3f gflops=%.1f peak=%.2f create_ms=%.0f\n",
           s->model->name, s->engine->kind->name, s->ms[0], s->ms[rounds / 2], 1e-6 * work / s->ms[0],
           1e-6 * work / s->ms[0] / peak_gflops, s->create_ms);
}

static void subject_open(struct subject *s, const struct model *m, const char *engine)
{
    const struct engine_kind *kind = engine_kind_find(engine);
    size_t n = cfg_shape_size(m->network->cfg->input);
    struct rng rng;

    s->model = m;
    s->picture = xcalloc(n, sizeof *s->picture);
    rng_init(&rng, 1);
    for (size_t i = 0; i < n; i++)
        s->picture[i] = (float)rng_uniform(&rng);
    int64_t start = clock_now();
    or_die(kind ? kind->create(&s->engine, m->network) : status_errorf(ST_INVALID, "engine %s is unknown", engine));
    s->create_ms = 1e3 * clock_seconds(start);
}

/* ---- the command ---- */

struct options {
    int rounds;
    bool layers;
    char *engines;
    const char *path, *check;
};

static int parse_options(struct options *o, int argc, char **argv)
{
    int i = 1;

    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        if (strcmp(argv[i], "--layers") == 0)
            o->layers = true;
        else if (i + 1 < argc && strcmp(argv[i], "--rounds") == 0)
            o->rounds = atoi(argv[++i]);
        else if (i + 1 < argc && strcmp(argv[i], "--engines") == 0)
            o->engines = argv[++i];
        else if (i + 1 < argc && strcmp(argv[i], "--path") == 0)
            o->path = argv[++i];
        else if (i + 1 < argc && strcmp(argv[i], "--check") == 0)
            o->check = argv[++i];
        else
            or_die(
                status_errorf(ST_INVALID, "%s: --rounds, --layers, --engines, --check and --path are known", argv[i]));
    }
    if (o->rounds < 1 || o->rounds > MAX_ROUNDS || i == argc || argc - i > MAX_MODELS || !o->path)
        or_die(
            status_errorf(ST_INVALID, "--path, 1 to %d models and 1 to %d rounds are needed", MAX_MODELS, MAX_ROUNDS));
    return i;
}

static int write_check(const char *model, const struct options *o)
{
    struct model *m;

    or_die(loader_load(&m, model, o->path));
    or_die(reference_write(o->check, m->network));
    model_free(m);
    return 0;
}

int main(int argc, char **argv)
{
    nn_setup_blas(argv);
    char preset[] = "fp32";
    struct options o = {20, false, preset, NULL, NULL};
    int first = parse_options(&o, argc, argv);
    struct subject *subjects;
    struct model *models[MAX_MODELS];
    const char *engines[MAX_ENGINES];
    size_t n = 0, n_engines = 0;

    or_die(log_init("bench", "error"));
    if (o.check)
        return write_check(argv[first], &o);
    subjects = xcalloc(MAX_MODELS * MAX_ENGINES, sizeof *subjects);
    for (char *name = strtok(o.engines, ","); name && n_engines < MAX_ENGINES; name = strtok(NULL, ","))
        engines[n_engines++] = name;
    for (int i = first; i < argc; i++) {
        or_die(loader_load(&models[i - first], argv[i], o.path));
        for (size_t k = 0; k < n_engines; k++)
            subject_open(&subjects[n++], models[i - first], engines[k]);
    }
    double gflops = peak_fp32();
    printf("peak gflops=%.1f isa=%s blas=%s\n", gflops, nn_kernel_isa(), nn_blas_core());
    for (int round = 0; round < o.rounds; round++)
        for (size_t k = 0; k < n; k++)
            run_once(&subjects[k], round, o.layers);
    for (size_t k = 0; k < n; k++) {
        print_subject(&subjects[k], o.rounds, o.layers, gflops);
        engine_free(subjects[k].engine);
        free(subjects[k].picture);
    }
    for (int i = first; i < argc; i++)
        model_free(models[i - first]);
    free(subjects);
    return 0;
}
