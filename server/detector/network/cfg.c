/* cfg.c - from sections to layers, one function a kind of layer. Limits on sides, channels and outputs keep every
 * product below 2^40, so none wraps. */
#include "cfg.h"

#include "sections.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILTERS 16384
#define MAX_SIZE    15
#define MAX_STRIDE  8

/* Only training reads these; anything else that is not asked for below is refused. */
static const char convolution_ignored[] = "learning_rate stopbackward dontsave";
static const char dropout_ignored[] = "probability dropblock dropblock_size_rel dropblock_size_abs";
static const char yolo_ignored[] = "jitter ignore_thresh truth_thresh random max resize iou_thresh cls_normalizer "
                                   "iou_normalizer obj_normalizer delta_normalizer max_delta label_smooth_eps iou_loss "
                                   "nms_kind beta_nms";
static const char region_ignored[] = "bias_match jitter rescore object_scale noobject_scale class_scale coord_scale "
                                     "mask_scale absolute thresh random log max";

static const struct {
    const char *name;
    enum cfg_activation activation;
} activations[] = {{"linear", CFG_LINEAR}, {"leaky", CFG_LEAKY}, {"relu", CFG_RELU}, {"logistic", CFG_LOGISTIC}};

struct parser {
    struct cfg *cfg;
    struct section *section;
    struct status st;
};

__attribute__((format(printf, 2, 3))) static void refuse(struct parser *p, const char *fmt, ...)
{
    char text[STATUS_MSG_SIZE];
    va_list ap;

    if (p->st.code)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    p->st = status_errorf(ST_INVALID, "line %d: [%.20s] %s", p->section->line, p->section->name, text);
}

static size_t get(struct parser *p, const char *name, long preset, long min, long max)
{
    return (size_t)section_int(p->section, name, preset, min, max, &p->st);
}

/* Keys of darknet's experiments and of its forks' layers: only the value that means "off" is taken. */
static void expect(struct parser *p, const char *name, double off)
{
    if (section_float(p->section, name, off, -1e9, 1e9, &p->st) != off)
        refuse(p, "%s other than %g is not supported", name, off);
}

static struct cfg_shape shape_of(const struct cfg *c, int layer)
{
    return layer < 0 ? c->input : c->layers[layer].out;
}

static enum cfg_activation get_activation(struct parser *p, const char *preset)
{
    const char *name = section_value(p->section, "activation");

    if (!name)
        name = preset;
    for (size_t i = 0; i < COUNT_OF(activations); i++)
        if (strcmp(activations[i].name, name) == 0)
            return activations[i].activation;
    refuse(p, "activation=%.20s is not supported", name);
    return CFG_LINEAR;
}

/* "layers" and "from": a negative number counts back from this layer. */
static void add_source(struct parser *p, struct cfg_layer *l, int index)
{
    int here = (int)p->cfg->n_layers, from = index < 0 ? here + index : index;

    if (from < 0 || from >= here)
        refuse(p, "%d is not a layer before this one (number %d)", index, here);
    else
        l->from[l->n_from++] = from;
}

static void parse_convolution(struct parser *p, struct cfg_layer *l)
{
    l->out.c = get(p, "filters", 1, 1, MAX_FILTERS);
    l->size = get(p, "size", 1, 1, MAX_SIZE);
    l->stride = get(p, "stride", 1, 1, MAX_STRIDE);
    l->groups = get(p, "groups", 1, 1, MAX_FILTERS);
    l->pad = get(p, "padding", 0, 0, MAX_SIZE);
    if (get(p, "pad", 0, 0, 1))
        l->pad = l->size / 2;
    l->batch_norm = get(p, "batch_normalize", 0, 0, 1);
    l->activation = get_activation(p, "logistic");
    static const char *const experiments[] = {"flipped", "binary", "xnor", "dot"};
    for (size_t i = 0; i < COUNT_OF(experiments); i++)
        expect(p, experiments[i], 0);
    if (p->st.code)
        return;
    if (l->in.c % l->groups || l->out.c % l->groups)
        refuse(p, "groups=%zu does not divide %zu channels and %zu filters", l->groups, l->in.c, l->out.c);
    else if (l->in.h + 2 * l->pad < l->size || l->in.w + 2 * l->pad < l->size)
        refuse(p, "size=%zu is larger than its input of %zux%zu", l->size, l->in.w, l->in.h);
    if (p->st.code)
        return;
    l->out.h = (l->in.h + 2 * l->pad - l->size) / l->stride + 1;
    l->out.w = (l->in.w + 2 * l->pad - l->size) / l->stride + 1;
    l->n_params = l->in.c / l->groups * l->out.c * l->size * l->size + l->out.c * (l->batch_norm ? 4 : 1);
}

