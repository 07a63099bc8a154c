/* boxes.h - from the raw outputs of a network's heads to objects: decoding (Redmon and Farhadi 2018, section 2.1),
 * non-maximum suppression within each class, clipping to the picture. Thread-safe. */
#ifndef DETECTOR_BOXES_H
#define DETECTOR_BOXES_H

#include "network/cfg.h"

#define BOXES_MAX 300 /* objects in one answer */

struct box_object {
    float left, top, width, height; /* pixels of the picture, inside of it */
    float confidence;               /* objectness times class probability */
    uint32_t class_id;
};

/* heads[i]: raw (n_mask * (5 + classes), h, w) of head i; the picture was stretched plainly onto the input.
 * objects (BOXES_MAX,): by falling confidence; returns how many. threshold: 0 < t <= 1. */
size_t boxes_find(const struct cfg *c, const float *const *heads, float threshold, float width, float height,
                  struct box_object *objects);

/* Intersection over union of two boxes, 0..1. */
float boxes_overlap(const struct box_object *a, const struct box_object *b);

#endif
