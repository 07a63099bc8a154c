/* ranges.h - what values the layers of a network take, measured once over pictures by ./bloginfer calibrate and kept
 * as a small text file beside the model (NAME.ranges). The quantised engines choose their scales by it.
 *
 * The file, a line each, # starts a comment:
 *     bloginfer-ranges 1
 *     weights SHA256            of the weights file: ranges of other weights are of no use
 *     images SHA256 COUNT       of the pictures, one after another in the order of their names
 *     layers COUNT
 *     INDEX MIN MAX LOW HIGH [float]
 * the last for every layer from 0 on: its outputs' extremes, the part of them that 8 bits represent best, and whether
 * its weights and sums should stay in float when the others have 8 bits. */
#ifndef DETECTOR_RANGES_H
#define DETECTOR_RANGES_H

#include "cfg.h"

#define RANGES_MAX_BYTES ((size_t)64 << 10)
#define RANGES_HEX       (2 * SHA256_SIZE + 1)

struct range {
    float min, max;
    float low, high; /* min <= low <= high <= max */
    bool keep_float; /* convolutions only */
};

struct ranges {
    char weights[RANGES_HEX], images[RANGES_HEX];
    size_t n_images;
    size_t n_layers;
    struct range layers[CFG_MAX_LAYERS]; /* (n_layers,) */
};

/* *out: the caller's, to free(). ST_INVALID names the line and what is wrong. */
struct status ranges_parse(struct ranges **out, const char *text, size_t size);
void ranges_print(const struct ranges *r, struct buf *out);

/* Those that ship with bloginfer, for weights in public use; NULL: none. The caller's, to free(). */
struct ranges *ranges_known(const char *weights_sha256);

#endif
