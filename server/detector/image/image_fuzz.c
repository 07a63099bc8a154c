/* image_fuzz.c - any bytes as a picture: decoded and resized, or refused. FUZZ_DECODE is the decoder under test.
 *
 * The limits are small, by the decoder's own means: what a large picture does more than a small one is take longer, and
 * the time is spent better on other pictures. The size of the input decides what else is asked for: all pixels or a
 * reduction, and whether the one who waits leaves after a while, which ends a decoder in its middle. */
#include "resize.h"

#include <stdlib.h>

#ifndef FUZZ_DECODE
#define FUZZ_DECODE image_decode
#endif

#define MAX_BYTES  ((size_t)16 << 10)
#define MAX_PIXELS (64 * 64)
#define SIDE       16 /* of the detector's input */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool leaves(void *ctx)
{
    size_t *patience = ctx;
    return (*patience)-- == 0;
}

static void check_image(const struct image *im)
{
    bool turned = im->orientation >= 5;
    uint32_t width = turned ? im->height : im->width, height = turned ? im->width : im->height;

    if (!im->pixels || im->orientation < 1 || im->orientation > 8 || im->cols == 0 || im->rows == 0 ||
        (uint64_t)width * height > MAX_PIXELS || im->cols > width || im->rows > height)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    float planes[3 * SIDE * SIDE];
    size_t patience = size / 16;
    struct image im = {.orientation = 1};
    struct image_limits limits = {MAX_BYTES, MAX_PIXELS, size % 2 ? SIDE : 0, size % 2 ? SIDE : 0};

    if (size % 16 == 0) {
        limits.stop = leaves;
        limits.ctx = &patience;
    }
    struct status st = FUZZ_DECODE(&im, data, size, &limits);
    if (st.code) {
        if (im.pixels || (st.code != ST_INVALID && st.code != ST_RANGE && st.code != ST_CANCELLED))
            abort();
        return 0;
    }
    check_image(&im);
    for (enum resize_mode mode = RESIZE_PLAIN; mode <= RESIZE_OPENCV; mode++)
        resize_to_planes(planes, SIDE, SIDE, &im, mode);
    image_fini(&im);
    return 0;
}
