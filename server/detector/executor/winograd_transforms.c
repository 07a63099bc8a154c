/* winograd_transforms.c - into Winograd's domain and back, one tile at a time, a vector of channels at a time. Compiled
 * once for each instruction set.
 *
 * Each transform is one of 1-D pieces, down the columns and then along the rows. For tiles of 2 the points are 0, 1, -1
 * and infinity. For tiles of 4 they are 0, the roots of 1/2 and of 2 with both signs, and infinity: against the usual
 * 0, 1, -1, 2, -2 that makes rounding errors half as large on average, and a quarter at the tile's far corner. */
#include "winograd_simd.h"

#define MAX_SIDE (WINOGRAD_TILE + 2)

#define INLINE static inline __attribute__((always_inline))

/* ---- one direction ---- */

/* to = B' d */
INLINE void input_side(vec *to, size_t step, const vec *d, const size_t tile)
{
    if (tile == 2) {
        to[0] = d[0] - d[2];
        to[step] = d[1] + d[2];
        to[2 * step] = d[2] - d[1];
        to[3 * step] = d[1] - d[3];
        return;
    }
    vec even = d[4] - 2 * d[2], odd = WINOGRAD_P * (d[3] - 2 * d[1]);
    vec even2 = d[4] - 0.5f * d[2], odd2 = WINOGRAD_Q * (d[3] - 0.5f * d[1]);
    to[0] = d[0] - 2.5f * d[2] + d[4];
    to[step] = even + odd;
    to[2 * step] = even - odd;
    to[3 * step] = even2 + odd2;
    to[4 * step] = even2 - odd2;
    to[5 * step] = d[1] - 2.5f * d[3] + d[5];
}

/* to = A' m */
INLINE void output_side(vec *to, size_t step, const vec *m, const size_t tile)
{
    vec sum = m[1] + m[2], difference = m[1] - m[2];

    if (tile == 2) {
        to[0] = m[0] + sum;
        to[step] = difference - m[3];
        return;
    }
    vec sum2 = m[3] + m[4], difference2 = m[3] - m[4];
    to[0] = m[0] + sum + sum2;
    to[step] = WINOGRAD_P * difference + WINOGRAD_Q * difference2;
    to[2 * step] = 0.5f * sum + 2 * sum2;
    to[3 * step] = 0.5f * WINOGRAD_P * difference + 2 * WINOGRAD_Q * difference2 + m[5];
}

/* to = G g */
INLINE void filter_side(vec *to, size_t step, const vec *g, const size_t tile)
{
    if (tile == 2) {
        to[0] = g[0];
        to[step] = (g[0] + g[1] + g[2]) * 0.5f;
        to[2 * step] = (g[0] - g[1] + g[2]) * 0.5f;
        to[3 * step] = g[2];
        return;
    }
    vec even = (g[0] + 0.5f * g[2]) * (-2.0f / 3), odd = (WINOGRAD_P * -2 / 3) * g[1];
    vec even2 = (g[0] + 2 * g[2]) * (1.0f / 6), odd2 = (WINOGRAD_Q / 6) * g[1];
    to[0] = g[0];
    to[step] = even + odd;
    to[2 * step] = even - odd;
    to[3 * step] = even2 + odd2;
    to[4 * step] = even2 - odd2;
    to[5 * step] = g[2];
}

/* ---- filters ---- */

INLINE void filters(float *to, size_t position, const float *weights, size_t stride, const size_t tile)
{
    const size_t side = tile + 2;

    for (size_t j = 0; j < WINOGRAD_COLS; j += VEC_LANES) {
        float taps[9][VEC_LANES];
        vec half[MAX_SIDE * 3], u[MAX_SIDE];
        for (size_t i = 0; i < 9; i++)
            for (size_t lane = 0; lane < VEC_LANES; lane++)
                taps[i][lane] = weights[(j + lane) * stride + i];
        for (size_t x = 0; x < 3; x++) {
            vec g[3] = {vec_load(taps[x]), vec_load(taps[3 + x]), vec_load(taps[6 + x])};
            filter_side(half + x, 3, g, tile);
        }
        for (size_t y = 0; y < side; y++) {
            filter_side(u, 1, half + 3 * y, tile);
            for (size_t x = 0; x < side; x++)
                vec_store(to + (y * side + x) * position + j, u[x]);
        }
    }
}

