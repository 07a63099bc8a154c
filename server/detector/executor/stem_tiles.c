/* stem_tiles.c - see direct_tiles.c, whose tiles these are but for where a pixel's inputs lie. */
#include "stem.h"

#define TILE_LOOP _Pragma("GCC unroll 8") for

static inline __attribute__((always_inline)) void tile_run(const struct stem_tile *t, const int mr, const int nv,
                                                           const size_t stride)
{
    const size_t block = (size_t)nv * VEC_LANES;
    vec sums[STEM_MAX_PIXELS][STEM_MAX_BLOCKS];

    TILE_LOOP(int r = 0; r < mr; r++)
    TILE_LOOP(int v = 0; v < nv; v++)
    sums[r][v] = vec_load(t->bias + v * VEC_LANES);
    const float *w = t->weights;
    for (size_t row = 0; row < t->n_rows; row++) {
        const float *in = t->rows[row], *end = in + t->size;
        for (; in < end; in++, w += block) {
            vec b[STEM_MAX_BLOCKS];
            TILE_LOOP(int v = 0; v < nv; v++)
            b[v] = vec_load(w + v * VEC_LANES);
            TILE_LOOP(int r = 0; r < mr; r++)
            {
                vec a = vec_set(in[(size_t)r * stride]);
                TILE_LOOP(int v = 0; v < nv; v++)
                sums[r][v] += a * b[v];
            }
        }
    }
    if (t->epilogue->plain) {
        TILE_LOOP(int r = 0; r < mr; r++)
        if ((size_t)r < t->n_pixels)
            TILE_LOOP(int v = 0; v < nv; v++)
        vec_store((float *)(void *)(t->out + (size_t)r * t->out_stride) + v * VEC_LANES,
                  vec_slope(sums[r][v], t->epilogue->slope));
        return;
    }
    vec kept[STEM_MAX_PIXELS * STEM_MAX_BLOCKS];
    TILE_LOOP(int r = 0; r < mr; r++)
    TILE_LOOP(int v = 0; v < nv; v++)
    kept[r * nv + v] = sums[r][v];
    vec_finish_tile(t->out, t->out_stride, t->add, t->add_stride, kept, t->n_pixels, (size_t)nv, t->epilogue);
}

#define TILE(mr, nv)                                                                                                   \
    static void tile_##mr##x##nv(const struct stem_tile *t)                                                            \
    {                                                                                                                  \
        if (t->stride == 1)                                                                                            \
            tile_run(t, mr, nv, 1);                                                                                    \
        else if (t->stride == 2)                                                                                       \
            tile_run(t, mr, nv, 2);                                                                                    \
        else                                                                                                           \
            tile_run(t, mr, nv, t->stride);                                                                            \
    }

#if VEC_LANES == 16
TILE(8, 1)
TILE(8, 2)
TILE(8, 3)
TILE(6, 4)
const struct stem_tiles SIMD_VARIANT(stem_tiles) = {
    VEC_LANES, 4, {8, 8, 8, 6}, {tile_8x1, tile_8x2, tile_8x3, tile_6x4}};
#else
TILE(8, 1)
TILE(6, 2)
const struct stem_tiles SIMD_VARIANT(stem_tiles) = {VEC_LANES, 2, {8, 6}, {tile_8x1, tile_6x2}};
#endif
