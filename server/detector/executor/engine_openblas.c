/* engine_openblas.c - the portable engine: convolutions as im2col and one sgemm, depthwise ones as plain loops.
 *
 * Against darknet's own forward pass: batch normalisation is folded into the weights; bias and activation are applied
 * while a band of the output is still in the cache; a large picture is cut into bands of rows, so that the columns
 * of a band (and not 25 MB of them) go through the cache; training's buffers do not exist; and layers share their
 * output buffers as far as nobody reads them any more (plan_buffers), which keeps the working set small. */
#include "engine.h"
#include "kernels.h"

#include <stdlib.h>
#include <string.h>

#include <cblas.h>

/* A band has at least so many columns for sgemm to pay off (it packs the weights anew for each), and about so many
 * floats in all if that is more. */
#define BAND_COLUMNS 1024
#define BAND_FLOATS  (192u << 10)

struct openblas {
    struct engine base;
    const struct network *net;
    const struct kernels *kernels;
    float *outputs[CFG_MAX_LAYERS]; /* views into buffers; layers may share */
    float *buffers;
    float *scratch; /* columns of a band, or a padded plane */
    struct engine_watch watch;
};

/* ---- which layer writes where ---- */

struct slot {
    size_t size;    /* floats */
    int busy_until; /* the last layer that reads it */
};

struct plan {
    struct slot slots[CFG_MAX_LAYERS];
    size_t n_slots;
    int slot_of[CFG_MAX_LAYERS];
};

static int owner(const struct cfg *c, int layer)
{
    while (layer >= 0 && cfg_is_alias(&c->layers[layer]))
        layer = c->layers[layer].from[0];
    return layer;
}

static void find_last_readers(const struct cfg *c, int *last)
{
    for (int i = 0; i < (int)c->n_layers; i++) {
        last[i] = i;
        for (size_t k = 0; k < c->layers[i].n_from; k++) {
            int from = owner(c, c->layers[i].from[k]);
            if (from >= 0)
                last[from] = i;
        }
    }
    for (size_t i = 0; i < c->n_heads; i++)
        last[owner(c, c->head_layer[i])] = CFG_MAX_LAYERS; /* for whoever reads the result */
}

/* A free slot: the smallest that is large enough, else the largest, which grows; else a new one. */
static int take_slot(struct plan *p, int layer, size_t size)
{
    int best = -1;

    for (int i = 0; i < (int)p->n_slots; i++) {
        if (p->slots[i].busy_until >= layer)
            continue;
        size_t have = p->slots[i].size, best_has = best < 0 ? 0 : p->slots[best].size;
        bool better = best_has >= size ? have >= size && have < best_has : have > best_has;
        if (best < 0 || better)
            best = i;
    }
    if (best < 0)
        best = (int)p->n_slots++;
    if (p->slots[best].size < size)
        p->slots[best].size = size;
    return best;
}

static void plan_buffers(struct openblas *e)
{
    const struct cfg *c = e->net->cfg;
    struct plan p = {.n_slots = 0};
    int last[CFG_MAX_LAYERS];
    size_t starts[CFG_MAX_LAYERS], total = 0;

    find_last_readers(c, last);
    for (int i = 0; i < (int)c->n_layers; i++) {
        if (cfg_is_alias(&c->layers[i]))
            continue;
        p.slot_of[i] = take_slot(&p, i, cfg_shape_size(c->layers[i].out));
        p.slots[p.slot_of[i]].busy_until = last[i];
    }
    for (size_t i = 0; i < p.n_slots; i++) {
        starts[i] = total;
        total += (p.slots[i].size + 15) / 16 * 16;
    }
    e->buffers = xaligned(total, sizeof *e->buffers);
    for (int i = 0; i < (int)c->n_layers; i++) {
        int from = owner(c, i);
        e->outputs[i] = from < 0 ? NULL : e->buffers + starts[p.slot_of[from]];
    }
}

/* ---- one function a kind of layer ---- */

static bool is_depthwise(const struct cfg_layer *l)
{
    return l->groups > 1 && l->groups == l->in.c && l->groups == l->out.c;
}

static bool is_pointwise(const struct cfg_layer *l)
{
    return l->size == 1 && l->stride == 1 && l->pad == 0;
}

/* Rows of l's output that one sgemm computes. */
static size_t band_rows(const struct cfg_layer *l)
{
    size_t k = l->in.c / l->groups * l->size * l->size, columns = BAND_FLOATS / k;

    columns = columns > BAND_COLUMNS ? columns : BAND_COLUMNS;
    size_t rows = (columns + l->out.w - 1) / l->out.w;
    return rows < l->out.h ? rows : l->out.h;
}

static size_t scratch_room(const struct cfg_layer *l)
{
    if (l->kind != CFG_CONVOLUTION || is_pointwise(l))
        return 0;
    if (is_depthwise(l))
        return kernels_padded_size(l);
    return l->in.c / l->groups * l->size * l->size * band_rows(l) * l->out.w;
}

