/* image.h - pictures from outside: a JPEG, PNG, WebP or GIF file in memory becomes rows of RGB bytes. Of an animation
 * the first picture counts; what is transparent lies on white, as a page would show it.
 *
 * The bytes may be hostile. Size and pixels are checked after the header and before anything large is allocated;
 * a progressive JPEG may have only as many passes as its pixels allow; every decoder looks at the clock and at who waits as it goes; whatever the decoders report as damage ends in
 * ST_INVALID, because an object detector should not guess what a torn picture showed. Thread-safe. */
#ifndef DETECTOR_IMAGE_H
#define DETECTOR_IMAGE_H

#include "base/base.h"

struct image_limits {
    size_t max_bytes;
    uint64_t max_pixels;
    uint32_t need_width;     /* a JPEG that is larger than needed is decoded at 1/2, 1/4 or 1/8 as long as both */
    uint32_t need_height;    /* sides stay at least this long; 0: full size */
    int64_t deadline;        /* clock_now() scale, of the decoding; 0: none */
    bool (*stop)(void *ctx); /* asked now and then: true when nobody wants the picture any more; may be NULL */
    void *ctx;
};

struct image {
    uint8_t *pixels;        /* (rows, cols, 3), owned */
    uint32_t cols, rows;    /* of pixels: as stored in the file, perhaps reduced */
    uint32_t width, height; /* of the picture in full size, as a viewer shows it: after turning */
    int orientation;        /* EXIF 1..8: how a viewer turns the stored rows; 5 and above swap the sides */
};

/* Fills *out. ST_INVALID: of no known format, or damaged. ST_RANGE: over a limit, that of time included.
 * ST_CANCELLED: stop() said so. The message names the reason. */
struct status image_decode(struct image *out, const uint8_t *data, size_t size, const struct image_limits *limits);
void image_fini(struct image *im);

/* ---- inside: one decoder a format ---- */

struct status image_decode_jpeg(struct image *out, const uint8_t *data, size_t size, const struct image_limits *limits);
struct status image_decode_png(struct image *out, const uint8_t *data, size_t size, const struct image_limits *limits);
struct status image_decode_webp(struct image *out, const uint8_t *data, size_t size, const struct image_limits *limits);
struct status image_decode_gif(struct image *out, const uint8_t *data, size_t size, const struct image_limits *limits);
struct status image_may_go_on(const struct image_limits *limits);
struct status image_check_size(uint64_t width, uint64_t height, const struct image_limits *limits);

/* n pixels RGBA over white, packed from four bytes to three in place. */
void image_drop_alpha(uint8_t *pixels, size_t n);

#endif
