/* detector.h - the detector without its network side: one model, a pool of engines, and the way of one picture
 * through them: decode, resize, forward, boxes. Thread-safe after detector_open().
 *
 * Without a usable model it is still there and says why it cannot work, so that the service starts, answers and shows
 * what is missing instead of dying again and again. */
#ifndef DETECTOR_DETECTOR_H
#define DETECTOR_DETECTOR_H

#include "boxes.h"
#include "network/loader.h"

struct detector;

struct detector_config {
    const char *model;  /* name, see loader.h */
    const char *path;   /* folders, see loader.h */
    const char *engine; /* "auto", or the name of an engine */
    int64_t n_engines;  /* pictures at once; each engine has its own activations */
    double threshold;   /* 0: the model's own */
    int64_t max_image_bytes;
    int64_t max_pixels;
};

/* ST_INVALID only for an unknown engine. Starts a child process for a moment (trial.h): call before threads exist. */
struct status detector_open(struct detector **out, const struct detector_config *config);
void detector_close(struct detector *d);

/* OK: it has a model. ST_PRECONDITION with the reason otherwise. */
struct status detector_ready(const struct detector *d);

const struct model *detector_model(const struct detector *d); /* NULL while not ready */
float detector_threshold(const struct detector *d);           /* what 0 in a request means */

struct detection {
    uint32_t width, height; /* of the picture */
    size_t n_objects;
    struct box_object objects[BOXES_MAX];
};

/* One JPEG or PNG file. deadline: clock_now() scale, CLOCK_NEVER for none. threshold 0: the default. ST_INVALID: not a
 * picture or over a limit, or a threshold outside of 0.001..1; ST_EXHAUSTED: no engine was free in time; ST_DEADLINE:
 * it passed during the work; ST_PRECONDITION as above. */
struct status detector_detect(struct detector *d, const uint8_t *data, size_t size, float threshold, int64_t deadline,
                              struct detection *out);

#endif
