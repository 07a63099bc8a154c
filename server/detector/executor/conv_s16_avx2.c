/* conv_s16_avx2.c - tiles of 16-bit values on AVX2: vpmaddwd multiplies a pair of channels for eight filters and adds
 * the two products; two of it a cycle make twice the multiplications of fused floats. */
#include "conv_quant.h"

#include "base/simd.h"

#include <string.h>

#include "conv_quant_finish.h"

#define PIXELS 6 /* in a tile: with two registers of filters 12 sums, 2 weights, a value and a product */

#define INLINE static inline __attribute__((always_inline))

INLINE __m256i spread(const char *pair)
{
    int32_t bits;
    memcpy(&bits, pair, sizeof bits);
    return _mm256_set1_epi32(bits);
}

/* The block's sums for n_pixels windows. */
INLINE void multiply(const struct quant_block *b, const char *const *windows, const int n_pixels, const int n_registers,
                     __m256i sums[PIXELS][2])
{
    const char *pixels[PIXELS];
    const __m256i *w = b->weights;

#pragma GCC unroll 6
    for (int p = 0; p < n_pixels; p++) {
        pixels[p] = windows[p];
        sums[p][0] = sums[p][1] = _mm256_setzero_si256();
    }
    for (size_t row = 0; row < b->n_rows; row++) {
        for (size_t i = 0; i < b->n_steps; i++, w += n_registers) {
            __m256i w0 = _mm256_load_si256(w), w1 = n_registers > 1 ? _mm256_load_si256(w + 1) : w0;
#pragma GCC unroll 6
            for (int p = 0; p < n_pixels; p++) {
                __m256i x = spread(pixels[p] + 4 * i);
                sums[p][0] = _mm256_add_epi32(sums[p][0], _mm256_madd_epi16(x, w0));
                if (n_registers > 1)
                    sums[p][1] = _mm256_add_epi32(sums[p][1], _mm256_madd_epi16(x, w1));
            }
        }
#pragma GCC unroll 6
        for (int p = 0; p < n_pixels; p++)
            pixels[p] += b->row_step;
    }
}

/* out_type, add_type: as in finish, constants in the common cases. */
INLINE void tile(const struct quant_block *b, const char *const *windows, char *out, const char *add,
                 const int n_pixels, const int n_registers, enum tensor_type out_type, enum tensor_type add_type)
{
    __m256i sums[PIXELS][2];

    multiply(b, windows, n_pixels, n_registers, sums);
#pragma GCC unroll 6
    for (int p = 0; p < n_pixels; p++) {
        char *to = out + (size_t)p * b->out_step;
        const char *from = add ? add + (size_t)p * b->add_step : NULL;
        if (n_registers > 1)
            finish_16(to, from, sums[p][0], sums[p][1], b->finish, b->filter, out_type, add_type, true);
        else
            finish_8(to, from, sums[p][0], b->finish, b->filter);
    }
}

static void tile_rest(const struct quant_block *b, const char *const *windows, char *out, const char *add, size_t n)
{
    enum tensor_type out_type = b->finish->out_type, add_type = b->finish->add_type;

    for (; n >= 2; n -= 2, windows += 2, out += 2 * b->out_step, add += add ? 2 * b->add_step : 0)
        if (b->n_registers > 1)
            tile(b, windows, out, add, 2, 2, out_type, add_type);
        else
            tile(b, windows, out, add, 2, 1, out_type, add_type);
    if (n > 0 && b->n_registers > 1)
        tile(b, windows, out, add, 1, 2, out_type, add_type);
    else if (n > 0)
        tile(b, windows, out, add, 1, 1, out_type, add_type);
}

/* All pixels of a block, tile by tile. */
INLINE void run_as(const struct quant_block *b, const int n_registers, const bool has_add, enum tensor_type out_type,
                   enum tensor_type add_type)
{
    const char *line = b->pixels, *next = line, *windows[PIXELS];
    char *out = b->out;
    const char *add = has_add ? b->add : NULL;
    size_t x = 0;

