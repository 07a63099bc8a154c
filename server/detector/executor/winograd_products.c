/* winograd_products.c - the matrix products of a Winograd convolution: for each position of a tile, (tiles, c) times
 * (c, k). Compiled once for each instruction set.
 *
 * WINOGRAD_ROWS x WINOGRAD_COLS sums stay in registers. A stretch of WINOGRAD_DEPTH channels of a panel of weights fits into the first-level
 * cache and is used for all tiles of the block before the next is fetched. */
#include "winograd_simd.h"

/* sums (n_rows, WINOGRAD_COLS) = or += v (n_rows, c) u (c, WINOGRAD_COLS). n_rows is a constant wherever this is inlined. */
static inline __attribute__((always_inline)) void float_rows(const size_t n_rows, float *sums,
                                                             const struct winograd_block *b, const float *v,
                                                             const float *u, size_t c, bool first)
{
    vec acc[WINOGRAD_ROWS][2];

    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = 0; i < 2; i++)
            acc[r][i] = first ? (vec){0} : vec_load(sums + r * b->sums_stride + i * VEC_LANES);
#pragma GCC unroll 2
    for (size_t k = 0; k < c; k++, u += WINOGRAD_COLS) {
        vec left = vec_load(u), right = vec_load(u + VEC_LANES);
#pragma GCC unroll 12
        for (size_t r = 0; r < n_rows; r++) {
            vec x = vec_set(v[r * b->input_stride + k]);
            acc[r][0] += x * left;
            acc[r][1] += x * right;
        }
    }
    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = 0; i < 2; i++)
            vec_store(sums + r * b->sums_stride + i * VEC_LANES, acc[r][i]);
}

/* The same of integers, two channels at a time; scale (WINOGRAD_COLS,) makes floats of the sums. */
static inline __attribute__((always_inline)) void short_rows(const size_t n_rows, float *sums,
                                                             const struct winograd_block *b, const int16_t *v,
                                                             const int16_t *u, size_t c, const float *scale, bool first)
{
    vec_int acc[WINOGRAD_ROWS][2] = {0};

    for (size_t k = 0; k < c; k += 2, u += 2 * WINOGRAD_COLS) {
        vec_int left = load_pairs(u), right = load_pairs(u + 2 * VEC_LANES);
#pragma GCC unroll 12
        for (size_t r = 0; r < n_rows; r++) {
            int32_t pair;
            memcpy(&pair, v + r * b->input_stride + k, sizeof pair);
            vec_int x = pair - (vec_int){0};
            acc[r][0] = multiply_add_pairs(acc[r][0], x, left);
            acc[r][1] = multiply_add_pairs(acc[r][1], x, right);
        }
    }
    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = 0; i < 2; i++) {
            float *to = sums + r * b->sums_stride + i * VEC_LANES;
            vec sum = __builtin_convertvector(acc[r][i], vec) * vec_load(scale + i * VEC_LANES);
            vec_store(to, first ? sum : sum + vec_load(to));
        }
}

/* Calls rows() with the constant that n_rows is. */
#define WITH_CONSTANT(n_rows, rows, ...)                                                                               \
    do {                                                                                                               \
        switch (n_rows) {                                                                                              \
            CASE(1, rows, __VA_ARGS__);                                                                                \
            CASE(2, rows, __VA_ARGS__);                                                                                \
            CASE(3, rows, __VA_ARGS__);                                                                                \
            CASE(4, rows, __VA_ARGS__);                                                                                \
            CASE(5, rows, __VA_ARGS__);                                                                                \
            CASE(6, rows, __VA_ARGS__);                                                                                \
            MORE_CASES(rows, __VA_ARGS__)                                                                              \
        }                                                                                                              \
    } while (0)
#define CASE(n, rows, ...)                                                                                             \
    case n:                                                                                                            \
        rows(n, __VA_ARGS__);                                                                                          \
        break
#if VEC_LANES == 16
#define MORE_CASES(rows, ...)                                                                                          \
    CASE(7, rows, __VA_ARGS__);                                                                                        \
    CASE(8, rows, __VA_ARGS__);                                                                                        \
    CASE(9, rows, __VA_ARGS__);                                                                                        \
    CASE(10, rows, __VA_ARGS__);                                                                                       \
    CASE(11, rows, __VA_ARGS__);                                                                                       \
    CASE(12, rows, __VA_ARGS__);
#else
#define MORE_CASES(rows, ...)
#endif

/* The tiles of a block in groups of nearly equal size, so that no small one is left over. */
static size_t group_start(size_t group, size_t n_groups, size_t n_tiles)
{
    return group * n_tiles / n_groups;
}

static size_t group_count(size_t n_tiles)
{
    return (n_tiles + WINOGRAD_ROWS - 1) / WINOGRAD_ROWS;
}

static void float_panel(float *sums, const struct winograd_block *b, const float *v, const float *u, size_t c,
                        bool first)
{
    size_t n_groups = group_count(b->n_tiles);

    for (size_t g = 0; g < n_groups; g++) {
        size_t start = group_start(g, n_groups, b->n_tiles), n = group_start(g + 1, n_groups, b->n_tiles) - start;
        float *to = sums + start * b->sums_stride;
        WITH_CONSTANT(n, float_rows, to, b, v + start * b->input_stride, u, c, first);
    }
}

static void short_panel(float *sums, const struct winograd_block *b, const int16_t *v, const int16_t *u, size_t c,
                        const float *scale, bool first)
{
    size_t n_groups = group_count(b->n_tiles);

    for (size_t g = 0; g < n_groups; g++) {
        size_t start = group_start(g, n_groups, b->n_tiles), n = group_start(g + 1, n_groups, b->n_tiles) - start;
        float *to = sums + start * b->sums_stride;
        WITH_CONSTANT(n, short_rows, to, b, v + start * b->input_stride, u, c, scale, first);
    }
}

static void multiply_floats(float *sums, const struct winograd_block *b, const void *input, const void *weights,
                            const float *scale)
{
    const float *v = input, *u = weights;
    (void)scale;

    for (size_t k = 0; k < b->k; k += WINOGRAD_COLS, u += b->c * WINOGRAD_COLS)
        for (size_t c = 0; c < b->c; c += WINOGRAD_DEPTH) {
            size_t depth = b->c - c < WINOGRAD_DEPTH ? b->c - c : WINOGRAD_DEPTH;
            float_panel(sums + k, b, v + c, u + c * WINOGRAD_COLS, depth, c == 0);
        }
}

static void multiply_shorts(float *sums, const struct winograd_block *b, const void *input, const void *weights,
                            const float *scale)
{
    const int16_t *v = input, *u = weights;

    for (size_t k = 0; k < b->k; k += WINOGRAD_COLS, u += b->c * WINOGRAD_COLS)
        for (size_t c = 0; c < b->c; c += WINOGRAD_DEPTH) {
            size_t depth = b->c - c < WINOGRAD_DEPTH ? b->c - c : WINOGRAD_DEPTH;
            short_panel(sums + k, b, v + c, u + c * WINOGRAD_COLS, depth, scale + k, c == 0);
        }
}

const struct winograd_products SIMD_VARIANT(winograd_products) = {WINOGRAD_COLS, multiply_floats, multiply_shorts};
