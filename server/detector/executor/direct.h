/* direct.h - the inner loops of the direct convolution, one table for each instruction set (direct_tiles.c), and what
 * conv_direct.c hands to them.
 *
 * A tile is a few output pixels times a block of filters, held in registers over the whole depth: for each tap and each
 * input channel one broadcast per pixel, multiplied with the block's row of weights. Where a pixel's tap lies in the
 * input is a pointer, so neither columns nor padding are ever copied (Dukhan, "The Indirect Convolution Algorithm",
 * 2019).
 *
 * The same with pairs of channels in BF16, which take the place of one float: a cell is 32 bits, either way. */
#ifndef DETECTOR_DIRECT_H
#define DETECTOR_DIRECT_H

#include "executor/vector.h"

#define DIRECT_MAX_BLOCKS 4 /* vectors in a block of filters */
#define DIRECT_MAX_PIXELS 8 /* in a tile */

/* A tile's work on a part of the depth. */
struct direct_tile {
    const float *const *pixels; /* cells: tap t of pixel p starts at pixels[t * table_stride + p] */
    size_t table_stride;
    size_t n_taps, n_cells; /* this part: taps, and cells of each */
    const float *weights;   /* (n_taps, n_cells, block) cells */
    const float *bias;      /* (block,): the first part starts from it, */
    float *partial;         /* (pixels, block): the others from here, all but the last leave their sums here */
    bool first, last;
    const struct vec_epilogue *epilogue;
    char *out, *add;               /* of the tile's first pixel, at the block's first channel */
    size_t out_stride, add_stride; /* bytes from a pixel to the next */
    size_t n_pixels;               /* to be written */
};

struct direct_tiles {
    size_t lanes;    /* of a vector */
    size_t n_blocks; /* vectors in the widest block, at most DIRECT_MAX_BLOCKS */
    /* For a block of i + 1 vectors: */
    size_t pixels[DIRECT_MAX_BLOCKS];
    void (*run[DIRECT_MAX_BLOCKS])(const struct direct_tile *tile);
};

extern const struct direct_tiles direct_tiles_portable, direct_tiles_avx2, direct_tiles_avx512;

extern const struct direct_tiles direct_tiles_avx512bf16; /* of pairs */

/* Those for this CPU, as nn_kernel_isa() names it. */
const struct direct_tiles *direct_tiles_get(void);
const struct direct_tiles *direct_tiles_get_bf16(void); /* NULL: this CPU has none */

#endif
