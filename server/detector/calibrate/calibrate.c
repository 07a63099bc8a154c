/* calibrate.c - three passes: extremes; histograms between them, from which the 8-bit range is chosen; then each
 * convolution in turn with its input and weights rounded to 8 bits, on a few pictures. The worst stay in float. */
#include "calibrate.h"

#include "clip.h"
#include "executor/engine.h"
#include "executor/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SCAN_PICTURES 8

/* Convolutions stay in float, worst first, until what the others lose together (the root of the sum of their squared
 * errors) is below this, or until the float ones have this share of all multiplications. */
#define SCAN_GOAL       0.12
#define SCAN_MAX_FLOATS 0.08

struct work {
    const struct model *model;
    const struct pictures *pictures;
    void (*told)(const char *what, size_t done, size_t of);
    struct network net; /* a copy whose parameters the scan replaces */
    struct engine *engine;
    float *input;
    struct clip *clips; /* (layers,) */
    struct quant quant;
    int rounded; /* the layer whose output the scan rounds; -1: none */
};

static void tell(const struct work *w, const char *what, size_t done, size_t of)
{
    if (w->told)
        w->told(what, done, of);
}

static size_t output_size(const struct work *w, size_t layer)
{
    return cfg_shape_size(w->net.cfg->layers[layer].out);
}

static void see_extremes(void *ctx, size_t layer, float *values)
{
    struct work *w = ctx;
    struct clip *c = &w->clips[layer];

    for (size_t i = 0, n = output_size(w, layer); i < n; i++) {
        c->min = fminf(c->min, values[i]);
        c->max = fmaxf(c->max, values[i]);
    }
}

static void see_histogram(void *ctx, size_t layer, float *values)
{
    struct work *w = ctx;
    clip_count(&w->clips[layer], values, output_size(w, layer));
}

static struct status pass(struct work *w, const char *what, void (*see)(void *ctx, size_t layer, float *values))
{
    struct status st = status_ok();

    engine_openblas_watch(w->engine, (struct engine_watch){see, w});
    for (size_t i = 0; i < w->pictures->n && !st.code; i++) {
        st = pictures_read(w->pictures, i, w->input);
        if (!st.code)
            engine_forward(w->engine, w->input);
        tell(w, what, i + 1, w->pictures->n);
    }
    return st;
}

static bool passes_on(const struct cfg_layer *l)
{
    return l->kind != CFG_CONVOLUTION && l->kind != CFG_SHORTCUT;
}

/* The layers that the watch sees nothing of, and those whose range is another's. */
static void take_ranges(struct work *w, struct ranges *r)
{
    for (size_t i = 0; i < r->n_layers; i++) {
        const struct cfg_layer *l = &w->net.cfg->layers[i];
        const struct clip *c = &w->clips[i];
        struct range *to = &r->layers[i];
        if (!passes_on(l)) {
            *to = (struct range){c->min, c->max, 0, 0, false};
            clip_choose(c, &to->low, &to->high);
            continue;
        }
        *to = (struct range){INFINITY, -INFINITY, INFINITY, -INFINITY, false};
        for (size_t k = 0; k < l->n_from; k++) {
            static const struct range picture = {0, 1, 0, 1, false};
            const struct range *from = l->from[k] < 0 ? &picture : &r->layers[l->from[k]];
            *to = (struct range){fminf(to->min, from->min), fmaxf(to->max, from->max), fminf(to->low, from->low),
                                 fmaxf(to->high, from->high), false};
        }
    }
}

/* ---- the scan ---- */

static void round_values(float *values, size_t n, const struct quant_tensor *q)
{
    float inverse = 1 / q->scale;

    for (size_t i = 0; i < n; i++) {
        float at = rintf(values[i] * inverse) + (float)q->zero;
        values[i] = ((at < 0 ? 0 : at > 255 ? 255 : at) - (float)q->zero) * q->scale;
    }
}

static void see_to_round(void *ctx, size_t layer, float *values)
{
    struct work *w = ctx;

    if ((int)layer == w->rounded)
        round_values(values, output_size(w, layer), &w->quant.layers[layer]);
}

static void round_weights(float *to, const float *from, size_t n_filters, size_t n_each)
{
    for (size_t f = 0; f < n_filters; f++, to += n_each, from += n_each) {
        float most = 0;
        for (size_t i = 0; i < n_each; i++)
            most = fmaxf(most, fabsf(from[i]));
        float scale = most > 0 ? most / 127 : 1;
        for (size_t i = 0; i < n_each; i++)
            to[i] = rintf(from[i] / scale) * scale;
    }
}

static size_t heads_size(const struct cfg *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_heads; i++)
        n += cfg_shape_size(c->layers[c->head_layer[i]].out);
    return n;
}

static void heads_copy(const struct work *w, float *to)
{
    const struct cfg *c = w->net.cfg;

    for (size_t i = 0; i < c->n_heads; i++) {
        size_t n = cfg_shape_size(c->layers[c->head_layer[i]].out);
        memcpy(to, w->engine->heads[i], n * sizeof *to);
        to += n;
    }
}

static double square_distance(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)(a[i] - b[i]) * (double)(a[i] - b[i]);
    return sum;
}

static double deviation(const float *values, size_t n)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    return squares - sum * sum / (double)n;
}

/* The layer that computes what this one passes on; -1: the picture. */
static int computing_layer(const struct cfg *c, int layer)
{
    while (layer >= 0 && passes_on(&c->layers[layer]) && c->layers[layer].n_from == 1)
        layer = c->layers[layer].from[0];
    return layer;
}

/* The picture itself is never rounded: what reads it computes in float anyway. */
static bool reads_a_layer(const struct cfg *c, const struct cfg_layer *l)
{
    return l->kind == CFG_CONVOLUTION && computing_layer(c, l->from[0]) >= 0;
}

