/* conv_depthwise.c - convolutions with one filter a channel, in floats. */
#include "conv.h"
#include "depthwise.h"

#include <stdlib.h>

struct depthwise {
    struct conv base;
    const struct depthwise_rows *rows;
    struct vec_epilogue epilogue;
    size_t size, stride, pad;
    size_t c; /* rounded up to whole vectors */
    float *weights, *bias;
    float *zeros; /* a row of the input for above and below the picture */
};

static bool depthwise_supports(const struct conv_spec *spec)
{
    const struct cfg_layer *l = spec->layer;
    return l->groups > 1 && l->groups == l->in.c && l->groups == l->out.c && l->size <= DEPTHWISE_MAX_SIZE;
}

static struct conv *depthwise_prepare(const struct conv_spec *spec)
{
    extern const struct conv_method conv_depthwise;
    struct depthwise *d = xcalloc(1, sizeof *d);
    const struct cfg_layer *l = spec->layer;
    size_t taps = l->size * l->size, lanes;

    d->base.method = &conv_depthwise;
    d->rows = depthwise_rows_get();
    lanes = d->rows->lanes;
    d->size = l->size;
    d->stride = l->stride;
    d->pad = l->pad;
    d->c = (l->out.c + lanes - 1) / lanes * lanes;
    d->epilogue = vec_epilogue(spec);
    d->weights = xaligned(d->c * taps, sizeof *d->weights);
    d->bias = xaligned(d->c, sizeof *d->bias);
    d->zeros = xaligned(spec->in.w * spec->in.stride, sizeof *d->zeros);
    memcpy(d->bias, spec->params->bias, l->out.c * sizeof *d->bias);
    for (size_t c = 0; c < l->out.c; c++)
        for (size_t tap = 0; tap < taps; tap++)
            d->weights[c / lanes * lanes * taps + tap * lanes + c % lanes] = spec->params->weights[c * taps + tap];
    d->base.weights_size = (d->c * (taps + 1) + spec->in.w * spec->in.stride) * sizeof(float);
    return &d->base;
}

static size_t depthwise_scratch_size(const struct conv *c)
{
    (void)c;
    return 0;
}

static void depthwise_run_rows(const struct conv *c, const struct conv_io *io, size_t y0, size_t y1)
{
    const struct depthwise *d = (const struct depthwise *)c;
    const struct tensor *in = io->in, *out = io->out, *add = io->add;
    struct depthwise_row row = {.in_w = in->w,
                                .in_stride = in->stride,
                                .weights = d->weights,
                                .bias = d->bias,
                                .c = d->c,
                                .size = d->size,
                                .stride = d->stride,
                                .pad = d->pad,
                                .out_w = out->w,
                                .out_stride = out->stride * tensor_type_size(out->type),
                                .add_stride = add ? add->stride * tensor_type_size(add->type) : 0,
                                .epilogue = &d->epilogue};

    for (size_t y = y0; y < y1; y++) {
        for (size_t ky = 0; ky < d->size; ky++) {
            size_t in_y = y * d->stride + ky - d->pad; /* wraps above the picture: then not below h */
            row.in[ky] = in_y < in->h ? (const float *)(const void *)tensor_row(in, in_y) : d->zeros;
        }
        row.out = tensor_row(out, y);
        row.add = add ? tensor_row(add, y) : row.out;
        d->rows->run(&row);
    }
}

static void depthwise_run(const struct conv *c, const struct conv_io *io)
{
    depthwise_run_rows(c, io, 0, io->out->h);
}

static void depthwise_destroy(struct conv *c)
{
    struct depthwise *d = (struct depthwise *)c;

    free(d->weights);
    free(d->bias);
    free(d->zeros);
    free(d);
}

const struct conv_method conv_depthwise = {
    .name = "depthwise",
    .in_type = TENSOR_F32,
    .supports = depthwise_supports,
    .prepare = depthwise_prepare,
    .scratch_size = depthwise_scratch_size,
    .run = depthwise_run,
    .destroy = depthwise_destroy,
    .run_rows = depthwise_run_rows,
};
