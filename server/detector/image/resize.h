/* resize.h - from a decoded picture to the input of a network, planes of 0..1, turned as a viewer shows the picture.
 *
 * plain: both sides stretched on their own, bilinear with half-pixel centres; on the models here 3 to 4 points of mAP50
 * better than letterbox. letterbox: as darknet's own program does it, sides in proportion, gray beside, corners on corners.
 * opencv: plain as cv2.dnn.blobFromImage() computes it, rounded to whole bytes, so that results can be compared. */
#ifndef DETECTOR_RESIZE_H
#define DETECTOR_RESIZE_H

#include "image.h"

enum resize_mode { RESIZE_PLAIN, RESIZE_LETTERBOX, RESIZE_OPENCV };

/* "plain" and so on. False: there is none of that name. */
bool resize_mode_parse(enum resize_mode *out, const char *name);
const char *resize_mode_name(enum resize_mode mode);

/* Where in the input the picture lies, in parts of the input. */
struct resize_frame {
    float left, top, width, height;
};

/* out (3, height, width), planes R, G, B. */
struct resize_frame resize_to_planes(float *out, uint32_t width, uint32_t height, const struct image *im,
                                     enum resize_mode mode);

#endif