static void parse_maxpool(struct parser *p, struct cfg_layer *l)
{
    l->stride = get(p, "stride", 1, 1, MAX_STRIDE);
    l->size = get(p, "size", (long)l->stride, 1, MAX_SIZE);
    l->pad = get(p, "padding", (long)l->size - 1, 0, MAX_SIZE);
    if (p->st.code)
        return;
    if ((l->pad + 1) / 2 >= l->size)
        refuse(p, "padding=%zu would leave windows outside of the input", l->pad);
    else if (l->in.h + l->pad < l->size || l->in.w + l->pad < l->size)
        refuse(p, "size=%zu is larger than its input of %zux%zu", l->size, l->in.w, l->in.h);
    l->out = (struct cfg_shape){l->in.c, (l->in.h + l->pad - l->size) / l->stride + 1,
                                (l->in.w + l->pad - l->size) / l->stride + 1};
}

static void parse_upsample(struct parser *p, struct cfg_layer *l)
{
    l->stride = get(p, "stride", 2, 1, MAX_STRIDE);
    expect(p, "scale", 1);
    l->out = (struct cfg_shape){l->in.c, l->in.h * l->stride, l->in.w * l->stride};
}

/* groups and group_id are YOLO 4's. */
static void parse_route(struct parser *p, struct cfg_layer *l)
{
    int indices[CFG_MAX_INPUTS];
    size_t n = section_ints(p->section, "layers", -CFG_MAX_LAYERS, CFG_MAX_LAYERS, indices, CFG_MAX_INPUTS, &p->st);

    l->groups = get(p, "groups", 1, 1, MAX_FILTERS);
    l->group = get(p, "group_id", 0, 0, (long)l->groups - 1);
    l->n_from = 0;
    for (size_t i = 0; i < n; i++)
        add_source(p, l, indices[i]);
    for (size_t i = 0; i < l->n_from && !p->st.code; i++) {
        struct cfg_shape from = shape_of(p->cfg, l->from[i]);
        if (i > 0 && (from.w != l->out.w || from.h != l->out.h))
            refuse(p, "joins %zux%zu and %zux%zu", l->out.w, l->out.h, from.w, from.h);
        if (from.c % l->groups)
            refuse(p, "groups=%zu does not divide %zu channels", l->groups, from.c);
        l->out = (struct cfg_shape){l->out.c + from.c / l->groups, from.h, from.w};
    }
}

static void parse_shortcut(struct parser *p, struct cfg_layer *l)
{
    int index;

    if (section_ints(p->section, "from", -CFG_MAX_LAYERS, CFG_MAX_LAYERS, &index, 1, &p->st))
        add_source(p, l, index);
    l->activation = get_activation(p, "linear");
    expect(p, "alpha", 1);
    expect(p, "beta", 1);
    if (p->st.code)
        return;
    struct cfg_shape other = shape_of(p->cfg, l->from[1]);
    if (l->from[0] < 0 || other.c != l->in.c || other.h != l->in.h || other.w != l->in.w)
        refuse(p, "adds outputs of different shapes");
    l->out = l->in;
}

static void parse_reorg(struct parser *p, struct cfg_layer *l)
{
    size_t s = l->stride = get(p, "stride", 1, 1, MAX_STRIDE);

    for (size_t i = 0; i < 2; i++)
        expect(p, i ? "flatten" : "reverse", 0);
    expect(p, "extra", 0);
    if (p->st.code)
        return;
    if (l->in.h % s || l->in.w % s || l->in.c % (s * s))
        refuse(p, "stride=%zu does not divide %zux%zu pixels of %zu channels", s, l->in.w, l->in.h, l->in.c);
    l->out = (struct cfg_shape){l->in.c * s * s, l->in.h / s, l->in.w / s};
}

size_t cfg_reorg_source(const struct cfg_layer *l, size_t i)
{
    size_t s = l->stride, c = l->in.c / (s * s);
    size_t x = i % l->in.w, y = i / l->in.w % l->in.h, k = i / (l->in.w * l->in.h), offset = k / c;

    return x * s + offset % s + l->in.w * s * (y * s + offset / s + l->in.h * s * (k % c));
}

static void parse_dropout(struct parser *p, struct cfg_layer *l)
{
    if (l->from[0] < 0)
        refuse(p, "cannot be the first layer");
    l->out = l->in;
}

static void check_head(struct parser *p, const struct cfg_layer *l, const struct cfg_head *head)
{
    if (l->from[0] < 0)
        refuse(p, "cannot be the first layer");
    for (size_t i = 0; i < head->n_mask; i++)
        if ((size_t)head->mask[i] >= head->n_anchors)
            refuse(p, "mask names anchor %d of %zu", head->mask[i], head->n_anchors);
    if (l->in.c != head->n_mask * (5 + head->n_classes))
        refuse(p, "needs %zu filters (%zu anchors of 5 + %zu classes) before it, not %zu",
               head->n_mask * (5 + head->n_classes), head->n_mask, head->n_classes, l->in.c);
    if (head->n_classes != p->cfg->heads[0].n_classes)
        refuse(p, "has %zu classes, the one before it %zu", head->n_classes, p->cfg->heads[0].n_classes);
}

