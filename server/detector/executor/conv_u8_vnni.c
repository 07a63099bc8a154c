/* conv_u8_vnni.c - tiles of 8-bit values on AVX512_VNNI, and on AVX_VNNI, which has the same in 256 bits: vpdpbusd
 * multiplies four unsigned values with four signed weights for each filter of a register and adds the products to the
 * sums. Zero points are in the starts. */
#include "conv_quant.h"

#include "base/simd.h"

#include <string.h>

#include "conv_quant_finish.h"

#define PIXELS 6 /* in a tile: of the registers 24 of 32, or 12 of 16, are sums; a value, weights from memory */
#define LANES  (SIMD_BYTES / 4)

#define INLINE static inline __attribute__((always_inline))

#if SIMD_BYTES == 64
#define REGISTERS 4
typedef __m512i sums_t;
#define SPREAD(x)         _mm512_set1_epi32(x)
#define LOAD(p)           _mm512_loadu_si512(p)
#define STORE(p, v)       _mm512_store_si512(p, v)
#define MULTIPLY(s, x, w) _mm512_dpbusd_epi32(s, x, w)
#else
#define REGISTERS         2
typedef __m256i sums_t;
#define SPREAD(x)         _mm256_set1_epi32(x)
#define LOAD(p)           _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define STORE(p, v)       _mm256_store_si256((__m256i *)(void *)(p), v)
#define MULTIPLY(s, x, w) _mm256_dpbusd_avx_epi32(s, x, w)
#endif

INLINE sums_t spread(const char *four)
{
    int32_t bits;
    memcpy(&bits, four, sizeof bits);
    return SPREAD(bits);
}

/* A pixel's sums, through memory: AVX2 packs what AVX-512 has summed. */
static void finish(const struct quant_block *b, char *out, const char *add, const int32_t *sums)
{
    const struct quant_finish *f = b->finish;
    size_t size = tensor_type_size(f->out_type), add_size = tensor_type_size(f->add_type);
    size_t n = b->n_registers * LANES, i = 0;

    for (; i + 16 <= n; i += 16) {
        __m256i low = _mm256_load_si256((const __m256i *)(const void *)(sums + i));
        __m256i high = _mm256_load_si256((const __m256i *)(const void *)(sums + i + 8));
        finish_16(out + i * size, add ? add + i * add_size : NULL, low, high, f, b->filter + i, f->out_type,
                  f->add_type, false);
    }
    if (i < n)
        finish_8(out + i * size, add ? add + i * add_size : NULL,
                 _mm256_load_si256((const __m256i *)(const void *)(sums + i)), f, b->filter + i);
}

INLINE void tile(const struct quant_block *b, const char *const *windows, char *out, const char *add,
                 const int n_pixels, const int n_registers)
{
    const char *pixels[PIXELS];
    const sums_t *w = b->weights;
    sums_t sums[PIXELS][REGISTERS];

#pragma GCC unroll 6
    for (int p = 0; p < n_pixels; p++) {
        pixels[p] = windows[p];
#pragma GCC unroll 4
        for (int r = 0; r < n_registers; r++)
            sums[p][r] = LOAD(b->starts + LANES * r);
    }
    for (size_t row = 0; row < b->n_rows; row++) {
        for (size_t i = 0; i < b->n_steps; i++, w += n_registers) {
#pragma GCC unroll 6
            for (int p = 0; p < n_pixels; p++) {
                sums_t x = spread(pixels[p] + 4 * i);
#pragma GCC unroll 4
                for (int r = 0; r < n_registers; r++)
                    sums[p][r] = MULTIPLY(sums[p][r], x, LOAD(w + r));
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
            STORE(results[p][r], sums[p][r]);
    for (size_t p = 0; p < (size_t)n_pixels; p++)
        finish(b, out + p * b->out_step, add ? add + p * b->add_step : NULL, results[p][0]);
}

INLINE void tile_of(const struct quant_block *b, const char *const *windows, char *out, const char *add,
                    const int n_pixels)
{
    if (REGISTERS == 4 && b->n_registers == 4)
        tile(b, windows, out, add, n_pixels, 4);
    else if (REGISTERS == 4 && b->n_registers == 3)
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

const struct quant_kernels SIMD_VARIANT(quant_kernels_u8) = {LANES, REGISTERS, false, run};
