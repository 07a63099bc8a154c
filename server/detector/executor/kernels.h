/* kernels.h - the loops of a forward pass that are not a matrix product. Planes are row-major floats; outputs overlap
 * nothing unless said. Shapes are the maker's business: cfg.c has checked them. */
#ifndef DETECTOR_KERNELS_H
#define DETECTOR_KERNELS_H

#include "network/cfg.h"

/* One set of kernels; compiled from the same source for each instruction set. */
struct kernels {
    /* columns (c k k, n_rows out_w): what each tap of a k x k window sees for the output rows from first_row on; 0
     * outside of the picture. in: c planes of l's input (one group's). */
    void (*im2col)(float *columns, const float *in, const struct cfg_layer *l, size_t c, size_t first_row,
                   size_t n_rows);

    /* rows[i] (n,), stride apart: adds bias[i] and applies the activation. In place. */
    void (*activate)(float *rows, size_t stride, const float *bias, size_t n_rows, size_t n,
                     enum cfg_activation activation);

    /* One filter a channel, with bias and activation. padded: room for kernels_padded_size() floats. */
    void (*depthwise)(float *out, const float *in, const struct cfg_layer *l, const float *weights, const float *bias,
                      float *padded);
    void (*maxpool)(float *out, const float *in, const struct cfg_layer *l);
    void (*upsample)(float *out, const float *in, const struct cfg_layer *l);
    void (*add)(float *out, const float *a, const float *b, size_t n);
};

/* Those for this CPU, as nn_kernel_isa() names it. */
const struct kernels *kernels_get(void);

static inline size_t kernels_padded_size(const struct cfg_layer *l)
{
    return (l->in.h + 2 * l->pad) * (l->in.w + 2 * l->pad);
}

extern const struct kernels kernels_portable, kernels_avx2, kernels_avx512;

#endif