/* out (m, hw) = weights (m, k) columns (k, hw), band by band; m, k: filters and taps of one group */
static void convolve_group(struct openblas *e, float *out, const float *in, const struct cfg_layer *l,
                           const float *weights, const float *bias)
{
    size_t c = l->in.c / l->groups, m = l->out.c / l->groups, k = c * l->size * l->size;
    size_t hw = l->out.h * l->out.w, step = band_rows(l);

    for (size_t y = 0; y < l->out.h; y += step) {
        size_t rows = step < l->out.h - y ? step : l->out.h - y, n = rows * l->out.w;
        const float *columns = in + y * l->out.w;
        size_t columns_stride = hw;
        if (!is_pointwise(l)) {
            e->kernels->im2col(e->scratch, in, l, c, y, rows);
            columns = e->scratch;
            columns_stride = n;
        }
        float *band = out + y * l->out.w;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)m, (blasint)n, (blasint)k, 1, weights,
                    (blasint)k, columns, (blasint)columns_stride, 0, band, (blasint)hw);
        e->kernels->activate(band, hw, bias, m, n, l->activation);
    }
}

static void convolve(struct openblas *e, float *out, const float *in, const struct cfg_layer *l,
                     const struct network_layer *params)
{
    size_t c = l->in.c / l->groups, m = l->out.c / l->groups, k = c * l->size * l->size;

    if (is_depthwise(l)) {
        e->kernels->depthwise(out, in, l, params->weights, params->bias, e->scratch);
        return;
    }
    for (size_t g = 0; g < l->groups; g++)
        convolve_group(e, out + g * m * l->out.h * l->out.w, in + g * c * l->in.h * l->in.w, l,
                       params->weights + g * m * k, params->bias + g * m);
}

static const float *input_of(const struct openblas *e, const struct cfg_layer *l, size_t i, const float *picture)
{
    return l->from[i] < 0 ? picture : e->outputs[l->from[i]];
}

static void concatenate(const struct openblas *e, float *out, const struct cfg_layer *l)
{
    for (size_t i = 0; i < l->n_from; i++) {
        size_t n = cfg_shape_size(e->net->cfg->layers[l->from[i]].out) / l->groups;
        memcpy(out, e->outputs[l->from[i]] + l->group * n, n * sizeof *out);
        out += n;
    }
}

static void reorganise(float *out, const float *in, const struct cfg_layer *l)
{
    for (size_t i = 0; i < cfg_shape_size(l->out); i++)
        out[i] = in[cfg_reorg_source(l, i)];
}

static void add(const struct openblas *e, float *out, const struct cfg_layer *l)
{
    static const float no_bias = 0;

    e->kernels->add(out, e->outputs[l->from[0]], e->outputs[l->from[1]], cfg_shape_size(l->out));
    if (l->activation != CFG_LINEAR)
        e->kernels->activate(out, 0, &no_bias, 1, cfg_shape_size(l->out), l->activation);
}

static void openblas_forward(struct engine *base, const float *picture)
{
    struct openblas *e = (struct openblas *)base;
    const struct cfg *c = e->net->cfg;

    for (size_t i = 0; i < c->n_layers && !engine_stop_asked(); i++) {
        const struct cfg_layer *l = &c->layers[i];
        const float *in = input_of(e, l, 0, picture);
        if (cfg_is_alias(l))
            continue;
        if (l->kind == CFG_CONVOLUTION)
            convolve(e, e->outputs[i], in, l, &e->net->layers[i]);
        else if (l->kind == CFG_MAXPOOL)
            e->kernels->maxpool(e->outputs[i], in, l);
        else if (l->kind == CFG_UPSAMPLE)
            e->kernels->upsample(e->outputs[i], in, l);
        else if (l->kind == CFG_ROUTE)
            concatenate(e, e->outputs[i], l);
        else if (l->kind == CFG_REORG)
            reorganise(e->outputs[i], in, l);
        else
            add(e, e->outputs[i], l);
        if (e->watch.see)
            e->watch.see(e->watch.ctx, i, e->outputs[i]);
    }
}

void engine_openblas_watch(struct engine *base, struct engine_watch watch)
{
    ((struct openblas *)base)->watch = watch;
}

static void openblas_destroy(struct engine *base)
{
    struct openblas *e = (struct openblas *)base;

    free(e->buffers);
    free(e->scratch);
    free(e);
}

static struct status openblas_create(struct engine **out, const struct network *net)
{
    struct openblas *e = xcalloc(1, sizeof *e);
    size_t room = 1;

    e->base.kind = &engine_openblas;
    e->net = net;
    e->kernels = kernels_get();
    plan_buffers(e);
    for (size_t i = 0; i < net->cfg->n_layers; i++) {
        size_t need = scratch_room(&net->cfg->layers[i]);
        room = need > room ? need : room;
    }
    e->scratch = xaligned(room, sizeof *e->scratch);
    for (size_t i = 0; i < net->cfg->n_heads; i++)
        e->base.heads[i] = e->outputs[net->cfg->head_layer[i]];
    *out = &e->base;
    return status_ok();
}

const struct engine_kind engine_openblas = {
    .name = "openblas",
    .create = openblas_create,
    .forward = openblas_forward,
    .destroy = openblas_destroy,
    .precision = "fp32",
    .fallback = true,
};
