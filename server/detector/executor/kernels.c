/* kernels.c - plain C that the compiler vectorises; built with -O3 for each instruction set. */
#include "kernels.h"

#include "base/simd.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* One tap: out_row[x] = in_row[x stride + offset], 0 outside of 0..w-1. */
static void gather_row(float *restrict to, const float *restrict row, ptrdiff_t offset, size_t stride, size_t w,
                       size_t out_w)
{
    size_t x0 = offset < 0 ? ((size_t)-offset + stride - 1) / stride : 0;
    ptrdiff_t room = (ptrdiff_t)w - offset; /* x stride < room stays inside */
    size_t x1 = room <= 0 ? 0 : ((size_t)room + stride - 1) / stride;

    x1 = x1 < out_w ? x1 : out_w;
    x0 = x0 < x1 ? x0 : x1;
    memset(to, 0, x0 * sizeof *to);
    if (stride == 1 && x1 > x0)
        memcpy(to + x0, row + (ptrdiff_t)x0 + offset, (x1 - x0) * sizeof *to);
    else
        for (size_t x = x0; x < x1; x++)
            to[x] = row[(ptrdiff_t)(x * stride) + offset];
    memset(to + x1, 0, (out_w - x1) * sizeof *to);
}

static void im2col(float *columns, const float *in, const struct cfg_layer *l, size_t c, size_t first_row,
                   size_t n_rows)
{
    size_t w = l->in.w, h = l->in.h, out_w = l->out.w;

    for (size_t ch = 0; ch < c; ch++)
        for (size_t ky = 0; ky < l->size; ky++)
            for (size_t kx = 0; kx < l->size; kx++)
                for (size_t y = first_row; y < first_row + n_rows; y++, columns += out_w) {
                    size_t row = y * l->stride + ky - l->pad; /* wraps above the picture: then not below h */
                    if (row < h)
                        gather_row(columns, in + (ch * h + row) * w, (ptrdiff_t)kx - (ptrdiff_t)l->pad, l->stride, w,
                                   out_w);
                    else
                        memset(columns, 0, out_w * sizeof *columns);
                }
}

static void activate(float *x, float bias, size_t n, enum cfg_activation activation)
{
    switch (activation) {
    case CFG_LINEAR:
        for (size_t i = 0; i < n; i++)
            x[i] += bias;
        break;
    case CFG_LEAKY:
        for (size_t i = 0; i < n; i++) {
            float v = x[i] + bias;
            x[i] = v > 0 ? v : 0.1f * v;
        }
        break;
    case CFG_RELU:
        for (size_t i = 0; i < n; i++) {
            float v = x[i] + bias;
            x[i] = v > 0 ? v : 0;
        }
        break;
    case CFG_LOGISTIC:
        for (size_t i = 0; i < n; i++)
            x[i] = 1 / (1 + expf(-(x[i] + bias)));
        break;
    }
}

static void activate_rows(float *rows, size_t stride, const float *bias, size_t n_rows, size_t n,
                          enum cfg_activation activation)
{
    for (size_t i = 0; i < n_rows; i++)
        activate(rows + i * stride, bias[i], n, activation);
}

/* out[x] += sum over the taps; `inline` with constant size and stride gives each common case its own loops. */
static inline void depthwise_row(float *restrict out, const float *restrict in, size_t in_stride,
                                 const float *restrict weights, size_t size, size_t stride, size_t n)
{
    for (size_t x = 0; x < n; x++) {
        float sum = 0;
        for (size_t ky = 0; ky < size; ky++)
            for (size_t kx = 0; kx < size; kx++)
                sum += weights[ky * size + kx] * in[ky * in_stride + x * stride + kx];
        out[x] = sum;
    }
}

