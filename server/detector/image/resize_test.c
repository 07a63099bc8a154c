/* resize_test.c - against the plain formula, and turning against turned pictures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct image noise(uint32_t cols, uint32_t rows)
{
    struct image im = {xmalloc((size_t)cols * rows * 3), cols, rows, cols, rows, 1};
    struct rng rng;
    rng_init(&rng, cols * 1000 + rows);
    for (size_t i = 0; i < (size_t)cols * rows * 3; i++)
        im.pixels[i] = (uint8_t)rng_next(&rng);
    return im;
}

static double at(const struct image *im, int64_t x, int64_t y, int c)
{
    x = x < 0 ? 0 : x >= im->cols ? im->cols - 1 : x;
    y = y < 0 ? 0 : y >= im->rows ? im->rows - 1 : y;
    return im->pixels[3 * (y * im->cols + x) + c] / 255.0;
}

/* Bilinear with half-pixel centres; edges repeat. */
static double sample(const struct image *im, uint32_t w, uint32_t h, uint32_t x, uint32_t y, int c)
{
    double fx = (x + 0.5) * im->cols / w - 0.5, fy = (y + 0.5) * im->rows / h - 0.5;
    int64_t ix = (int64_t)floor(fx), iy = (int64_t)floor(fy);
    double ax = fx - (double)ix, ay = fy - (double)iy;
    return (1 - ay) * ((1 - ax) * at(im, ix, iy, c) + ax * at(im, ix + 1, iy, c)) +
           ay * ((1 - ax) * at(im, ix, iy + 1, c) + ax * at(im, ix + 1, iy + 1, c));
}

static void test_matches_the_formula(void **state)
{
    static const uint32_t sizes[][4] = {
        {50, 40, 32, 24}, {7, 5, 64, 48}, {1, 1, 8, 8}, {300, 2, 16, 16}, {33, 200, 33, 20}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct image im = noise(sizes[i][0], sizes[i][1]);
        uint32_t w = sizes[i][2], h = sizes[i][3];
        float *out = xcalloc((size_t)w * h * 3, sizeof *out);
        resize_to_planes(out, w, h, &im);
        for (int c = 0; c < 3; c++)
            for (uint32_t y = 0; y < h; y++)
                for (uint32_t x = 0; x < w; x++) {
                    double want = sample(&im, w, h, x, y, c), have = (double)out[((size_t)c * h + y) * w + x];
                    if (fabs(want - have) > 1e-5)
                        fail_msg("size %zu, %u,%u,%d: %g, not %g", i, x, y, c, have, want);
                }
        free(out);
        image_fini(&im);
    }
}

/* What a viewer shows for an orientation, pixel by pixel (EXIF 2.3: where the 0th row and column lie). */
static struct image turned(const struct image *im, int orientation)
{
    uint32_t w = orientation < 5 ? im->cols : im->rows, h = orientation < 5 ? im->rows : im->cols;
    struct image out = {xmalloc((size_t)w * h * 3), w, h, w, h, 1};

    for (uint32_t r = 0; r < im->rows; r++)
        for (uint32_t c = 0; c < im->cols; c++) {
            uint32_t R = im->rows - 1 - r, C = im->cols - 1 - c;
            const uint32_t to[9][2] = {{0}, {c, r}, {C, r}, {C, R}, {c, R}, {r, c}, {R, c}, {R, C}, {r, C}};
            memcpy(out.pixels + 3 * ((size_t)to[orientation][1] * w + to[orientation][0]),
                   im->pixels + 3 * ((size_t)r * im->cols + c), 3);
        }
    return out;
}

static void test_turns_as_exif_says(void **state)
{
    (void)state;
    for (int o = 2; o <= 8; o++) {
        struct image im = noise(30, 20), shown = turned(&im, o);
        float have[3 * 16 * 12], want[3 * 16 * 12];
        im.orientation = o;
        resize_to_planes(have, 16, 12, &im);
        resize_to_planes(want, 16, 12, &shown);
        for (size_t i = 0; i < COUNT_OF(have); i++)
            if (fabsf(have[i] - want[i]) > 1e-5f)
                fail_msg("orientation %d, float %zu: %g, not %g", o, i, (double)have[i], (double)want[i]);
        image_fini(&im);
        image_fini(&shown);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches_the_formula),
        cmocka_unit_test(test_turns_as_exif_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
