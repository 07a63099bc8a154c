/* cfg.h - a network as a darknet cfg file describes it: layers with their shapes, fully checked.
 *
 * darknet's own parser crashes, aborts or silently computes nonsense on a wrong file, so it never sees one: this one
 * takes only what it knows, computes every shape and the number of parameters, and cfg_print() writes the file that
 * darknet gets. Training settings are left out; a key that could change the result and is not known is refused. */
#ifndef DETECTOR_CFG_H
#define DETECTOR_CFG_H

#include "base/base.h"

#define CFG_MAX_LAYERS  256
#define CFG_MAX_INPUTS  8
#define CFG_MAX_ANCHORS 32
#define CFG_MAX_HEADS   8
#define CFG_MAX_SIDE    1024 /* of the input, pixels */
#define CFG_MAX_CLASSES 10000
#define CFG_MAX_FLOATS  (64u << 20) /* in one layer's output */
#define CFG_MAX_PARAMS  (128u << 20)

enum cfg_kind {
    CFG_CONVOLUTION,
    CFG_MAXPOOL,
    CFG_UPSAMPLE,
    CFG_ROUTE,
    CFG_SHORTCUT,
    CFG_DROPOUT,
    CFG_REORG, /* stride x stride pixels become channels, in darknet's own order (cfg_reorg_source()) */
    CFG_YOLO,
    CFG_REGION, /* the head of YOLO 2 */
};
enum cfg_activation { CFG_LINEAR, CFG_LEAKY, CFG_RELU, CFG_LOGISTIC };

struct cfg_shape {
    size_t c, h, w;
};

/* What a [yolo] or [region] section says: boxes of n_mask anchors in every cell. */
struct cfg_head {
    size_t n_classes;
    size_t n_anchors;                   /* pairs in anchors */
    float anchors[2 * CFG_MAX_ANCHORS]; /* width, height; yolo: pixels of the input, region: cells */
    int mask[CFG_MAX_ANCHORS];          /* (n_mask,): indices of anchors; region: all of them */
    size_t n_mask;
    float scale_xy; /* 1; YOLO 4: how far beyond its cell a box's middle may lie, twice, plus 1 */
    bool region;
    bool softmax; /* region: the classes of a box exclude each other */
};

struct cfg_layer {
    enum cfg_kind kind;
    enum cfg_activation activation; /* convolution and shortcut */
    struct cfg_shape in, out;
    int from[CFG_MAX_INPUTS]; /* the layers it reads; -1 is the picture */
    size_t n_from;
    size_t size, stride, pad; /* convolution: pad on each side; maxpool: pad in all */
    size_t groups;            /* convolution; route: its sources' channels are cut into so many parts, */
    size_t group;             /* of which it takes this one */
    bool batch_norm;
    size_t n_params; /* floats in the weights file */
    size_t head;     /* yolo, region: index in heads */
};

struct cfg {
    struct cfg_shape input;
    struct cfg_layer layers[CFG_MAX_LAYERS];
    size_t n_layers;
    struct cfg_head heads[CFG_MAX_HEADS];
    int head_layer[CFG_MAX_HEADS]; /* the layer that feeds head i: its output is (n_mask * (5 + classes), h, w) */
    size_t n_heads;                /* at least 1; all have the same classes */
    size_t n_params;
};

/* *out: the caller's, to free(). ST_INVALID names the line and what is wrong. */
struct status cfg_parse(struct cfg **out, const char *text, size_t size);

/* The same network as a file for darknet, for inference with batch 1. */
void cfg_print(const struct cfg *c, struct buf *out);

static inline bool cfg_is_head(const struct cfg_layer *l)
{
    return l->kind == CFG_YOLO || l->kind == CFG_REGION;
}

/* Layers that hand on what another computed, as it is: its output is from[0]'s. */
static inline bool cfg_is_alias(const struct cfg_layer *l)
{
    return cfg_is_head(l) || l->kind == CFG_DROPOUT || (l->kind == CFG_ROUTE && l->n_from == 1 && l->groups == 1);
}

/* Reorg: the place in the input's (c, h, w) numbers from which output number i comes; reorg_cpu() of darknet. */
size_t cfg_reorg_source(const struct cfg_layer *l, size_t i);

static inline size_t cfg_shape_size(struct cfg_shape s)
{
    return s.c * s.h * s.w;
}

#endif
