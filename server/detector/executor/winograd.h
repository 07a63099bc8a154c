/* winograd.h - 3 x 3 convolutions with stride 1 by Winograd's minimal filtering: a tile of t x t outputs costs
 * (t + 2)^2 multiplications a channel instead of 9 t^2, 2.25 times fewer for t = 2 and 4 times fewer for t = 4.
 *
 * A layer runs as: transform the tiles of the input, (t + 2)^2 matrix products (tiles, c) x (c, k) with transformed
 * weights, transform the sums back. The weights take (t + 2)^2 / 9 of their plain size. */
#ifndef DETECTOR_WINOGRAD_H
#define DETECTOR_WINOGRAD_H

#include "executor/conv.h"

/* Layers whose numbers of channels are multiples of WINOGRAD_ALIGN (with AVX-512 and integers, of 32 for the
 * input). The integer ones read TENSOR_S16: the
 * transformed input is rounded once, to 16 bits; the weights are quantised for each position and output channel to as
 * many bits as the 32-bit sums allow; from the sums on all is floats. */
extern const struct conv_method conv_winograd2, conv_winograd4, conv_winograd2_s16, conv_winograd4_s16;

/* ---- private: what winograd.c asks of an instruction set ---- */

#define WINOGRAD_ALIGN     16
#define WINOGRAD_DEPTH     256 /* channels that one integer sum covers */
#define WINOGRAD_TILE      4   /* the largest */
#define WINOGRAD_POSITIONS ((WINOGRAD_TILE + 2) * (WINOGRAD_TILE + 2))

/* The tiles that go through together; one position's part of their transformed input and sums. */
struct winograd_block {
    size_t n_tiles, c, k;             /* k: a multiple of the panel's columns */
    size_t input_stride, sums_stride; /* elements from a tile to the next */
};

/* Matrix products. Weights are packed in panels of n_cols output channels: (k / n_cols, c, n_cols) floats or
 * (k / n_cols, c / 2, n_cols, 2) integers. */
struct winograd_products {
    size_t n_cols;
    /* sums (n_tiles, k) = input (n_tiles, c) weights; integers times scale (k,) */
    void (*floats)(float *sums, const struct winograd_block *b, const void *input, const void *weights,
                   const float *scale);
    void (*shorts)(float *sums, const struct winograd_block *b, const void *input, const void *weights,
                   const float *scale);
};

/* (t + 2)^2 pixels as the convolution sees them. */
struct winograd_patch {
    const void *data;
    size_t row, pixel; /* elements from a row to the next, and from a pixel to the next */
};

/* Where a tile's outputs go, and how many rows and columns of it lie inside; strides in elements. */
struct winograd_target {
    void *out;
    const void *add; /* NULL without a residual */
    size_t out_row, out_pixel, add_row, add_pixel, h, w;
    const float *bias;            /* (k,) */
    const struct conv_spec *spec; /* what else the outputs go through */
};

/* The transforms for one size of tiles. position: elements from one position's part to the next. */
struct winograd_transforms {
    /* to[p][j] = weights of output channel j, n_cols of them; weights + j * stride is a filter (3, 3) */
    void (*filters)(float *to, size_t position, const float *weights, size_t stride);
    /* to (c / 2, n_cols, 2) = u (c, n_cols) in units of 1 / units, as many as inputs up to largest allow; scale (n_cols,)
     * = unit / units */
    void (*quantise)(int16_t *to, float *scale, const float *u, size_t c, float largest, float unit);
    /* scale (positions,): of the integers, before they are rounded */
    void (*floats)(void *to, size_t position, const struct winograd_patch *patch, const float *scale, size_t c);
    void (*shorts)(void *to, size_t position, const struct winograd_patch *patch, const float *scale, size_t c);
    void (*outputs)(const float *sums, size_t position, const struct winograd_target *target, size_t k);
};

/* Tile sizes 2 and 4. */
struct winograd_transform_set {
    struct winograd_transforms tile2, tile4;
};

extern const struct winograd_products winograd_products_portable, winograd_products_avx2, winograd_products_avx512;
extern const struct winograd_transform_set winograd_transforms_portable, winograd_transforms_avx2,
    winograd_transforms_avx512;

/* The points for tiles of 4 beside 0 and infinity: these and their negatives. */
#define WINOGRAD_P 0.70710678118654752f
#define WINOGRAD_Q 1.41421356237309505f

#endif
