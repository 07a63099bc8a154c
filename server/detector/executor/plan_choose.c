/* plan_choose.c - the fastest method for each convolution, under a limit on memory: Winograd's weights take up to four
 * times the plain ones. Every candidate is timed on tensors like those that it will see, but with few filters: the time
 * goes with them nearly, and preparing all would take longer than a start may. */
#include "plan.h"

#include <math.h>
#include <stdlib.h>

#define N_TIMED        2
#define TIMED_FILTERS  64
#define MAX_CANDIDATES 16
#define MAX_EXTRA      ((size_t)16 << 20) /* bytes of weights beyond those of the smallest methods */

struct conv_spec plan_spec(const struct plan *p, const struct plan_step *s)
{
    const struct cfg_layer *l = plan_layer(p, s->conv_layer);
    struct conv_spec spec = {.layer = l,
                             .params = &p->net->layers[s->conv_layer],
                             .in = p->tensors[s->in].t,
                             .out = p->tensors[s->out].t,
                             .slope = plan_slope(l->activation),
                             .add_slope = 1,
                             .has_add = s->add >= 0};

    if (s->add >= 0) {
        spec.add = p->tensors[s->add].t;
        spec.add_slope = plan_slope(plan_layer(p, s->layer)->activation);
    }
    return spec;
}

/* Memory like a run's for one convolution at a time. */
struct bench {
    char *pool, *scratch;
    size_t scratch_size;
};

static void bind(const struct plan *p, const struct bench *b, int tensor, struct tensor *to)
{
    const struct plan_tensor *t = &p->tensors[tensor];

    *to = t->t;
    to->data = b->pool + p->tensors[t->root].offset + (t->root == tensor ? 0 : t->offset);
}

static char *scratch_of(struct bench *b, const struct conv *c)
{
    size_t size = c->method->scratch_size(c);

    if (size > b->scratch_size) {
        free(b->scratch);
        b->scratch = xaligned(size, 1);
        b->scratch_size = size;
    }
    return b->scratch;
}

static double time_method(const struct plan *p, const struct plan_step *s, const struct conv *c, struct bench *b,
                          size_t n_filters)
{
    struct tensor in, add, out;
    double best = INFINITY;
    char *scratch = scratch_of(b, c);

    bind(p, b, s->in, &in);
    bind(p, b, s->out, &out);
    if (s->add >= 0)
        bind(p, b, s->add, &add);
    out.c = add.c = n_filters;
    for (int i = 0; i < N_TIMED; i++) {
        int64_t start = clock_thread();
        c->method->run(c, &(struct conv_io){&in, s->add < 0 ? NULL : &add, &out, scratch});
        best = fmin(best, clock_thread_seconds(start));
    }
    return best;
}

/* ---- one convolution ---- */

struct candidates {
    const struct conv_method *methods[MAX_CANDIDATES];
    double seconds[MAX_CANDIDATES];
    size_t sizes[MAX_CANDIDATES]; /* bytes of weights */
    size_t n, chosen;
};

static void find_candidates(struct candidates *c, const struct conv_spec *spec)
{
    c->n = 0;
    for (const struct conv_method *const *m = conv_methods; *m; m++)
        if ((*m)->in_type == spec->in.type && (m[1] || c->n == 0) && (*m)->supports(spec) && c->n < MAX_CANDIDATES)
            c->methods[c->n++] = *m;
}

/* Time and size of each, from a few of its filters. */
static void measure(const struct plan *p, const struct plan_step *s, struct conv_spec spec, struct candidates *c,
                    struct bench *b)
{
    struct cfg_layer few = *spec.layer;
    size_t n = spec.out.c < TIMED_FILTERS ? spec.out.c : TIMED_FILTERS;
    double factor = (double)spec.out.c / (double)n;

    spec.layer = &few;
    few.out.c = spec.out.c = spec.add.c = n;
    for (size_t i = 0; i < c->n; i++) {
        struct conv *conv = c->methods[i]->prepare(&spec);
        c->seconds[i] = factor * time_method(p, s, conv, b, n);
        c->sizes[i] = (size_t)(factor * (double)conv->weights_size);
        conv->method->destroy(conv);
    }
    for (size_t i = 1; i < c->n; i++) /* to begin with, the smallest */
        c->chosen = c->sizes[i] < c->sizes[c->chosen] ? i : c->chosen;
}

/* ---- all of them ---- */

/* The change that saves most time for its memory, as far as that goes. False: there is none. */
static bool improve(struct candidates *all, size_t n_steps, size_t *left)
{
    double best = 0;
    size_t best_step = 0, best_i = 0;

    for (size_t k = 0; k < n_steps; k++) {
        const struct candidates *c = &all[k];
        for (size_t i = 0; i < c->n; i++) {
            double saved = c->seconds[c->chosen] - c->seconds[i];
            size_t extra = c->sizes[i] > c->sizes[c->chosen] ? c->sizes[i] - c->sizes[c->chosen] : 0;
            double worth = saved / ((double)extra + 4096);
            if (i == c->chosen || saved <= 0 || extra > *left || worth <= best)
                continue;
            best = worth;
            best_step = k;
            best_i = i;
        }
    }
    if (best <= 0)
        return false;
    struct candidates *c = &all[best_step];
    *left += c->sizes[c->chosen];
    *left -= c->sizes[best_i];
    c->chosen = best_i;
    return true;
}

static struct status measure_all(const struct plan *p, struct candidates *all)
{
    struct bench b = {.pool = xaligned(p->pool_size, 1), .scratch = NULL};
    struct status st = status_ok();

    for (size_t i = 0; i < p->n_steps && !st.code; i++) {
        const struct plan_step *s = &p->steps[i];
        if (s->op != PLAN_CONV)
            continue;
        struct conv_spec spec = plan_spec(p, s);
        find_candidates(&all[i], &spec);
        if (all[i].n > 1)
            measure(p, s, spec, &all[i], &b);
        if (all[i].n == 0)
            st = status_errorf(ST_INVALID, "layer %d: no convolution reads type %d here", s->conv_layer, spec.in.type);
    }
    free(b.pool);
    free(b.scratch);
    return st;
}

static void prepare_all(struct plan *p, const struct candidates *all)
{
    for (size_t i = 0; i < p->n_steps; i++) {
        struct plan_step *s = &p->steps[i];
        if (s->op != PLAN_CONV)
            continue;
        struct conv_spec spec = plan_spec(p, s);
        s->conv = all[i].methods[all[i].chosen]->prepare(&spec);
        size_t scratch = s->conv->method->scratch_size(s->conv);
        p->scratch_size = scratch > p->scratch_size ? scratch : p->scratch_size;
    }
}

struct status plan_choose(struct plan *p)
{
    struct candidates *all = xcalloc(p->n_steps, sizeof *all);
    size_t left = MAX_EXTRA;
    struct status st = measure_all(p, all);

    while (!st.code && improve(all, p->n_steps, &left))
        ;
    if (!st.code)
        prepare_all(p, all);
    free(all);
    return st;
}
