/* direct_tiles.c - the register tiles of the direct convolution; built once for each instruction set. The shapes: at least
 * 8 sums in flight hide the latency of two multiply-add units; 6 x 2 vectors fill the 16 registers of AVX2, 6 x 4 and
 * 8 x 3 the 32 of AVX-512. */
#include "direct.h"

/* Constant MR and NV make every loop below disappear, and the arrays become registers. */
#define TILE_LOOP _Pragma("GCC unroll 8") for

/* A cell at p in every lane, and sums + its products with the cells of b. */
static inline vec cell_spread(const float *p)
{
#ifdef SIMD_BF16
    int32_t bits;
    memcpy(&bits, p, sizeof bits);
    return (vec)(bits - (vec_int){0});
#else
    return vec_set(*p);
#endif
}

static inline vec cell_multiply(vec sums, vec a, vec b)
{
#ifdef SIMD_BF16
    return (vec)_mm512_dpbf16_ps((__m512)sums, (__m512bh)a, (__m512bh)b);
#else
    return sums + a * b;
#endif
}

static inline __attribute__((always_inline)) void tile_run(const struct direct_tile *t, const int mr, const int nv)
{
    const size_t block = (size_t)nv * VEC_LANES;
    vec sums[DIRECT_MAX_PIXELS][DIRECT_MAX_BLOCKS];

    TILE_LOOP(int r = 0; r < mr; r++)
    TILE_LOOP(int v = 0; v < nv; v++)
    sums[r][v] = vec_load(t->first ? t->bias + v * VEC_LANES : t->partial + (size_t)r * block + (size_t)v * VEC_LANES);
    const float *w = t->weights;
    for (size_t tap = 0; tap < t->n_taps; tap++) {
        const float *in[DIRECT_MAX_PIXELS];
        TILE_LOOP(int r = 0; r < mr; r++)
        in[r] = t->pixels[tap * t->table_stride + (size_t)r];
        for (size_t k = 0; k < t->n_cells; k++, w += block) {
            vec b[DIRECT_MAX_BLOCKS];
            TILE_LOOP(int v = 0; v < nv; v++)
            b[v] = vec_load(w + v * VEC_LANES);
            TILE_LOOP(int r = 0; r < mr; r++)
            {
                vec a = cell_spread(in[r] + k);
                TILE_LOOP(int v = 0; v < nv; v++)
                sums[r][v] = cell_multiply(sums[r][v], a, b[v]);
            }
        }
    }
    if (!t->last) {
        TILE_LOOP(int r = 0; r < mr; r++)
        TILE_LOOP(int v = 0; v < nv; v++)
        vec_store(t->partial + (size_t)r * block + (size_t)v * VEC_LANES, sums[r][v]);
        return;
    }
    if (t->epilogue->plain) {
        TILE_LOOP(int r = 0; r < mr; r++)
        if ((size_t)r < t->n_pixels)
            TILE_LOOP(int v = 0; v < nv; v++)
        vec_store((float *)(void *)(t->out + (size_t)r * t->out_stride) + v * VEC_LANES,
                  vec_slope(sums[r][v], t->epilogue->slope));
        return;
    }
#ifdef SIMD_BF16
    if (t->epilogue->plain_bf16) {
        TILE_LOOP(int r = 0; r < mr; r++)
        if ((size_t)r < t->n_pixels)
            TILE_LOOP(int v = 0; v < nv; v++)
        vec_store_bf16(t->out + (size_t)r * t->out_stride + 2 * v * VEC_LANES,
                       vec_slope(sums[r][v], t->epilogue->slope));
        return;
    }
#endif
    vec kept[DIRECT_MAX_PIXELS * DIRECT_MAX_BLOCKS];
    TILE_LOOP(int r = 0; r < mr; r++)
    TILE_LOOP(int v = 0; v < nv; v++)
    kept[r * nv + v] = sums[r][v];
    vec_finish_tile(t->out, t->out_stride, t->add, t->add_stride, kept, t->n_pixels, (size_t)nv, t->epilogue);
}

#define TILE(mr, nv)                                                                                                   \
    static void tile_##mr##x##nv(const struct direct_tile *t)                                                          \
    {                                                                                                                  \
        tile_run(t, mr, nv);                                                                                           \
    }

#if VEC_LANES == 16
TILE(8, 1)
TILE(8, 2)
TILE(8, 3)
TILE(6, 4)
const struct direct_tiles SIMD_VARIANT(direct_tiles) = {
    VEC_LANES, 4, {8, 8, 8, 6}, {tile_8x1, tile_8x2, tile_8x3, tile_6x4}};
#else
TILE(8, 1)
TILE(6, 2)
const struct direct_tiles SIMD_VARIANT(direct_tiles) = {VEC_LANES, 2, {8, 6}, {tile_8x1, tile_6x2}};
#endif
