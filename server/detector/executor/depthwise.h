/* depthwise.h - the rows of a convolution with one filter a channel; one table for each instruction set
 * (depthwise_rows.c). */
#ifndef DETECTOR_DEPTHWISE_H
#define DETECTOR_DEPTHWISE_H

#include "executor/vector.h"

#define DEPTHWISE_MAX_SIZE 7

/* One row of the output. */
struct depthwise_row {
    const float *in[DEPTHWISE_MAX_SIZE]; /* (in_w, in_stride): the rows that the window covers; zeros for padding */
    size_t in_w, in_stride;
    const float *weights; /* for each vector of channels: (size, size, lanes) */
    const float *bias;    /* (c,), whole vectors */
    size_t c;             /* whole vectors */
    size_t size, stride, pad;
    char *out, *add;
    size_t out_w, out_stride, add_stride; /* strides in bytes */
    const struct vec_epilogue *epilogue;
};

struct depthwise_rows {
    size_t lanes;
    void (*run)(const struct depthwise_row *row);
};

extern const struct depthwise_rows depthwise_rows_portable, depthwise_rows_avx2, depthwise_rows_avx512;

const struct depthwise_rows *depthwise_rows_get(void);

#endif
