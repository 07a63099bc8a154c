/* conv_u8_vnni.c - tiles of 8-bit values on AVX512_VNNI: vpdpbusd multiplies four unsigned values with four signed
 * weights for sixteen filters and adds the products to the sums. Zero points are in the starts. */
#include "conv_quant.h"

#include "base/simd.h"

#include <string.h>

#include "conv_quant_finish.h"

#define LANES     16
#define REGISTERS 4
#define PIXELS    6 /* in a tile: 24 sums, a value, weights from memory */

#define INLINE static inline __attribute__((always_inline))

INLINE __m512i spread(const char *four)
{
    int32_t bits;
    memcpy(&bits, four, sizeof bits);
    return _mm512_set1_epi32(bits);
}

/* A pixel's sums, through memory: AVX2 packs what AVX-512 has summed. */
static void finish(const struct quant_block *b, char *out, const char *add, const int32_t (*sums)[LANES])
{
    const struct quant_finish *f = b->finish;
    size_t bytes = LANES * tensor_type_size(f->out_type), add_bytes = LANES * tensor_type_size(f->add_type);

    for (size_t r = 0; r < b->n_registers; r++) {
        __m256i low = _mm256_load_si256((const __m256i *)(const void *)sums[r]);
        __m256i high = _mm256_load_si256((const __m256i *)(const void *)(sums[r] + 8));
        finish_16(out + r * bytes, add ? add + r * add_bytes : NULL, low, high, f, b->filter + LANES * r, f->out_type,
                  f->add_type, false);
    }
}

INLINE void tile(const struct quant_block *b, const char *const *windows, char *out, const char *add,
                 const int n_pixels, const int n_registers)
{
    const char *pixels[PIXELS];
    const __m512i *w = b->weights;
    __m512i sums[PIXELS][REGISTERS];

#pragma GCC unroll 6
    for (int p = 0; p < n_pixels; p++) {
        pixels[p] = windows[p];
#pragma GCC unroll 4
        for (int r = 0; r < n_registers; r++)
            sums[p][r] = _mm512_loadu_si512(b->starts + LANES * r);
    }
    for (size_t row = 0; row < b->n_rows; row++) {
        for (size_t i = 0; i < b->n_steps; i++, w += n_registers) {
#pragma GCC unroll 6
            for (int p = 0; p < n_pixels; p++) {
                __m512i x = spread(pixels[p] + 4 * i);
#pragma GCC unroll 4
                for (int r = 0; r < n_registers; r++)
                    sums[p][r] = _mm512_dpbusd_epi32(sums[p][r], x, _mm512_load_si512(w + r));
            }
        }
#pragma GCC unroll 6
        for (int p = 0; p < n_pixels; p++)
            pixels[p] += b->row_step;
    }
    int32_t results[PIXELS][REGISTERS][LANES] __attribute__((aligned(64)));
#pragma GCC unroll 6
    for (int p = 0; p < n_pixels; p++)
#pragma GCC unroll 4
        for (int r = 0; r < n_registers; r++)
            _mm512_store_si512(results[p][r], sums[p][r]);
    for (size_t p = 0; p < (size_t)n_pixels; p++)
        finish(b, out + p * b->out_step, add ? add + p * b->add_step : NULL, results[p]);
}

INLINE void tile_of(const struct quant_block *b, const char *const *windows, char *out, const char *add,
                    const int n_pixels)
{
    if (b->n_registers == 4)
        tile(b, windows, out, add, n_pixels, 4);
    else if (b->n_registers == 3)
        tile(b, windows, out, add, n_pixels, 3);
    else if (b->n_registers == 2)
        tile(b, windows, out, add, n_pixels, 2);
    else
        tile(b, windows, out, add, n_pixels, 1);
}

static void run(const struct quant_block *b)
{
    const char *line = b->pixels, *next = line, *windows[PIXELS], *add = b->add;
    char *out = b->out;

    for (size_t left = b->n_pixels, x = 0; left > 0;) {
        size_t n = left < PIXELS ? left : PIXELS;
        for (size_t p = 0; p < n; p++, x++) {
            if (x == b->width)
                x = 0, next = line += b->line_step;
            windows[p] = next;
            next += b->pixel_step;
        }
        if (n == PIXELS) {
            tile_of(b, windows, out, add, PIXELS);
        } else {
            for (size_t p = 0; p < n; p++)
                tile_of(b, windows + p, out + p * b->out_step, add ? add + p * b->add_step : NULL, 1);
        }
        left -= n;
        out += n * b->out_step;
        add += add ? n * b->add_step : 0;
    }
}

const struct quant_kernels quant_kernels_u8_vnni = {LANES, REGISTERS, false, run};
