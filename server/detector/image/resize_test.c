/* resize_test.c - against the plain formula, against darknet's and OpenCV's own functions, and turning against turned
 * pictures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "resize.h"

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint32_t sizes[][4] = {{50, 40, 32, 24},  {7, 5, 64, 48},   {1, 1, 8, 8},     {300, 2, 16, 16},
                                    {33, 200, 33, 20}, {64, 48, 32, 24}, {20, 20, 20, 20}, {640, 427, 416, 416},
                                    {1000, 1, 32, 32}, {64, 30, 32, 20}};

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
    (void)state;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct image im = noise(sizes[i][0], sizes[i][1]);
        uint32_t w = sizes[i][2], h = sizes[i][3];
        float *out = xcalloc((size_t)w * h * 3, sizeof *out);
        resize_to_planes(out, w, h, &im, RESIZE_PLAIN);
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

static void assert_turns(enum resize_mode mode, int o, double tolerance)
{
    struct image im = noise(30, 20), shown = turned(&im, o);
    float have[3 * 16 * 12], want[3 * 16 * 12];

    im.orientation = o;
    im.width = shown.width;
    im.height = shown.height;
    struct resize_frame a = resize_to_planes(have, 16, 12, &im, mode), b = resize_to_planes(want, 16, 12, &shown, mode);
    assert_memory_equal(&a, &b, sizeof a);
    for (size_t i = 0; i < COUNT_OF(have); i++)
        if (fabsf(have[i] - want[i]) > tolerance)
            fail_msg("%s, orientation %d, float %zu: %g, not %g", resize_mode_name(mode), o, i, (double)have[i],
                     (double)want[i]);
    image_fini(&im);
    image_fini(&shown);
}

static void test_turns_as_exif_says(void **state)
{
    (void)state;
    for (int o = 2; o <= 8; o++) {
        assert_turns(RESIZE_PLAIN, o, 1e-5);
        assert_turns(RESIZE_LETTERBOX, o, 1e-5);
        assert_turns(RESIZE_OPENCV, o, 1.01 / 255); /* its two directions are not rounded alike */
    }
}

/* darknet's own, float planes in and out. */
typedef struct {
    int w, h, c;
    float *data;
} darknet_image;

static void *symbol_of(const char *library, const char *name)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL), *symbol = handle ? dlsym(handle, name) : NULL;

    if (!symbol) {
        print_message("skipped: %s is not installed\n", library);
        skip();
    }
    return symbol;
}

static void test_letterbox_is_darknets(void **state)
{
    darknet_image (*letterbox)(darknet_image, int, int);
    (void)state;
    *(void **)&letterbox = symbol_of("/usr/lib/darknet/libdarknet.so", "letterbox_image");
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct image im = noise(sizes[i][0], sizes[i][1]);
        uint32_t w = sizes[i][2], h = sizes[i][3];
        float *have = xcalloc((size_t)w * h * 3, sizeof *have);
        darknet_image in = {(int)im.cols, (int)im.rows, 3, xcalloc((size_t)im.cols * im.rows * 3, sizeof(float))};
        for (size_t c = 0, k = 0; c < 3; c++)
            for (size_t p = 0; p < (size_t)im.cols * im.rows; p++)
                in.data[k++] = (float)im.pixels[3 * p + c] / 255;
        struct resize_frame f = resize_to_planes(have, w, h, &im, RESIZE_LETTERBOX);
        assert_true(f.left >= 0 && f.top >= 0 && 2 * f.left + f.width < 1.001f && 2 * f.top + f.height < 1.001f);
        if (f.width * (float)w > 1.5f && f.height * (float)h > 1.5f) { /* darknet divides by size - 1 */
            darknet_image want = letterbox(in, (int)w, (int)h);
            for (size_t k = 0; k < (size_t)w * h * 3; k++)
                if (fabsf(have[k] - want.data[k]) > 1e-3f)
                    fail_msg("size %zu, float %zu: %g, not %g", i, k, (double)have[k], (double)want.data[k]);
            free(want.data);
        }
        free(in.data);
        free(have);
        image_fini(&im);
    }
}

/* OpenCV's old C interface, which its library still has. */
struct cv_mat {
    int type, step;
    int *refcount;
    int hdr_refcount;
    uint8_t *data;
    int rows, cols;
};

static struct cv_mat cv_mat_of(uint8_t *pixels, uint32_t cols, uint32_t rows)
{
    return (struct cv_mat){0x42424000 | 16, (int)(3 * cols), NULL, 0, pixels, (int)rows, (int)cols};
}

static void test_opencv_is_opencvs(void **state)
{
    void (*resize)(const struct cv_mat *src, struct cv_mat *dst, int interpolation);
    (void)state;
    *(void **)&resize = symbol_of("libopencv_imgproc.so.406", "cvResize");
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct image im = noise(sizes[i][0], sizes[i][1]);
        uint32_t w = sizes[i][2], h = sizes[i][3];
        float *have = xcalloc((size_t)w * h * 3, sizeof *have);
        uint8_t *want = xcalloc((size_t)w * h, 3);
        struct cv_mat src = cv_mat_of(im.pixels, im.cols, im.rows), dst = cv_mat_of(want, w, h);
        resize(&src, &dst, 1);
        resize_to_planes(have, w, h, &im, RESIZE_OPENCV);
        for (size_t c = 0, k = 0; c < 3; c++)
            for (size_t p = 0; p < (size_t)w * h; p++, k++)
                if (fabsf(have[k] - (float)want[3 * p + c] / 255) > 1e-6f)
                    fail_msg("size %zu, pixel %zu,%zu: %g, not %d", i, p % w, p / w, (double)have[k] * 255,
                             want[3 * p + c]);
        free(want);
        free(have);
        image_fini(&im);
    }
}

static void test_names(void **state)
{
    enum resize_mode mode;
    (void)state;
    for (enum resize_mode m = RESIZE_PLAIN; m <= RESIZE_OPENCV; m++)
        assert_true(resize_mode_parse(&mode, resize_mode_name(m)) && mode == m);
    assert_false(resize_mode_parse(&mode, "fast"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches_the_formula),
        cmocka_unit_test(test_turns_as_exif_says),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_opencv_is_opencvs),
        cmocka_unit_test(test_letterbox_is_darknets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
