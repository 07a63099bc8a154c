/* tensor.h - a view of one layer's activations as the executor keeps them: channels last (h, w, c), so that a pixel's
 * channels lie side by side. Concatenation then costs nothing: the producers write into slices of one wide tensor.
 * A view owns nothing. */
#ifndef DETECTOR_TENSOR_H
#define DETECTOR_TENSOR_H

#include "base/base.h"

/* Every pixel starts at a multiple of so many elements, and the elements between c and the next pixel may be read and
 * written freely (only not in a slice of a wider tensor, whose neighbours are other channels). */
#define TENSOR_ALIGN 16

enum tensor_type {
    TENSOR_F32,
    TENSOR_BF16, /* the upper half of a float */
    TENSOR_S16,  /* scale * q, |q| <= TENSOR_S16_MAX: for CPUs that multiply pairs of 16-bit integers (AVX2) */
    TENSOR_U8,   /* scale * (q - zero), 0 <= q <= 255: for CPUs that multiply groups of four bytes (VNNI) */
};

#define TENSOR_S16_MAX 2047 /* 12 bits: leaves the sums of a convolution room in 32 */

struct tensor {
    void *data; /* 64-byte aligned, but for slices */
    size_t h, w, c;
    size_t stride; /* elements from a pixel to the next, >= c; rows follow one another without a gap */
    enum tensor_type type;
    float scale; /* quantised types only */
    int32_t zero;
};

static inline size_t tensor_type_size(enum tensor_type type)
{
    static const size_t sizes[] = {[TENSOR_F32] = 4, [TENSOR_BF16] = 2, [TENSOR_S16] = 2, [TENSOR_U8] = 1};
    return sizes[type];
}

#endif
