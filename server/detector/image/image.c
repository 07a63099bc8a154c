/* image.c - which decoder a file goes to, and the limits that all of them share. */
#include "image.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool starts_with(const uint8_t *data, size_t size, const char *magic, size_t magic_size)
{
    return size >= magic_size && memcmp(data, magic, magic_size) == 0;
}

struct status image_decode(struct image *out, const uint8_t *data, size_t size, const struct image_limits *limits)
{
    *out = (struct image){.orientation = 1};
    if (size == 0)
        return status_errorf(ST_INVALID, "the image is empty");
    if (size > limits->max_bytes)
        return status_errorf(ST_RANGE, "the image has %zu bytes, at most %zu are taken", size, limits->max_bytes);
    if (starts_with(data, size, "\xff\xd8\xff", 3))
        return image_decode_jpeg(out, data, size, limits);
    if (starts_with(data, size, "\x89PNG\r\n\x1a\n", 8))
        return image_decode_png(out, data, size, limits);
    if (starts_with(data, size, "RIFF", 4) && size >= 12 && memcmp(data + 8, "WEBP", 4) == 0)
        return image_decode_webp(out, data, size, limits);
    if (starts_with(data, size, "GIF8", 4))
        return image_decode_gif(out, data, size, limits);
    return status_errorf(ST_INVALID, "the image is not a JPEG, PNG, WebP or GIF file");
}

struct status image_may_go_on(const struct image_limits *limits)
{
    if (limits->deadline && clock_now() > limits->deadline)
        return status_errorf(ST_RANGE, "the image takes too long to decode");
    if (limits->stop && limits->stop(limits->ctx))
        return status_errorf(ST_CANCELLED, "nobody waits for the answer any more");
    return status_ok();
}

struct status image_check_size(uint64_t width, uint64_t height, const struct image_limits *limits)
{
    if (width == 0 || height == 0)
        return status_errorf(ST_INVALID, "the image has no pixels");
    if (width > limits->max_pixels / height)
        return status_errorf(ST_RANGE, "the image has %" PRIu64 "x%" PRIu64 " pixels, at most %" PRIu64 " are taken",
                             width, height, limits->max_pixels);
    return status_ok();
}

/* c a + 255 (1 - a), rounded */
void image_drop_alpha(uint8_t *pixels, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t *in = pixels + 4 * i;
        unsigned a = in[3];
        for (size_t c = 0; c < 3; c++)
            pixels[3 * i + c] = (uint8_t)((in[c] * a + 255 * (255 - a) + 127) / 255);
    }
}

void image_fini(struct image *im)
{
    free(im->pixels);
    im->pixels = NULL;
}
