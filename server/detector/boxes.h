/* boxes.h - from the raw outputs of a network's heads to objects: decoding (Redmon and Farhadi 2018, section 2.1),
 * non-maximum suppression within each class, clipping to the picture. Thread-safe. */
#ifndef DETECTOR_BOXES_H
#define DETECTOR_BOXES_H

#include "image/resize.h"
#include "network/cfg.h"

#define BOXES_MAX 300 /* objects in one answer */

struct box_object {
    float left, top, width, height; /* pixels of the picture, inside of it */
    float confidence;               /* objectness times class probability */
    uint32_t class_id;
};

struct boxes_request {
    float threshold;           /* 0 < t <= 1 */
    float nms;                 /* of two boxes of a class that overlap more, the lesser goes; 0 < n <= 1 */
    float width, height;       /* of the picture, pixels */
    struct resize_frame frame; /* where in the input it lies */
};

/* heads[i]: raw (n_mask * (5 + classes), h, w) of head i.
 * objects (BOXES_MAX,): by falling confidence; returns how many. */
size_t boxes_find(const struct cfg *c, const float *const *heads, const struct boxes_request *request,
                  struct box_object *objects);

/* Intersection over union of two boxes, 0..1. */
float boxes_overlap(const struct box_object *a, const struct box_object *b);

#endif
