/* conv.h - ways of computing a convolution, behind one interface. The plan (plan.h) asks each method whether it can
 * do a layer, prepares those that can, times them, and keeps the fastest.
 *
 * What all compute, per output element: v = sum + bias; v = max(v, slope * v); v += add; v = max(v, add_slope * v);
 * then conversion to the output's type (round to nearest even, saturate). slope: 1 linear, 0.1 leaky, 0 ReLU; other
 * activations are steps of their own. */
#ifndef DETECTOR_CONV_H
#define DETECTOR_CONV_H

#include "executor/tensor.h"
#include "network/network.h"

struct conv;

/* A layer to be prepared. */
struct conv_spec {
    const struct cfg_layer *layer;      /* shapes, size, stride, pad, groups */
    const struct network_layer *params; /* weights (out.c, in.c / groups, size, size), bias (out.c,); may go once
                                             prepared: methods keep their own packed copy */
    struct tensor in, out;              /* data unused: types, scales and strides that run() will see */
    float slope, add_slope;
    bool has_add;      /* run() gets a residual of out's shape */
    struct tensor add; /* as in and out */
};

struct conv_io {
    const struct tensor *in, *add; /* add: NULL without a residual */
    struct tensor *out;            /* may be add's very memory; else overlaps nothing */
    void *scratch;                 /* scratch_size() bytes, 64-byte aligned; contents are nobody's */
};

struct conv_method {
    const char *name;         /* "direct", "winograd4", ... */
    enum tensor_type in_type; /* what it reads; it writes every type */
    bool (*supports)(const struct conv_spec *spec);
    struct conv *(*prepare)(const struct conv_spec *spec); /* only for what supports() took; 64-byte aligned weights */
    size_t (*scratch_size)(const struct conv *c);
    void (*run)(const struct conv *c, const struct conv_io *io); /* one thread; any number of runs at once */
    void (*destroy)(struct conv *c);

    /* NULL, or: only the rows y0 .. y1-1 of the output. Then the tensors of io may be rings (tensor.h), as deep as these
     * rows need; the plan sees to it that the rows to write do not wrap around in out, nor in add or, for a
     * pointwise convolution, in in. */
    void (*run_rows)(const struct conv *c, const struct conv_io *io, size_t y0, size_t y1);
};

/* The start of every method's own struct. */
struct conv {
    const struct conv_method *method;
    size_t weights_size; /* bytes that the prepared layer keeps; set by prepare() */
};

/* All methods, NULL at the end (conv_methods.c). Of those that read the input's type and support the layer, the plan
 * keeps the fastest; the last one, which supports everything, only where it is the only one. */
extern const struct conv_method *const conv_methods[];

#endif