/* What both kinds of head have; NULL after a refusal. */
static struct cfg_head *add_head(struct parser *p, struct cfg_layer *l)
{
    struct cfg *c = p->cfg;

    if (c->n_heads == CFG_MAX_HEADS) {
        refuse(p, "is one more than the %d that are taken", CFG_MAX_HEADS);
        return NULL;
    }
    struct cfg_head *head = &c->heads[c->n_heads];
    l->head = c->n_heads;
    l->out = l->in;
    c->head_layer[c->n_heads++] = l->from[0];
    head->n_classes = get(p, "classes", 20, 1, CFG_MAX_CLASSES);
    head->n_anchors = get(p, "num", 1, 1, CFG_MAX_ANCHORS);
    size_t n = section_floats(p->section, "anchors", 0.01, 1e5, head->anchors, 2 * CFG_MAX_ANCHORS, &p->st);
    if (!p->st.code && n != 2 * head->n_anchors)
        refuse(p, "num=%zu needs %zu numbers in anchors, not %zu", head->n_anchors, 2 * head->n_anchors, n);
    return head;
}

static void parse_yolo(struct parser *p, struct cfg_layer *l)
{
    struct cfg_head *head = add_head(p, l);

    if (!head)
        return;
    head->n_mask = section_ints(p->section, "mask", 0, CFG_MAX_ANCHORS - 1, head->mask, CFG_MAX_ANCHORS, &p->st);
    head->scale_xy = (float)section_float(p->section, "scale_x_y", 1, 1, 2, &p->st);
    expect(p, "new_coords", 0);
    if (!p->st.code)
        check_head(p, l, head);
}

static void parse_region(struct parser *p, struct cfg_layer *l)
{
    struct cfg_head *head = add_head(p, l);

    if (!head)
        return;
    head->region = true;
    head->softmax = get(p, "softmax", 0, 0, 1);
    head->scale_xy = 1;
    head->n_mask = head->n_anchors;
    for (size_t i = 0; i < head->n_mask; i++)
        head->mask[i] = (int)i;
    expect(p, "coords", 4);
    expect(p, "background", 0);
    if (!p->st.code)
        check_head(p, l, head);
}

static const struct {
    const char *name;
    enum cfg_kind kind;
    void (*parse)(struct parser *p, struct cfg_layer *l);
    const char *ignored;
} kinds[] = {
    {"convolutional", CFG_CONVOLUTION, parse_convolution, convolution_ignored},
    {"maxpool", CFG_MAXPOOL, parse_maxpool, ""},
    {"upsample", CFG_UPSAMPLE, parse_upsample, ""},
    {"route", CFG_ROUTE, parse_route, ""},
    {"shortcut", CFG_SHORTCUT, parse_shortcut, ""},
    {"dropout", CFG_DROPOUT, parse_dropout, dropout_ignored},
    {"reorg", CFG_REORG, parse_reorg, ""},
    {"yolo", CFG_YOLO, parse_yolo, yolo_ignored},
    {"region", CFG_REGION, parse_region, region_ignored},
};

static void parse_layer(struct parser *p)
{
    struct cfg *c = p->cfg;
    size_t k = 0;

    while (k < COUNT_OF(kinds) && strcmp(kinds[k].name, p->section->name) != 0)
        k++;
    if (k == COUNT_OF(kinds) || c->n_layers == CFG_MAX_LAYERS) {
        refuse(p, k == COUNT_OF(kinds) ? "is not a supported layer" : "is one layer too many");
        return;
    }
    struct cfg_layer *l = &c->layers[c->n_layers];
    l->kind = kinds[k].kind;
    l->from[0] = (int)c->n_layers - 1;
    l->n_from = 1;
    l->in = shape_of(c, l->from[0]);
    kinds[k].parse(p, l);
    const struct section_key *extra = section_first_unused(p->section, kinds[k].ignored);
    if (extra)
        refuse(p, "%.40s is not supported", extra->name);
    for (size_t i = 0; i < l->n_from; i++)
        if (l->from[i] >= 0 && cfg_is_head(&c->layers[l->from[i]]))
            refuse(p, "reads layer %d, a head", l->from[i]);
    if (!p->st.code && cfg_shape_size(l->out) > CFG_MAX_FLOATS)
        refuse(p, "has more than %u outputs", CFG_MAX_FLOATS);
    if (!p->st.code && (c->n_params += l->n_params) > CFG_MAX_PARAMS)
        refuse(p, "goes over %u parameters", CFG_MAX_PARAMS);
    c->n_layers++;
}

