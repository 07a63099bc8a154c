/* tensor.h - a view of one layer's activations as the executor keeps them: channels last (h, w, c), so that a pixel's
 * channels lie side by side. Concatenation then costs nothing: the producers write into slices of one wide tensor.
 * A view owns nothing. */
#ifndef DETECTOR_TENSOR_H
#define DETECTOR_TENSOR_H

#include "base/base.h"

#include <string.h>

/* Every pixel starts at a multiple of so many elements, in slices, too, and the elements from c up to the next such
 * multiple may be read and written freely: nobody relies on what they hold. */
#define TENSOR_ALIGN 16

enum tensor_type {
    TENSOR_F32,
    TENSOR_BF16,    /* the upper half of a float */
    TENSOR_S16,     /* scale * q, |q| <= TENSOR_S16_MAX: for CPUs that multiply pairs of 16-bit integers (AVX2) */
    TENSOR_U8,      /* scale * (q - zero), 0 <= q <= 255: for CPUs that multiply groups of four bytes (VNNI) */
    TENSOR_PICTURE, /* the one that is not channels last: the network's input, floats (c, h, w) without gaps */
};

#define TENSOR_S16_MAX 2047 /* 12 bits: leaves the sums of a convolution room in 32 */

struct tensor {
    void *data; /* aligned to TENSOR_ALIGN elements */
    size_t h, w, c;
    size_t stride; /* elements from a pixel to the next, >= c; rows follow one another without a gap */
    size_t ring;   /* 0, or only so many rows are kept: row y lies where row y % ring does (see conv.h, run_rows) */
    enum tensor_type type;
    float scale; /* quantised types only */
    int32_t zero;
};

static inline size_t tensor_type_size(enum tensor_type type)
{
    static const size_t sizes[] = {
        [TENSOR_F32] = 4, [TENSOR_BF16] = 2, [TENSOR_S16] = 2, [TENSOR_U8] = 1, [TENSOR_PICTURE] = 4};
    return sizes[type];
}

/* To the nearest, ties to even. */
static inline uint16_t tensor_bf16(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float tensor_from_bf16(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* Where row y starts. Not for pictures. */
static inline char *tensor_row(const struct tensor *t, size_t y)
{
    return (char *)t->data + (t->ring ? y % t->ring : y) * t->w * t->stride * tensor_type_size(t->type);
}

#endif