    for (size_t left = b->n_pixels; left > 0;) {
        size_t n = left < PIXELS ? left : PIXELS;
        if (x + PIXELS <= b->width) {
            for (size_t p = 0; p < PIXELS; p++)
                windows[p] = next + p * b->pixel_step;
            next += PIXELS * b->pixel_step;
            x += PIXELS;
        } else {
            for (size_t p = 0; p < n; p++) {
                if (x == b->width)
                    x = 0, next = line += b->line_step;
                windows[p] = next;
                next += b->pixel_step;
                x++;
            }
        }
        if (n == PIXELS)
            tile(b, windows, out, add, PIXELS, n_registers, out_type, add_type);
        else
            tile_rest(b, windows, out, add, n);
        left -= n;
        out += n * b->out_step;
        add += has_add ? n * b->add_step : 0;
    }
}

static void run(const struct quant_block *b)
{
    enum tensor_type out = b->finish->out_type, add = b->finish->add_type;

    if (b->n_registers == 1)
        run_as(b, 1, b->add != NULL, out, add);
    else if (out == TENSOR_S16 && !b->add)
        run_as(b, 2, false, TENSOR_S16, TENSOR_S16);
    else if (out == TENSOR_S16 && add == TENSOR_S16)
        run_as(b, 2, true, TENSOR_S16, TENSOR_S16);
    else
        run_as(b, 2, b->add != NULL, out, add);
}

const struct quant_kernels quant_kernels_s16_avx2 = {8, 2, true, run};

/* ---- depthwise ---- */

#define DEPTHWISE_PIXELS 4

void quant_interleave_avx2(int16_t *to, const int16_t *upper, const int16_t *lower, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)(upper + i));
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(lower + i));
        _mm256_storeu_si256((__m256i *)(void *)(to + 2 * i), _mm256_unpacklo_epi16(a, b));
        _mm256_storeu_si256((__m256i *)(void *)(to + 2 * i + 16), _mm256_unpackhi_epi16(a, b));
    }
}

INLINE void depthwise(const struct quant_depthwise *d, size_t x, const int n_pixels, const size_t size,
                      enum tensor_type out_type)
{
    const size_t step = d->stride * d->column;
    const int16_t *start = d->pairs + x * step;
    const __m256i *w = (const __m256i *)(const void *)d->weights;
    __m256i sums[DEPTHWISE_PIXELS][2];

#pragma GCC unroll 4
    for (int p = 0; p < n_pixels; p++)
        sums[p][0] = sums[p][1] = _mm256_setzero_si256();
    for (size_t row = 0; row < size; row += 2) {
        const int16_t *at = start + row * d->row;
        for (size_t column = 0; column < size; column++, at += d->column, w += 2) {
            __m256i w0 = _mm256_load_si256(w), w1 = _mm256_load_si256(w + 1);
#pragma GCC unroll 4
            for (int p = 0; p < n_pixels; p++) {
                const __m256i *from = (const __m256i *)(const void *)(at + (size_t)p * step);
                sums[p][0] = _mm256_add_epi32(sums[p][0], _mm256_madd_epi16(w0, _mm256_loadu_si256(from)));
                sums[p][1] = _mm256_add_epi32(sums[p][1], _mm256_madd_epi16(w1, _mm256_loadu_si256(from + 1)));
            }
        }
    }
#pragma GCC unroll 4
    for (int p = 0; p < n_pixels; p++) {
        const char *add = d->add ? d->add + (x + (size_t)p) * d->add_step : NULL;
        finish_16(d->out + (x + (size_t)p) * d->out_step, add, sums[p][0], sums[p][1], d->finish, d->filter, out_type,
                  d->finish->add_type, true);
    }
}

INLINE void depthwise_row(const struct quant_depthwise *d, size_t n_pixels, const size_t size,
                          enum tensor_type out_type)
{
    size_t x = 0;

    for (; x + DEPTHWISE_PIXELS <= n_pixels; x += DEPTHWISE_PIXELS)
        depthwise(d, x, DEPTHWISE_PIXELS, size, out_type);
    for (; x < n_pixels; x++)
        depthwise(d, x, 1, size, out_type);
}

void quant_depthwise_avx2(const struct quant_depthwise *d, size_t n_pixels)
{
    if (d->size == 3 && d->finish->out_type == TENSOR_S16)
        depthwise_row(d, n_pixels, 3, TENSOR_S16);
    else
        depthwise_row(d, n_pixels, d->size, d->finish->out_type);
}
