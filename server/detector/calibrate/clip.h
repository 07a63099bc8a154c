/* clip.h - which part of a tensor's values 8 bits represent best: a histogram, and the clipping of least square error. */
#ifndef DETECTOR_CLIP_H
#define DETECTOR_CLIP_H

#include "base/base.h"

#define CLIP_BINS 2048

struct clip {
    float min, max; /* of all values; set before clip_count() */
    uint64_t bins[CLIP_BINS];
};

void clip_count(struct clip *c, const float *values, size_t n);

/* min <= *low <= *high <= max such that the square error of rounding to 256 steps between them, values outside being
 * cut off, is least. 0 lies between them unless all values are on one side of it; then the side next to 0 is not cut. */
void clip_choose(const struct clip *c, float *low, float *high);

#endif
