/* image.h - pictures from outside: a JPEG or PNG file in memory becomes rows of RGB bytes.
 *
 * The bytes may be hostile. Size and pixels are checked after the header and before anything large is allocated;
 * a progressive JPEG may have only as many passes as its pixels allow; whatever the decoders report as damage ends in
 * ST_INVALID, because an object detector should not guess what a torn picture showed. Thread-safe. */
#ifndef DETECTOR_IMAGE_H
#define DETECTOR_IMAGE_H

#include "base/base.h"

struct image_limits {
    size_t max_bytes;
    uint64_t max_pixels;
    uint32_t need_width;  /* a JPEG that is larger than needed is decoded at 1/2, 1/4 or 1/8 as long as both */
    uint32_t need_height; /* sides stay at least this long; 0: full size */
};

struct image {
    uint8_t *pixels;        /* (rows, cols, 3), owned */
    uint32_t cols, rows;    /* of pixels: as stored in the file, perhaps reduced */
    uint32_t width, height; /* of the picture in full size, as a viewer shows it: after turning */
    int orientation;        /* EXIF 1..8: how a viewer turns the stored rows; 5 and above swap the sides */
};

/* Fills *out. ST_INVALID: neither JPEG nor PNG, or damaged. ST_RANGE: over a limit. The message names the reason. */
struct status image_decode(struct image *out, const uint8_t *data, size_t size, const struct image_limits *limits);
void image_fini(struct image *im);

/* ---- inside: one decoder a format ---- */

struct status image_decode_jpeg(struct image *out, const uint8_t *data, size_t size, const struct image_limits *limits);
struct status image_decode_png(struct image *out, const uint8_t *data, size_t size, const struct image_limits *limits);
struct status image_check_size(uint64_t width, uint64_t height, const struct image_limits *limits);

#endif