/* How many units make 1 for VEC_LANES columns of u (c, WINOGRAD_COLS), so that no quantised weight leaves 16 bits and no sum over
 * WINOGRAD_DEPTH channels, of any inputs up to largest, leaves 32. */
static vec units_per_one(const float *u, size_t c, float largest)
{
    float room = (float)INT32_MAX / largest - WINOGRAD_DEPTH; /* less what rounding may add, amply */
    vec max = vec_set(1e-20f), max_sum = vec_set(1e-20f);

    for (size_t first = 0; first < c; first += WINOGRAD_DEPTH) {
        size_t end = c - first < WINOGRAD_DEPTH ? c : first + WINOGRAD_DEPTH;
        vec sum = {0};
        for (size_t i = first; i < end; i++) {
            vec magnitude = vec_max(vec_load(u + i * WINOGRAD_COLS), -vec_load(u + i * WINOGRAD_COLS));
            max = vec_max(max, magnitude);
            sum += magnitude;
        }
        max_sum = vec_max(max_sum, sum);
    }
    return -vec_max(-(32766 / max), -(room / max_sum));
}

static void quantise(int16_t *to, float *scale, const float *u, size_t c, float largest, float unit)
{
    for (size_t j = 0; j < WINOGRAD_COLS; j += VEC_LANES) {
        vec units = units_per_one(u + j, c, largest);
        vec_store(scale + j, unit / units);
        for (size_t i = 0; i < c; i += 2) {
            const float *row = u + i * WINOGRAD_COLS + j;
            store_pairs(to + i * WINOGRAD_COLS + 2 * j, vec_load(row) * units, vec_load(row + WINOGRAD_COLS) * units);
        }
    }
}

/* ---- input ---- */

INLINE void floats(float *to, size_t position, const struct winograd_patch *patch, size_t c, const size_t tile)
{
    const size_t side = tile + 2;

    for (size_t i = 0; i < c; i += VEC_LANES) {
        const float *from = (const float *)patch->data + i;
        vec half[MAX_SIDE * MAX_SIDE], v[MAX_SIDE];
#pragma GCC unroll 6
        for (size_t x = 0; x < side; x++) {
            vec d[MAX_SIDE];
#pragma GCC unroll 6
            for (size_t y = 0; y < side; y++)
                d[y] = vec_load(from + y * patch->row + x * patch->pixel);
            input_side(half + x, side, d, tile);
        }
#pragma GCC unroll 6
        for (size_t y = 0; y < side; y++) {
            input_side(v, 1, half + y * side, tile);
#pragma GCC unroll 6
            for (size_t x = 0; x < side; x++)
                vec_store(to + (y * side + x) * position + i, v[x]);
        }
    }
}

/* Integers are transformed as floats, which loses nothing, and rounded once, at the end. Those in the lower and the upper
 * halves of each lane go separately. */
INLINE void shorts(int16_t *to, size_t position, const struct winograd_patch *patch, const float *scale, size_t c,
                   const size_t tile)
{
    const size_t side = tile + 2;

    for (size_t i = 0; i < c; i += 2 * VEC_LANES) {
        const int16_t *from = (const int16_t *)patch->data + i;
        vec half[2][MAX_SIDE * MAX_SIDE], v[2][MAX_SIDE];
#pragma GCC unroll 6
        for (size_t x = 0; x < side; x++) {
            vec d[2][MAX_SIDE];
#pragma GCC unroll 6
            for (size_t y = 0; y < side; y++) {
                vec_int pairs = load_pairs(from + y * patch->row + x * patch->pixel);
                d[0][y] = __builtin_convertvector(pairs << 16 >> 16, vec);
                d[1][y] = __builtin_convertvector(pairs >> 16, vec);
            }
            input_side(half[0] + x, side, d[0], tile);
            input_side(half[1] + x, side, d[1], tile);
        }
#pragma GCC unroll 6
        for (size_t y = 0; y < side; y++) {
            input_side(v[0], 1, half[0] + y * side, tile);
            input_side(v[1], 1, half[1] + y * side, tile);
#pragma GCC unroll 6
            for (size_t x = 0; x < side; x++) {
                size_t p = y * side + x;
                store_pairs(to + p * position + i, v[0][x] * scale[p], v[1][x] * scale[p]);
            }
        }
    }
}

