/* stem.h - the register tiles of the first layer, which reads the picture's planes; one table for each instruction set
 * (stem_tiles.c). */
#ifndef DETECTOR_STEM_H
#define DETECTOR_STEM_H

#include "executor/vector.h"

#define STEM_MAX_ROWS   28 /* channels times size */
#define STEM_MAX_BLOCKS 4
#define STEM_MAX_PIXELS 8
#define STEM_MAX_STRIDE 4

/* Neighbouring output pixels of a row times a block of filters. */
struct stem_tile {
    const float *rows[STEM_MAX_ROWS]; /* channel by channel, the rows of the window; pixel p's first tap in each is at
                                         p * stride */
    size_t n_rows, size, stride;
    const float *weights; /* (n_rows, size, block) */
    const float *bias;    /* (block,) */
    const struct vec_epilogue *epilogue;
    char *out, *add;
    size_t out_stride, add_stride; /* bytes from a pixel to the next */
    size_t n_pixels;               /* to be written */
};

struct stem_tiles {
    size_t lanes, n_blocks;
    size_t pixels[STEM_MAX_BLOCKS]; /* of a tile with i + 1 vectors */
    void (*run[STEM_MAX_BLOCKS])(const struct stem_tile *tile);
};

extern const struct stem_tiles stem_tiles_portable, stem_tiles_avx2, stem_tiles_avx512;

const struct stem_tiles *stem_tiles_get(void);

#endif
