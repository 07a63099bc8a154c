/* plan_choose.c - the fastest method for each convolution: every candidate is prepared and timed on tensors like those
 * that it will see, one after the other, and only the best is kept. */
#include "plan.h"

#include <math.h>
#include <stdlib.h>

#define N_TIMED 2

/* What a method has to save for each byte of weights that it keeps: 20 us a megabyte. Winograd's methods may take four
 * times the memory of the next for little; and pods are small. */
#define SECONDS_PER_BYTE 2e-11

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
    char *pool;
    size_t pool_size;
};

static void bind(const struct plan *p, const struct bench *b, int tensor, struct tensor *to)
{
    const struct plan_tensor *t = &p->tensors[tensor];

    *to = t->t;
    to->data = b->pool + p->tensors[t->root].offset + (t->root == tensor ? 0 : t->offset);
}

static double time_method(const struct plan *p, const struct plan_step *s, const struct conv *c, const struct bench *b)
{
    struct tensor in, add, out;
    double best = INFINITY;
    char *scratch = xaligned(c->method->scratch_size(c) + 1, 1);

    bind(p, b, s->in, &in);
    bind(p, b, s->out, &out);
    if (s->add >= 0)
        bind(p, b, s->add, &add);
    for (int i = 0; i < N_TIMED; i++) {
        int64_t start = clock_now();
        c->method->run(c, &(struct conv_io){&in, s->add < 0 ? NULL : &add, &out, scratch});
        best = fmin(best, clock_seconds(start));
    }
    free(scratch);
    return best;
}

static size_t find_candidates(const struct conv_spec *spec, const struct conv_method **found, size_t max_n)
{
    size_t n = 0;

    for (const struct conv_method *const *m = conv_methods; *m; m++)
        if ((*m)->in_type == spec->in.type && (m[1] || n == 0) && (*m)->supports(spec) && n < max_n)
            found[n++] = *m;
    return n;
}

static struct conv *fastest(const struct plan *p, const struct plan_step *s, const struct conv_spec *spec,
                            const struct conv_method *const *candidates, size_t n, const struct bench *b)
{
    struct conv *best = NULL;
    double best_seconds = INFINITY;

    for (size_t i = 0; i < n; i++) {
        struct conv *c = candidates[i]->prepare(spec);
        double seconds = n > 1 ? time_method(p, s, c, b) + SECONDS_PER_BYTE * (double)c->weights_size : 0;
        if (!best || seconds < best_seconds) {
            struct conv *worse = best;
            best = c;
            best_seconds = seconds;
            c = worse;
        }
        if (c)
            c->method->destroy(c);
    }
    return best;
}

struct status plan_choose(struct plan *p)
{
    struct bench b = {xaligned(p->pool_size, 1), p->pool_size};
    struct status st = status_ok();

    for (size_t i = 0; i < p->n_steps && !st.code; i++) {
        struct plan_step *s = &p->steps[i];
        if (s->op != PLAN_CONV)
            continue;
        const struct conv_method *candidates[16];
        struct conv_spec spec = plan_spec(p, s);
        size_t n = find_candidates(&spec, candidates, COUNT_OF(candidates));
        if (n == 0) {
            st = status_errorf(ST_INVALID, "layer %d: no convolution reads type %d here", s->conv_layer, spec.in.type);
            break;
        }
        s->conv = fastest(p, s, &spec, candidates, n, &b);
        size_t scratch = s->conv->method->scratch_size(s->conv);
        p->scratch_size = scratch > p->scratch_size ? scratch : p->scratch_size;
    }
    free(b.pool);
    return st;
}
