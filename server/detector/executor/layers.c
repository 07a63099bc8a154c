/* layers.c - see layers.h; vectors lie along the channels. Built once for each instruction set. */
#include "layers.h"

#include "vector.h"

#include <math.h>

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static char *pixel(const struct tensor *t, size_t y, size_t x)
{
    return tensor_row(t, y) + x * t->stride * tensor_type_size(t->type);
}

/* ---- maxpool ---- */

/* out[k] = the largest of the n pixels' [k], in pairs of pairs as the usual 2 x 2 window has them. */
#define MAX_OF(name, element, value)                                                                                   \
    static void name(void *to, const char *const *pixels, size_t n, size_t c)                                          \
    {                                                                                                                  \
        element *restrict out = to;                                                                                    \
        for (size_t i = 0; i < n; i += 2) {                                                                            \
            const element *restrict p = (const element *)(const void *)pixels[i];                                      \
            const element *restrict q = (const element *)(const void *)pixels[i + 1 < n ? i + 1 : i];                  \
            if (i == 0)                                                                                                \
                for (size_t k = 0; k < c; k++)                                                                         \
                    out[k] = value(p[k]) > value(q[k]) ? p[k] : q[k];                                                  \
            else                                                                                                       \
                for (size_t k = 0; k < c; k++) {                                                                       \
                    element best = value(p[k]) > value(q[k]) ? p[k] : q[k];                                            \
                    out[k] = value(out[k]) > value(best) ? out[k] : best;                                              \
                }                                                                                                      \
        }                                                                                                              \
    }

#define AS_IT_IS(x) (x)

MAX_OF(max_f32, float, AS_IT_IS)
MAX_OF(max_bf16, uint16_t, tensor_from_bf16)
MAX_OF(max_s16, int16_t, AS_IT_IS)
MAX_OF(max_u8, uint8_t, AS_IT_IS)

/* The usual window in floats: 2 x 2, wholly inside. */
static void max_square(float *restrict out, const float *restrict a, const float *restrict b, size_t stride, size_t c)
{
    for (size_t k = 0; k < c; k++) {
        float top = a[k] > a[stride + k] ? a[k] : a[stride + k], bottom = b[k] > b[stride + k] ? b[k] : b[stride + k];
        out[k] = top > bottom ? top : bottom;
    }
}

#define MAX_WINDOW 16 /* cfg.c allows no larger side */

static size_t window_pixels(const char **pixels, const struct tensor *in, ptrdiff_t top, ptrdiff_t left, size_t size)
{
    size_t bottom = min_size((size_t)(top + (ptrdiff_t)size), in->h);
    size_t right = min_size((size_t)(left + (ptrdiff_t)size), in->w), n = 0;

    for (size_t y = top > 0 ? (size_t)top : 0; y < bottom; y++)
        for (size_t x = left > 0 ? (size_t)left : 0; x < right; x++)
            pixels[n++] = pixel(in, y, x);
    return n;
}

