/* plan_build.c - from layers to steps: who reads whom, what is computed together, what lies inside of what. */
#include "plan.h"

#include <assert.h>
#include <string.h>

#define LINE      64
#define SAME_SETS 1024

struct place {
    int route;      /* the route whose tensor this layer's output is a slice of; -1: none */
    size_t channel; /* where it starts there */
};

struct builder {
    struct plan *p;
    const struct cfg *c;
    const struct plan_types *types;
    int n_readers[CFG_MAX_LAYERS];
    int merged[CFG_MAX_LAYERS];   /* of a convolution: the shortcut that it computes, too; -1: none */
    int residual[CFG_MAX_LAYERS]; /* of such a convolution: the layer whose output it adds */
    int step_of[CFG_MAX_LAYERS];  /* the layer at whose turn this layer's output is computed */
    struct place places[CFG_MAX_LAYERS];
    int tensors[CFG_MAX_LAYERS]; /* -1: not made yet */
};

/* ---- passes over the layers ---- */

/* The layer that computes what `layer` hands on; -1 is the picture. */
static int source(const struct cfg *c, int layer)
{
    while (layer >= 0 && cfg_is_alias(&c->layers[layer]))
        layer = c->layers[layer].from[0];
    return layer;
}

static bool is_alias(const struct cfg *c, int layer)
{
    return source(c, layer) != layer;
}

static void count_readers(struct builder *b)
{
    for (int i = 0; i < (int)b->c->n_layers; i++)
        for (size_t k = 0; k < b->c->layers[i].n_from && !is_alias(b->c, i); k++) {
            int from = source(b->c, b->c->layers[i].from[k]);
            if (from >= 0)
                b->n_readers[from]++;
        }
    for (size_t i = 0; i < b->c->n_heads; i++) {
        int from = source(b->c, b->c->head_layer[i]);
        if (from >= 0)
            b->n_readers[from]++;
    }
}

/* Can convolution `conv` compute shortcut `layer`, which adds the output of `other` to its own? */
static bool can_merge(const struct builder *b, int layer, int conv, int other)
{
    return conv >= 0 && other >= 0 && b->c->layers[conv].kind == CFG_CONVOLUTION && b->merged[conv] < 0 &&
           b->n_readers[conv] == 1 && b->c->layers[conv].activation != CFG_LOGISTIC &&
           b->c->layers[layer].activation != CFG_LOGISTIC && b->step_of[other] < conv;
}

static void merge_shortcuts(struct builder *b)
{
    for (int i = 0; i < (int)b->c->n_layers; i++) {
        const struct cfg_layer *l = &b->c->layers[i];
        b->step_of[i] = i;
        for (int k = 0; k < 2 && l->kind == CFG_SHORTCUT && b->step_of[i] == i; k++) {
            int conv = source(b->c, l->from[k]), other = source(b->c, l->from[1 - k]);
            if (conv == other || !can_merge(b, i, conv, other))
                continue;
            b->merged[conv] = i;
            b->residual[conv] = other;
            b->step_of[i] = conv;
        }
    }
}

/* A slice has to start at a multiple of TENSOR_ALIGN, and what lies behind it may be overwritten only at the end. */
static void place_slices(struct builder *b)
{
    for (int i = 0; i < (int)b->c->n_layers; i++) {
        const struct cfg_layer *l = &b->c->layers[i];
        size_t channel = 0;
        for (size_t k = 0; l->kind == CFG_ROUTE && l->groups == 1 && l->n_from > 1 && k < l->n_from; k++) {
            int from = source(b->c, l->from[k]);
            size_t c = from < 0 ? b->c->input.c : b->c->layers[from].out.c;
            if (from >= 0 && b->places[from].route < 0 && channel % TENSOR_ALIGN == 0 &&
                (c % TENSOR_ALIGN == 0 || k + 1 == l->n_from))
                b->places[from] = (struct place){i, channel};
            channel += c;
        }
    }
}

/* ---- tensors ---- */

static int add_tensor(struct plan *p, struct plan_tensor t)
{
    assert(p->n_tensors < PLAN_MAX_TENSORS);
    p->tensors[p->n_tensors] = t;
    return (int)p->n_tensors++;
}

