/* conv_plain.c - the convolution as its formula says it, in floats: for grouped ones that are not depthwise, which no
 * network in use has, and as what the tests hold the others to. */
#include "conv.h"

#if defined(BI_SIMDE) && !defined(SIMD_BYTES) /* compiled once, whatever the variants are */
#define SIMD_BYTES 16
#endif
#include "vector.h"

#include <stdlib.h>
#include <string.h>

struct plain {
    struct conv base;
    struct cfg_layer layer;
    struct vec_epilogue epilogue;
    float *weights; /* (out.c, size, size, in.c / groups) */
    float *bias;    /* (out.c,) */
};

static bool plain_supports(const struct conv_spec *spec)
{
    (void)spec;
    return true;
}

static struct conv *plain_prepare(const struct conv_spec *spec)
{
    extern const struct conv_method conv_plain;
    struct plain *p = xcalloc(1, sizeof *p);
    const struct cfg_layer *l = spec->layer;
    size_t taps = l->size * l->size, c = l->in.c / l->groups;

    p->base.method = &conv_plain;
    p->layer = *l;
    p->epilogue = vec_epilogue(spec);
    p->base.weights_size = (l->out.c * (taps * c + 1)) * sizeof(float);
    p->weights = xcalloc(l->out.c * taps * c, sizeof *p->weights);
    p->bias = xcalloc(l->out.c, sizeof *p->bias);
    memcpy(p->bias, spec->params->bias, l->out.c * sizeof *p->bias);
    for (size_t f = 0; f < l->out.c; f++)
        for (size_t k = 0; k < c; k++)
            for (size_t tap = 0; tap < taps; tap++)
                p->weights[(f * taps + tap) * c + k] = spec->params->weights[(f * c + k) * taps + tap];
    return &p->base;
}

static size_t plain_scratch_size(const struct conv *c)
{
    (void)c;
    return 0;
}

static float sum_at(const struct plain *p, const struct tensor *in, size_t y, size_t x, size_t f)
{
    const struct cfg_layer *l = &p->layer;
    size_t c = l->in.c / l->groups, group = f / (l->out.c / l->groups);
    const float *w = p->weights + f * l->size * l->size * c;
    float sum = p->bias[f];

    for (size_t ky = 0; ky < l->size; ky++)
        for (size_t kx = 0; kx < l->size; kx++, w += c) {
            size_t in_y = y * l->stride + ky - l->pad, in_x = x * l->stride + kx - l->pad; /* wrap: not below h, w */
            if (in_y >= in->h || in_x >= in->w)
                continue;
            const float *pixel = (const float *)in->data + (in_y * in->w + in_x) * in->stride + group * c;
            for (size_t k = 0; k < c; k++)
                sum += w[k] * pixel[k];
        }
    return sum;
}

static void run_pixel(const struct plain *p, const struct conv_io *io, size_t y, size_t x)
{
    const struct tensor *out = io->out, *add = io->add;
    size_t size = tensor_type_size(out->type), add_size = add ? tensor_type_size(add->type) : 0;
    char *to = tensor_row(out, y) + x * out->stride * size;
    const char *residual = add ? tensor_row(add, y) + x * add->stride * add_size : to;

    for (size_t f = 0; f < out->c; f += VEC_LANES) {
        vec sums = {0};
        for (size_t i = 0; i < VEC_LANES && f + i < out->c; i++)
            sums[i] = sum_at(p, io->in, y, x, f + i);
        vec_finish(to + f * size, residual + f * add_size, sums, &p->epilogue);
    }
}

static void plain_run(const struct conv *base, const struct conv_io *io)
{
    for (size_t y = 0; y < io->out->h; y++)
        for (size_t x = 0; x < io->out->w; x++)
            run_pixel((const struct plain *)base, io, y, x);
}

static void plain_destroy(struct conv *c)
{
    struct plain *p = (struct plain *)c;

    free(p->weights);
    free(p->bias);
    free(p);
}

const struct conv_method conv_plain = {
    .name = "plain",
    .in_type = TENSOR_F32,
    .supports = plain_supports,
    .prepare = plain_prepare,
    .scratch_size = plain_scratch_size,
    .run = plain_run,
    .destroy = plain_destroy,
};