struct scan {
    size_t n_pictures, n_outputs;
    float *wanted; /* (pictures, outputs) */
    float *got;    /* (outputs,) */
    double deviation;
};

/* The error with convolution i alone in 8 bits. */
static struct status scan_layer(struct work *w, struct scan *s, size_t i, float *error)
{
    const struct cfg_layer *l = &w->net.cfg->layers[i];
    const struct network_layer real = w->net.layers[i];
    size_t n_each = l->in.c / l->groups * l->size * l->size;
    float *weights = xcalloc(l->out.c * n_each, sizeof *weights);
    struct status st = status_ok();
    double sum = 0;

    round_weights(weights, real.weights, l->out.c, n_each);
    w->net.layers[i].weights = weights;
    w->rounded = computing_layer(w->net.cfg, l->from[0]);
    for (size_t k = 0; k < s->n_pictures && !st.code; k++) {
        st = pictures_read(w->pictures, k * w->pictures->n / s->n_pictures, w->input);
        if (st.code)
            break;
        engine_forward(w->engine, w->input);
        heads_copy(w, s->got);
        sum += square_distance(s->got, s->wanted + k * s->n_outputs, s->n_outputs);
    }
    *error = (float)sqrt(sum / s->deviation);
    w->net.layers[i] = real;
    free(weights);
    return st;
}

static struct status scan_reference(struct work *w, struct scan *s)
{
    struct status st = status_ok();

    for (size_t k = 0; k < s->n_pictures && !st.code; k++) {
        st = pictures_read(w->pictures, k * w->pictures->n / s->n_pictures, w->input);
        if (!st.code)
            engine_forward(w->engine, w->input);
        heads_copy(w, s->wanted + k * s->n_outputs);
    }
    s->deviation = fmax(deviation(s->wanted, s->n_pictures * s->n_outputs), 1e-30);
    return st;
}

static struct status scan(struct work *w, float *errors)
{
    const struct cfg *c = w->net.cfg;
    struct scan s = {.n_pictures = w->pictures->n < SCAN_PICTURES ? w->pictures->n : SCAN_PICTURES,
                     .n_outputs = heads_size(c)};

    s.wanted = xcalloc(s.n_pictures * s.n_outputs, sizeof *s.wanted);
    s.got = xcalloc(s.n_outputs, sizeof *s.got);
    w->rounded = -1;
    engine_openblas_watch(w->engine, (struct engine_watch){see_to_round, w});
    struct status st = scan_reference(w, &s);
    for (size_t i = 0; i < c->n_layers && !st.code; i++) {
        if (reads_a_layer(c, &c->layers[i]))
            st = scan_layer(w, &s, i, &errors[i]);
        tell(w, "8 bits layer by layer", i + 1, c->n_layers);
    }
    free(s.got);
    free(s.wanted);
    return st;
}

static double multiplications(const struct cfg_layer *l)
{
    return l->kind == CFG_CONVOLUTION
               ? (double)(cfg_shape_size(l->out) * l->in.c * l->size * l->size) / (double)l->groups
               : 0;
}

static void choose_floats(struct calibration *cal, const struct cfg *c)
{
    double all = 0, floats = 0, squares = 0;

    for (size_t i = 0; i < c->n_layers; i++) {
        all += multiplications(&c->layers[i]);
        squares += (double)(cal->errors[i] * cal->errors[i]);
    }
    while (sqrt(squares) > SCAN_GOAL) {
        size_t worst = CFG_MAX_LAYERS;
        for (size_t i = 0; i < c->n_layers; i++)
            if (!cal->ranges.layers[i].keep_float && cal->errors[i] > 0 &&
                floats + multiplications(&c->layers[i]) <= SCAN_MAX_FLOATS * all &&
                (worst == CFG_MAX_LAYERS || cal->errors[i] > cal->errors[worst]))
                worst = i;
        if (worst == CFG_MAX_LAYERS)
            break;
        cal->ranges.layers[worst].keep_float = true;
        floats += multiplications(&c->layers[worst]);
        squares -= (double)(cal->errors[worst] * cal->errors[worst]);
    }
}

struct status calibrate(struct calibration *out, const struct model *m, const struct pictures *pictures,
                        void (*told)(const char *what, size_t done, size_t of))
{
    const struct cfg *c = m->network->cfg;
    struct work w = {.model = m, .pictures = pictures, .told = told, .net = *m->network};
    struct status st = engine_openblas.create(&w.engine, &w.net);

    if (st.code)
        return st;
    *out = (struct calibration){.ranges = {.n_images = pictures->n, .n_layers = c->n_layers}};
    memcpy(out->ranges.weights, m->sha256, sizeof out->ranges.weights);
    memcpy(out->ranges.images, pictures->sha256, sizeof out->ranges.images);
    w.input = xaligned(cfg_shape_size(c->input), sizeof *w.input);
    w.clips = xcalloc(c->n_layers, sizeof *w.clips);
    for (size_t i = 0; i < c->n_layers; i++)
        w.clips[i].min = INFINITY, w.clips[i].max = -INFINITY;
    st = pass(&w, "extremes", see_extremes);
    if (!st.code)
        st = pass(&w, "histograms", see_histogram);
    if (!st.code) {
        take_ranges(&w, &out->ranges);
        w.net.ranges = &out->ranges;
        st = quant_assign(&w.quant, &w.net, TENSOR_U8);
    }
    if (!st.code)
        st = scan(&w, out->errors);
    if (!st.code)
        choose_floats(out, c);
    free(w.clips);
    free(w.input);
    engine_free(w.engine);
    return st;
}