/* ---- output ---- */

/* One vector of channels: a row of the tile at a time, so that the results go straight from registers to out. */
INLINE void outputs_of_channels(const float *sums, size_t position, const struct winograd_target *t, size_t channel,
                                const struct vec_epilogue *e, const size_t tile)
{
    const size_t side = tile + 2, out_size = tensor_type_size(e->out.type), add_size = tensor_type_size(e->add.type);
    char *out = (char *)t->out + channel * out_size;
    const char *add = (const char *)t->add + channel * add_size;
    vec half[WINOGRAD_TILE * MAX_SIDE], bias = vec_load(t->bias + channel);

#pragma GCC unroll 6
    for (size_t x = 0; x < side; x++) {
        vec m[MAX_SIDE];
#pragma GCC unroll 6
        for (size_t r = 0; r < side; r++)
            m[r] = vec_load(sums + (r * side + x) * position + channel);
        output_side(half + x, side, m, tile);
    }
#pragma GCC unroll 4
    for (size_t r = 0; r < tile; r++, out += t->out_row * out_size, add += t->add_row * add_size) {
        vec y[WINOGRAD_TILE];
        if (r == t->h)
            return;
        output_side(y, 1, half + r * side, tile);
#pragma GCC unroll 4
        for (size_t x = 0; x < tile; x++)
            if (x < t->w)
                vec_finish(out + x * t->out_pixel * out_size, add + x * t->add_pixel * add_size, y[x] + bias, e);
    }
}

/* type and has_add: what e says, as constants where speed counts. */
INLINE void outputs_of_type(const float *sums, size_t position, const struct winograd_target *t, size_t k,
                            const enum tensor_type type, const bool has_add, const size_t tile)
{
    struct vec_epilogue e = vec_epilogue(t->spec);

    e.out.type = type;
    e.has_add = has_add;
    for (size_t channel = 0; channel < k; channel += VEC_LANES)
        outputs_of_channels(sums, position, t, channel, &e, tile);
}

INLINE void outputs(const float *sums, size_t position, const struct winograd_target *t, size_t k, const size_t tile)
{
    enum tensor_type type = t->spec->out.type;

    if (t->spec->has_add || (type != TENSOR_F32 && type != TENSOR_S16))
        outputs_of_type(sums, position, t, k, type, t->spec->has_add, tile);
    else if (type == TENSOR_F32)
        outputs_of_type(sums, position, t, k, TENSOR_F32, false, tile);
    else
        outputs_of_type(sums, position, t, k, TENSOR_S16, false, tile);
}

/* ---- the two sizes ---- */

#define DEFINE_TILE(tile)                                                                                              \
    static void filters##tile(float *to, size_t position, const float *weights, size_t stride)                         \
    {                                                                                                                  \
        filters(to, position, weights, stride, tile);                                                                  \
    }                                                                                                                  \
    static void floats##tile(void *to, size_t position, const struct winograd_patch *patch, const float *scale,        \
                             size_t c)                                                                                 \
    {                                                                                                                  \
        (void)scale;                                                                                                   \
        floats(to, position, patch, c, tile);                                                                          \
    }                                                                                                                  \
    static void shorts##tile(void *to, size_t position, const struct winograd_patch *patch, const float *scale,        \
                             size_t c)                                                                                 \
    {                                                                                                                  \
        shorts(to, position, patch, scale, c, tile);                                                                   \
    }                                                                                                                  \
    static void outputs##tile(const float *sums, size_t position, const struct winograd_target *target, size_t k)      \
    {                                                                                                                  \
        outputs(sums, position, target, k, tile);                                                                      \
    }
DEFINE_TILE(2)
DEFINE_TILE(4)

const struct winograd_transform_set SIMD_VARIANT(winograd_transforms) = {
    {filters2, quantise, floats2, shorts2, outputs2},
    {filters4, quantise, floats4, shorts4, outputs4},
};
