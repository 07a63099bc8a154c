/* stages.h - the way of one picture through an engine: decode, resize, forward, boxes, each of them timed. */
#ifndef DETECTOR_STAGES_H
#define DETECTOR_STAGES_H

#include "boxes.h"
#include "executor/engine.h"
#include "image/image.h"
#include "image/resize.h"

enum stage { STAGE_QUEUE, STAGE_DECODE, STAGE_RESIZE, STAGE_FORWARD, STAGE_BOXES, N_STAGES };

/* "queue" and so on. */
extern const char *const stage_names[N_STAGES];

struct detection {
    uint32_t width, height;   /* of the picture, upright */
    double seconds[N_STAGES]; /* 0: it did not come so far */
    size_t n_objects;
    struct box_object objects[BOXES_MAX]; /* by falling confidence */
};

struct stages_config {
    size_t max_bytes; /* of a file */
    uint64_t max_pixels;
    enum resize_mode resize;
    float nms; /* see boxes.h */
};

/* One picture's. */
struct stages_job {
    const uint8_t *data; /* the file */
    size_t size;
    float threshold;
    bool (*stop)(void *ctx); /* true: the answer is not wanted any more; asked between stages and layers */
    void *ctx;
};

/* input: room for (3, h, w) of cfg. ST_INVALID: not a picture; ST_RANGE: over a limit; ST_CANCELLED: stop() said so. */
struct status stages_run(const struct stages_config *config, const struct cfg *cfg, struct engine *engine, float *input,
                         const struct stages_job *job, struct detection *out);

#endif
