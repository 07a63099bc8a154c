/* resize.h - from a decoded picture to the input of a network: bilinear, plain (both sides stretched on their own; on
 * the models here that is 3 to 4 points of mAP50 better than letterboxing), half-pixel centres, u8 to 0..1. */
#ifndef DETECTOR_RESIZE_H
#define DETECTOR_RESIZE_H

#include "image.h"

/* out (3, height, width), planes R, G, B; turned as a viewer shows the picture. */
void resize_to_planes(float *out, uint32_t width, uint32_t height, const struct image *im);

#endif