static void parse_net(struct parser *p)
{
    if (strcmp(p->section->name, "net") != 0 && strcmp(p->section->name, "network") != 0) {
        refuse(p, "comes first, [net] has to");
        return;
    }
    p->cfg->input.w = get(p, "width", 0, 1, CFG_MAX_SIDE);
    p->cfg->input.h = get(p, "height", 0, 1, CFG_MAX_SIDE);
    p->cfg->input.c = get(p, "channels", 0, 3, 3);
    if (!p->st.code && cfg_shape_size(p->cfg->input) == 0)
        refuse(p, "needs width, height and channels");
}

struct status cfg_parse(struct cfg **out, const char *text, size_t size)
{
    struct sections sections;
    struct parser p = {.st = sections_parse(&sections, text, size)};

    if (p.st.code)
        return p.st;
    p.cfg = xcalloc(1, sizeof *p.cfg);
    for (size_t i = 0; i < sections.list.n && !p.st.code; i++) {
        p.section = VEC_AT(&sections.list, struct section, i);
        if (i == 0)
            parse_net(&p);
        else
            parse_layer(&p);
    }
    if (!p.st.code && p.cfg->n_heads == 0)
        p.st = status_errorf(ST_INVALID, "it has no [yolo] or [region] layer");
    sections_fini(&sections);
    if (p.st.code)
        free(p.cfg);
    else
        *out = p.cfg;
    return p.st;
}

static void print_list(struct buf *out, const char *key, const int *values, size_t n)
{
    buf_printf(out, "%s=", key);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, i ? ",%d" : "%d", values[i]);
    buf_putc(out, '\n');
}

static void print_head(struct buf *out, const struct cfg_head *head)
{
    if (head->region)
        buf_printf(out, "coords=4\nsoftmax=%d\n", head->softmax);
    else
        print_list(out, "mask", head->mask, head->n_mask);
    if (head->scale_xy != 1)
        buf_printf(out, "scale_x_y=%.9g\n", (double)head->scale_xy);
    buf_puts(out, "anchors=");
    for (size_t i = 0; i < 2 * head->n_anchors; i++)
        buf_printf(out, i ? ",%.9g" : "%.9g", head->anchors[i]);
    buf_printf(out, "\nclasses=%zu\nnum=%zu\n", head->n_classes, head->n_anchors);
}

static const char *activation_name(enum cfg_activation activation)
{
    size_t i = 0;
    while (activations[i].activation != activation)
        i++;
    return activations[i].name;
}

static void print_layer(struct buf *out, const struct cfg *c, const struct cfg_layer *l)
{
    switch (l->kind) {
    case CFG_CONVOLUTION:
        buf_printf(out,
                   "filters=%zu\nsize=%zu\nstride=%zu\npadding=%zu\ngroups=%zu\nbatch_normalize=%d\nactivation=%s\n",
                   l->out.c, l->size, l->stride, l->pad, l->groups, l->batch_norm, activation_name(l->activation));
        break;
    case CFG_MAXPOOL:
        buf_printf(out, "size=%zu\nstride=%zu\npadding=%zu\n", l->size, l->stride, l->pad);
        break;
    case CFG_UPSAMPLE:
        buf_printf(out, "stride=%zu\n", l->stride);
        break;
    case CFG_ROUTE:
        print_list(out, "layers", l->from, l->n_from);
        if (l->groups > 1)
            buf_printf(out, "groups=%zu\ngroup_id=%zu\n", l->groups, l->group);
        break;
    case CFG_SHORTCUT:
        print_list(out, "from", l->from + 1, 1);
        buf_printf(out, "activation=%s\n", activation_name(l->activation));
        break;
    case CFG_DROPOUT:
        buf_puts(out, "probability=0.5\n");
        break;
    case CFG_REORG:
        buf_printf(out, "stride=%zu\n", l->stride);
        break;
    case CFG_YOLO:
    case CFG_REGION:
        print_head(out, &c->heads[l->head]);
        break;
    }
}

void cfg_print(const struct cfg *c, struct buf *out)
{
    buf_printf(out, "[net]\nbatch=1\nsubdivisions=1\nwidth=%zu\nheight=%zu\nchannels=%zu\n", c->input.w, c->input.h,
               c->input.c);
    for (size_t i = 0; i < c->n_layers; i++) {
        const char *name = NULL;
        for (size_t k = 0; k < COUNT_OF(kinds); k++)
            if (kinds[k].kind == c->layers[i].kind)
                name = kinds[k].name;
        buf_printf(out, "\n[%s]\n", name);
        print_layer(out, c, &c->layers[i]);
    }
}
