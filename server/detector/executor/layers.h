/* layers.h - the layers that are not convolutions, on channels-last tensors; one table for each instruction set
 * (layers.c). Shapes and types fit each other: the plan has seen to that. Rows y0 .. y1-1 of the output. */
#ifndef DETECTOR_LAYERS_H
#define DETECTOR_LAYERS_H

#include "executor/tensor.h"

struct layers {
    /* darknet's windows: they start pad / 2 before the picture and are cut at its edges. Same type and scale in and
     * out. */
    void (*maxpool)(const struct tensor *out, const struct tensor *in, size_t size, size_t stride, size_t pad,
                    size_t y0, size_t y1);
    void (*upsample)(const struct tensor *out, const struct tensor *in, size_t factor, size_t y0, size_t y1);
    /* out = max(a + b, slope (a + b)) in any types; out may be a's or b's memory */
    void (*add)(const struct tensor *out, const struct tensor *a, const struct tensor *b, float slope, size_t y0,
                size_t y1);
    /* Any type to any other, out and in may be the same; also how channels are copied. */
    void (*convert)(const struct tensor *out, const struct tensor *in, size_t y0, size_t y1);
    void (*logistic)(const struct tensor *t, size_t y0, size_t y1); /* floats, in place */
    void (*from_picture)(const struct tensor *out, const float *picture, size_t y0, size_t y1);
    void (*to_planes)(float *out, const struct tensor *in); /* out (c, h, w) */
};

extern const struct layers layers_portable, layers_avx2, layers_avx512;

const struct layers *layers_get(void);

#endif