static void depthwise_plane(float *out, const float *padded, const struct cfg_layer *l, const float *weights)
{
    size_t wide = l->in.w + 2 * l->pad, n = l->out.w;

    for (size_t y = 0; y < l->out.h; y++, out += n) {
        const float *in = padded + y * l->stride * wide;
        if (l->size == 3 && l->stride == 1)
            depthwise_row(out, in, wide, weights, 3, 1, n);
        else if (l->size == 3 && l->stride == 2)
            depthwise_row(out, in, wide, weights, 3, 2, n);
        else if (l->size == 5 && l->stride == 1)
            depthwise_row(out, in, wide, weights, 5, 1, n);
        else
            depthwise_row(out, in, wide, weights, l->size, l->stride, n);
    }
}

static void depthwise(float *out, const float *in, const struct cfg_layer *l, const float *weights, const float *bias,
                      float *padded)
{
    size_t wide = l->in.w + 2 * l->pad, n_out = l->out.h * l->out.w;

    memset(padded, 0, kernels_padded_size(l) * sizeof *padded);
    for (size_t c = 0; c < l->in.c; c++) {
        const float *plane = in + c * l->in.h * l->in.w;
        for (size_t y = 0; y < l->in.h; y++)
            memcpy(padded + (y + l->pad) * wide + l->pad, plane + y * l->in.w, l->in.w * sizeof *padded);
        depthwise_plane(out + c * n_out, padded, l, weights + c * l->size * l->size);
        activate(out + c * n_out, bias[c], n_out, l->activation);
    }
}

/* The common 2 x 2 windows at every second pixel, as far as they lie inside. */
static void maxpool_halve(float *restrict out, const float *restrict row, size_t w, size_t n)
{
    for (size_t x = 0; x < n; x++) {
        float a = row[2 * x], b = row[2 * x + 1], c = row[w + 2 * x], d = row[w + 2 * x + 1];
        float top = a > b ? a : b, bottom = c > d ? c : d;
        out[x] = top > bottom ? top : bottom;
    }
}

static float maxpool_window(const float *plane, const struct cfg_layer *l, size_t y, size_t x)
{
    ptrdiff_t top = (ptrdiff_t)(y * l->stride) - (ptrdiff_t)(l->pad / 2);
    ptrdiff_t left = (ptrdiff_t)(x * l->stride) - (ptrdiff_t)(l->pad / 2);
    ptrdiff_t bottom = top + (ptrdiff_t)l->size, right = left + (ptrdiff_t)l->size;
    float max = -FLT_MAX;

    bottom = bottom < (ptrdiff_t)l->in.h ? bottom : (ptrdiff_t)l->in.h;
    right = right < (ptrdiff_t)l->in.w ? right : (ptrdiff_t)l->in.w;
    for (ptrdiff_t i = top > 0 ? top : 0; i < bottom; i++)
        for (ptrdiff_t j = left > 0 ? left : 0; j < right; j++) {
            float v = plane[i * (ptrdiff_t)l->in.w + j];
            max = v > max ? v : max;
        }
    return max;
}

static void maxpool(float *out, const float *in, const struct cfg_layer *l)
{
    bool halves = l->size == 2 && l->stride == 2 && l->pad <= 1;

    for (size_t c = 0; c < l->in.c; c++, in += l->in.h * l->in.w)
        for (size_t y = 0; y < l->out.h; y++, out += l->out.w) {
            size_t done = halves && 2 * y + 1 < l->in.h ? l->in.w / 2 : 0;
            done = done < l->out.w ? done : l->out.w;
            maxpool_halve(out, in + 2 * y * l->in.w, l->in.w, done);
            for (size_t x = done; x < l->out.w; x++)
                out[x] = maxpool_window(in, l, y, x);
        }
}

static void upsample(float *out, const float *in, const struct cfg_layer *l)
{
    for (size_t y = 0; y < l->out.c * l->out.h; y++, out += l->out.w) {
        const float *row = in + y / l->stride * l->in.w;
        for (size_t x = 0; x < l->out.w; x++)
            out[x] = row[x / l->stride];
    }
}

static void add(float *restrict out, const float *restrict a, const float *restrict b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
}

const struct kernels SIMD_VARIANT(kernels) = {im2col, activate_rows, depthwise, maxpool, upsample, add};
