/* image_fuzz.c - any bytes as a picture: decoded and resized, or refused. */
#include "resize.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct image_limits limits = {1 << 20, 1 << 20, 32, 32};
    float planes[3 * 32 * 32];
    struct image im;

    if (image_decode(&im, data, size, &limits).code)
        return 0;
    for (enum resize_mode mode = RESIZE_PLAIN; mode <= RESIZE_OPENCV; mode++)
        resize_to_planes(planes, 32, 32, &im, mode);
    image_fini(&im);
    return 0;
}
