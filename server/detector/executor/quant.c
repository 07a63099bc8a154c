/* quant.c - layers that share a scale form a set; a set's range is the union of its members'. */
#include "quant.h"

#include <math.h>
#include <string.h>

/* Calibration has seen some pictures, not all: what goes beyond the largest value seen is cut off only from here on.
 * 12 bits have the room. */
#define S16_HEAD_ROOM 1.25f

#define N_NODES (CFG_MAX_LAYERS + 1) /* the last is the picture */

struct sets {
    int parent[N_NODES];
    struct range range[N_NODES]; /* of the set, where a node is its root */
    int n_readers[N_NODES], n_float_readers[N_NODES];
    bool is_head[N_NODES];
};

static int node_of(int layer)
{
    return layer < 0 ? CFG_MAX_LAYERS : layer;
}

static int root(struct sets *s, int node)
{
    while (s->parent[node] != node)
        node = s->parent[node];
    return node;
}

static bool passes_on(const struct cfg_layer *l)
{
    return l->kind != CFG_CONVOLUTION && l->kind != CFG_SHORTCUT;
}

static void join(struct sets *s, int a, int b)
{
    int from = root(s, b), to = root(s, a);
    struct range *t = &s->range[to], *f = &s->range[from];

    s->parent[from] = to;
    t->min = fminf(t->min, f->min);
    t->max = fmaxf(t->max, f->max);
    t->low = fminf(t->low, f->low);
    t->high = fmaxf(t->high, f->high);
}

static void find_sets(struct sets *s, const struct network *net)
{
    const struct cfg *c = net->cfg;

    memset(s, 0, sizeof *s);
    for (int i = 0; i < N_NODES; i++)
        s->parent[i] = i;
    for (size_t i = 0; i < c->n_layers && net->ranges; i++)
        s->range[i] = net->ranges->layers[i];
    s->range[CFG_MAX_LAYERS] = (struct range){0, 1, 0, 1, false};
    for (int i = 0; i < (int)c->n_layers; i++)
        for (size_t k = 0; passes_on(&c->layers[i]) && k < c->layers[i].n_from; k++)
            join(s, i, node_of(c->layers[i].from[k]));
}

/* BF16 has a kernel of its own where pairs of channels can be summed. Of the integers, 16 bits lose a sixteenth of what
 * 8 bits lose. That still is too much where a depthwise convolution weighs channels of very different size; being cheap,
 * those stay in float with 16 bits, too. */
static bool stays_float(const struct network *net, size_t layer, enum tensor_type type)
{
    const struct cfg_layer *l = &net->cfg->layers[layer];
    if (type == TENSOR_BF16)
        return l->groups > 1 || l->in.c % 2 == 1;
    return net->ranges->layers[layer].keep_float && (type == TENSOR_U8 || l->groups == l->in.c);
}

static void find_readers(struct sets *s, const struct network *net, enum tensor_type type)
{
    const struct cfg *c = net->cfg;

    for (size_t i = 0; i < c->n_layers; i++)
        if (c->layers[i].kind == CFG_CONVOLUTION) {
            int from = root(s, node_of(c->layers[i].from[0]));
            s->n_readers[from]++;
            s->n_float_readers[from] += stays_float(net, i, type);
        }
    for (size_t i = 0; i < c->n_heads; i++)
        s->is_head[root(s, c->head_layer[i])] = true;
}

static struct quant_tensor scale_s16(const struct range *r)
{
    float most = fmaxf(fabsf(r->min), fabsf(r->max)) * S16_HEAD_ROOM;
    return (struct quant_tensor){TENSOR_S16, most > 0 ? most / TENSOR_S16_MAX : 1, 0};
}

/* 0 is among the values, exactly: padding needs it. */
static struct quant_tensor scale_u8(const struct range *r)
{
    float low = fminf(r->low, 0), high = fmaxf(r->high, 0), scale = high > low ? (high - low) / 255 : 1;
    return (struct quant_tensor){TENSOR_U8, scale, (int32_t)lrintf(-low / scale)};
}

static struct quant_tensor assign(struct sets *s, int node, enum tensor_type type)
{
    int set = root(s, node);

    if (s->is_head[set] || (s->n_readers[set] > 0 && s->n_readers[set] == s->n_float_readers[set]))
        return (struct quant_tensor){TENSOR_F32, 1, 0};
    if (type == TENSOR_BF16)
        return (struct quant_tensor){TENSOR_BF16, 1, 0};
    return type == TENSOR_S16 ? scale_s16(&s->range[set]) : scale_u8(&s->range[set]);
}

struct status quant_assign(struct quant *out, const struct network *net, enum tensor_type type)
{
    struct sets s;

    if (!net->ranges && type != TENSOR_BF16)
        return status_errorf(ST_UNAVAILABLE, "nobody has measured this network's ranges: ./bloginfer calibrate does");
    find_sets(&s, net);
    find_readers(&s, net, type);
    memset(out, 0, sizeof *out);
    out->picture = assign(&s, CFG_MAX_LAYERS, type);
    for (int i = 0; i < (int)net->cfg->n_layers; i++) {
        out->layers[i] = assign(&s, i, type);
        out->keep_float[i] = stays_float(net, (size_t)i, type);
    }
    return status_ok();
}
