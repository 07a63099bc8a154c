/* calibrate.h - measures what the quantised engines need to know of a network: every layer's range over a folder of
 * pictures, and which convolutions lose most with 8 bits. All on the float engine; takes minutes, once a model. */
#ifndef DETECTOR_CALIBRATE_H
#define DETECTOR_CALIBRATE_H

#include "network/loader.h"
#include "pictures.h"

struct calibration {
    struct ranges ranges;
    float errors[CFG_MAX_LAYERS]; /* of the heads' outputs when this convolution alone has 8 bits: root mean square,
                                     relative to the outputs' own deviation; 0 for other layers, and
                                     for those that read the picture, which is never rounded */
};

/* told is called now and then: what is being done, how much of it. NULL: nobody wants to know. */
struct status calibrate(struct calibration *out, const struct model *m, const struct pictures *pictures,
                        void (*told)(const char *what, size_t done, size_t of));

#endif