static int add_root(struct builder *b, struct cfg_shape shape, struct plan_type type)
{
    struct plan_tensor t = {.root = (int)b->p->n_tensors};
    size_t stride = (shape.c + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN, size = tensor_type_size(type.type);

    if (stride * size % SAME_SETS == 0) /* neighbouring pixels would fight for the same lines of the cache */
        stride += LINE / size;
    t.t = (struct tensor){.h = shape.h,
                          .w = shape.w,
                          .c = shape.c,
                          .stride = stride,
                          .type = type.type,
                          .scale = type.scale,
                          .zero = type.zero};
    return add_tensor(b->p, t);
}

static struct plan_type type_of_output(const struct builder *b, int layer)
{
    static const struct plan_type floats;
    return b->c->layers[layer].activation == CFG_LOGISTIC ? floats : b->types->out[layer];
}

/* The tensor of a layer's output; layer: as source() returns it. */
static int tensor_of(struct builder *b, int layer)
{
    if (layer < 0)
        return 0;
    if (b->tensors[layer] >= 0)
        return b->tensors[layer];
    const struct place *place = &b->places[layer];
    if (place->route < 0) {
        b->tensors[layer] = add_root(b, b->c->layers[layer].out, type_of_output(b, layer));
    } else {
        struct plan_tensor t = b->p->tensors[tensor_of(b, place->route)];
        t.t.c = b->c->layers[layer].out.c;
        t.offset += place->channel * tensor_type_size(t.t.type);
        b->tensors[layer] = add_tensor(b->p, t);
    }
    return b->tensors[layer];
}

/* ---- steps ---- */

static struct plan_step *add_step(struct builder *b, enum plan_op op, int layer, int in, int out)
{
    assert(b->p->n_steps < PLAN_MAX_STEPS);
    struct plan_step *s = &b->p->steps[b->p->n_steps++];

    *s = (struct plan_step){.op = op, .layer = layer, .in = in, .add = -1, .out = out};
    return s;
}

/* The tensor itself, or a copy of it in another type; layer: who needs it. The picture becomes floats, channels last. */
static int as_type(struct builder *b, int tensor, struct plan_type want, int layer)
{
    const struct tensor *t = &b->p->tensors[tensor].t;
    struct cfg_shape shape = {t->c, t->h, t->w};

    if (t->type == TENSOR_PICTURE) {
        int floats = add_root(b, shape, (struct plan_type){.type = TENSOR_F32});
        add_step(b, PLAN_PICTURE, layer, tensor, floats);
        return as_type(b, floats, want, layer);
    }
    if (t->type == want.type)
        return tensor;
    int converted = add_root(b, shape, want);
    add_step(b, PLAN_CONVERT, layer, tensor, converted);
    return converted;
}

/* The tensor of an input of a layer that takes every type. */
static int any_type(struct builder *b, int tensor, int layer)
{
    struct plan_type same = {b->p->tensors[tensor].t.type, 0, 0};
    return as_type(b, tensor, same.type == TENSOR_PICTURE ? (struct plan_type){.type = TENSOR_F32} : same, layer);
}

static bool same_format(const struct tensor *a, const struct tensor *b)
{
    return a->type == b->type && a->scale == b->scale && a->zero == b->zero;
}

/* The tensor itself, or a copy of it in the very format of `like`. */
static int as_format(struct builder *b, int tensor, const struct tensor *like, int layer)
{
    const struct tensor *t = &b->p->tensors[tensor].t;

    if (same_format(t, like))
        return tensor;
    int converted =
        add_root(b, (struct cfg_shape){t->c, t->h, t->w}, (struct plan_type){like->type, like->scale, like->zero});
    add_step(b, PLAN_CONVERT, layer, tensor, converted);
    return converted;
}

static bool stem_can_read(const struct builder *b, int layer)
{
    struct tensor none = {0};
    struct conv_spec spec = {.layer = &b->c->layers[layer], .in = b->p->tensors[0].t, .out = none, .add = none};

    for (const struct conv_method *const *m = conv_methods; *m; m++)
        if ((*m)->in_type == TENSOR_PICTURE && (*m)->supports(&spec))
            return b->types->in[layer].type == TENSOR_F32;
    return false;
}

static void build_convolution(struct builder *b, int layer)
{
    const struct cfg_layer *l = &b->c->layers[layer];
    int from = source(b->c, l->from[0]), in = tensor_of(b, from);
    int result = b->merged[layer] < 0 ? layer : b->merged[layer], out = tensor_of(b, result);

    if (from >= 0 || !stem_can_read(b, layer))
        in = as_type(b, in, b->types->in[layer], layer);
    struct plan_step *s = add_step(b, PLAN_CONV, result, in, out);
    s->conv_layer = layer;
    if (b->merged[layer] >= 0)
        s->add = tensor_of(b, b->residual[layer]);
    if (l->activation == CFG_LOGISTIC)
        add_step(b, PLAN_LOGISTIC, layer, out, out);
}

static void build_shortcut(struct builder *b, int layer)
{
    const struct cfg_layer *l = &b->c->layers[layer];
    int out = tensor_of(b, layer), terms[2];

    for (int k = 0; k < 2; k++)
        terms[k] = any_type(b, tensor_of(b, source(b->c, l->from[k])), layer);
    struct plan_step *s = add_step(b, PLAN_ADD, layer, terms[0], out);
    s->add = terms[1];
    if (l->activation == CFG_LOGISTIC)
        add_step(b, PLAN_LOGISTIC, layer, out, out);
}

/* The channels of a tensor that a route with groups takes: all without. */
static int group_of(struct builder *b, int tensor, const struct cfg_layer *route)
{
    struct plan_tensor t = b->p->tensors[tensor];

    if (route->groups == 1)
        return tensor;
    t.t.c /= route->groups;
    t.offset += route->group * t.t.c * tensor_type_size(t.t.type);
    return add_tensor(b->p, t);
}

/* Copies of the layers that do not write into the route's tensor themselves. */
static void build_route(struct builder *b, int layer)
{
    const struct cfg_layer *l = &b->c->layers[layer];
    int wide = tensor_of(b, layer);
    size_t channel = 0;

    for (size_t k = 0; k < l->n_from; k++) {
        int from = source(b->c, l->from[k]), in = group_of(b, any_type(b, tensor_of(b, from), layer), l);
        size_t c = b->p->tensors[in].t.c;
        bool inside = from >= 0 && b->places[from].route == layer && b->places[from].channel == channel;
        if (!inside) {
            struct plan_tensor slice = b->p->tensors[wide];
            slice.t.c = c;
            slice.offset += channel * tensor_type_size(slice.t.type);
            in = as_format(b, in, &slice.t, layer); /* then it is a copy, which does not write beyond c */
            add_step(b, PLAN_CONVERT, layer, in, add_tensor(b->p, slice));
        }
        channel += c;
    }
}

/* Maxima and copies need the same type and scale on both sides: they work in the input's, and convert after. */
static void build_same_type(struct builder *b, enum plan_op op, int layer)
{
    const struct cfg_layer *l = &b->c->layers[layer];
    int in = any_type(b, tensor_of(b, source(b->c, l->from[0])), layer), out = tensor_of(b, layer);
    const struct tensor *from = &b->p->tensors[in].t, *to = &b->p->tensors[out].t;

    if (same_format(from, to)) {
        add_step(b, op, layer, in, out);
        return;
    }
    int between = add_root(b, l->out, (struct plan_type){from->type, from->scale, from->zero});
    add_step(b, op, layer, in, between);
    add_step(b, PLAN_CONVERT, layer, between, out);
}

static void build_heads(struct builder *b, int layer)
{
    const struct cfg_layer *l = &b->c->layers[layer];
    int in = any_type(b, tensor_of(b, source(b->c, l->from[0])), layer);

    add_step(b, PLAN_HEAD, layer, in, -1)->head = l->head;
}

static void build_layer(struct builder *b, int layer)
{
    switch (b->c->layers[layer].kind) {
    case CFG_CONVOLUTION:
        build_convolution(b, layer);
        break;
    case CFG_MAXPOOL:
        build_same_type(b, PLAN_MAXPOOL, layer);
        break;
    case CFG_UPSAMPLE:
        build_same_type(b, PLAN_UPSAMPLE, layer);
        break;
    case CFG_SHORTCUT:
        if (b->step_of[layer] == layer)
            build_shortcut(b, layer);
        break;
    case CFG_ROUTE:
        if (!is_alias(b->c, layer))
            build_route(b, layer);
        break;
    case CFG_REORG:
        build_same_type(b, PLAN_REORG, layer);
        break;
    case CFG_YOLO:
    case CFG_REGION:
        build_heads(b, layer);
        break;
    case CFG_DROPOUT:
        break;
    }
}

void plan_build(struct plan *p, const struct plan_types *types)
{
    static const struct plan_types floats;
    struct builder b = {.p = p, .c = p->net->cfg, .types = types ? types : &floats};
    struct plan_tensor picture = {.root = 0};

    for (size_t i = 0; i < CFG_MAX_LAYERS; i++) {
        b.merged[i] = b.tensors[i] = -1;
        b.places[i] = (struct place){-1, 0};
    }
    picture.t = (struct tensor){.h = b.c->input.h, .w = b.c->input.w, .c = b.c->input.c, .type = TENSOR_PICTURE};
    add_tensor(p, picture);
    count_readers(&b);
    merge_shortcuts(&b);
    place_slices(&b);
    for (int i = 0; i < (int)b.c->n_layers; i++)
        build_layer(&b, i);
}