static void maxpool(const struct tensor *out, const struct tensor *in, size_t size, size_t stride, size_t pad,
                    size_t y0, size_t y1)
{
    static void (*const max_of[])(void *, const char *const *, size_t, size_t) = {
        [TENSOR_F32] = max_f32, [TENSOR_BF16] = max_bf16, [TENSOR_S16] = max_s16, [TENSOR_U8] = max_u8};
    const char *pixels[MAX_WINDOW * MAX_WINDOW];
    size_t c = (in->c + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;

    for (size_t y = y0; y < y1; y++)
        for (size_t x = 0; x < out->w; x++) {
            ptrdiff_t top = (ptrdiff_t)(y * stride) - (ptrdiff_t)(pad / 2);
            ptrdiff_t left = (ptrdiff_t)(x * stride) - (ptrdiff_t)(pad / 2);
            if (in->type == TENSOR_F32 && size == 2 && top >= 0 && left >= 0 && (size_t)top + 1 < in->h &&
                (size_t)left + 1 < in->w) {
                const float *a = (const float *)(const void *)pixel(in, (size_t)top, (size_t)left);
                const float *b = (const float *)(const void *)pixel(in, (size_t)top + 1, (size_t)left);
                max_square((float *)(void *)pixel(out, y, x), a, b, in->stride, c);
            } else {
                size_t n = window_pixels(pixels, in, top, left, size);
                max_of[in->type](pixel(out, y, x), pixels, n, c);
            }
        }
}

/* ---- the others ---- */

static void upsample(const struct tensor *out, const struct tensor *in, size_t factor, size_t y0, size_t y1)
{
    size_t size = in->c * tensor_type_size(in->type);

    for (size_t y = y0; y < y1; y++)
        for (size_t x = 0; x < out->w; x++)
            memcpy(pixel(out, y, x), pixel(in, y / factor, x / factor), size);
}

static void add(const struct tensor *out, const struct tensor *a, const struct tensor *b, float slope, size_t y0,
                size_t y1)
{
    struct vec_format to = vec_format(out), from_a = vec_format(a), from_b = vec_format(b);
    size_t size = tensor_type_size(out->type), size_a = tensor_type_size(a->type), size_b = tensor_type_size(b->type);

    for (size_t y = y0; y < y1; y++)
        for (size_t x = 0; x < out->w; x++) {
            char *p = pixel(out, y, x), *pa = pixel(a, y, x), *pb = pixel(b, y, x);
            for (size_t k = 0; k < out->c; k += VEC_LANES) {
                vec v = vec_load_as(pa + k * size_a, &from_a) + vec_load_as(pb + k * size_b, &from_b);
                vec_store_as(p + k * size, vec_slope(v, slope), &to);
            }
        }
}

static void convert(const struct tensor *out, const struct tensor *in, size_t y0, size_t y1)
{
    struct vec_format to = vec_format(out), from = vec_format(in);
    size_t size = tensor_type_size(out->type), size_in = tensor_type_size(in->type);
    bool same = out->type == in->type && out->scale == in->scale && out->zero == in->zero;

    for (size_t y = y0; y < y1; y++)
        for (size_t x = 0; x < out->w; x++) {
            char *p = pixel(out, y, x), *q = pixel(in, y, x);
            if (same)
                memcpy(p, q, in->c * size);
            else
                for (size_t k = 0; k < in->c; k += VEC_LANES)
                    vec_store_as(p + k * size, vec_load_as(q + k * size_in, &from), &to);
        }
}

static void logistic(const struct tensor *t, size_t y0, size_t y1)
{
    for (size_t y = y0; y < y1; y++)
        for (size_t x = 0; x < t->w; x++) {
            float *p = (float *)(void *)pixel(t, y, x);
            for (size_t k = 0; k < t->c; k++)
                p[k] = 1 / (1 + expf(-p[k]));
        }
}

static void from_picture(const struct tensor *out, const float *picture, size_t y0, size_t y1)
{
    for (size_t c = 0; c < out->c; c++)
        for (size_t y = y0; y < y1; y++)
            for (size_t x = 0; x < out->w; x++)
                ((float *)(void *)pixel(out, y, x))[c] = picture[(c * out->h + y) * out->w + x];
}

/* Square pieces, so that both sides move in whole cache lines. */
#define PIECE 16

static void to_planes(float *out, const struct tensor *in)
{
    size_t n = in->h * in->w;
    float piece[PIECE][PIECE];
    struct vec_format from = vec_format(in);

    for (size_t i = 0; i < n; i += PIECE)
        for (size_t c = 0; c < in->c; c += PIECE) {
            size_t rows = min_size(PIECE, n - i), planes = min_size(PIECE, in->c - c);
            for (size_t r = 0; r < rows; r++) {
                const char *p = (const char *)in->data + ((i + r) * in->stride + c) * tensor_type_size(in->type);
                for (size_t k = 0; k < PIECE; k += VEC_LANES) {
                    vec v = vec_load_as(p + k * tensor_type_size(in->type), &from);
                    for (size_t j = 0; j < VEC_LANES; j++)
                        piece[k + j][r] = v[j];
                }
            }
            for (size_t k = 0; k < planes; k++)
                memcpy(out + (c + k) * n + i, piece[k], rows * sizeof(float));
        }
}

const struct layers SIMD_VARIANT(layers) = {maxpool, upsample, add, convert, logistic, from_picture, to_planes};
