/* image_test.c - what decodes, what is refused, and that it is refused before it costs anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "exif.h"
#include "image.h"
#include "picture.h"

#include <arpa/inet.h>
#include <sys/resource.h>
#include <zlib.h>

#include <cmocka.h>

static const struct image_limits limits = {10 << 20, 1000000, 0, 0};

static struct status decode(struct image *im, uint8_t *file, size_t size)
{
    struct status st = image_decode(im, file, size, &limits);
    free(file);
    return st;
}

static void assert_pixel(const struct image *im, uint32_t x, uint32_t y, int r, int g, int b, int tolerance)
{
    const uint8_t *p = im->pixels + 3 * ((size_t)y * im->cols + x);
    const int want[3] = {r, g, b};
    for (int c = 0; c < 3; c++)
        if (abs(p[c] - want[c]) > tolerance)
            fail_msg("pixel %u,%u channel %d is %d, not %d", x, y, c, p[c], want[c]);
}

static void assert_refused(struct status st, enum code code, const char *text)
{
    if (st.code != code || !strstr(st.msg, text))
        fail_msg("%s \"%s\" instead of %s with \"%s\"", code_name(st.code), st.msg, code_name(code), text);
}

static void test_jpeg(void **state)
{
    (void)state;
    for (int progressive = 0; progressive < 2; progressive++) {
        struct image im;
        size_t size;
        uint8_t *file = picture_jpeg(&(struct picture_jpeg){200, 100, 3, progressive, 0}, &size);
        assert_int_equal(decode(&im, file, size).code, ST_OK);
        assert_int_equal(im.width, 200);
        assert_int_equal(im.height, 100);
        assert_int_equal(im.cols, 200);
        assert_pixel(&im, 100, 50, 128, 128, 60, 8);
        assert_pixel(&im, 190, 5, 243, 13, 60, 8);
        image_fini(&im);
    }
}

static void test_gray_jpeg(void **state)
{
    struct image im;
    size_t size;
    uint8_t *file = picture_jpeg(&(struct picture_jpeg){64, 64, 1, false, 0}, &size);

    (void)state;
    assert_int_equal(decode(&im, file, size).code, ST_OK);
    assert_pixel(&im, 32, 10, 130, 130, 130, 8);
    image_fini(&im);
}

static void test_cmyk_jpeg_of_adobe(void **state)
{
    struct image im;
    size_t size;
    uint8_t *file = picture_jpeg(&(struct picture_jpeg){64, 64, 4, false, 0}, &size);

    (void)state; /* libjpeg's writer puts an Adobe marker there: inks are inverted, so they are RGB here */
    assert_int_equal(decode(&im, file, size).code, ST_OK);
    assert_pixel(&im, 32, 10, 130, 40, 60, 8);
    image_fini(&im);
}

static void test_large_jpeg_is_reduced_while_decoding(void **state)
{
    struct image_limits l = {10 << 20, 1000000, 100, 100};
    struct image im;
    size_t size;
    uint8_t *file = picture_jpeg(&(struct picture_jpeg){900, 420, 3, false, 0}, &size);

    (void)state;
    assert_int_equal(image_decode(&im, file, size, &l).code, ST_OK);
    assert_int_equal(im.cols, 225); /* 420 / 4 is still over 100, 420 / 8 is not */
    assert_int_equal(im.rows, 105);
    assert_int_equal(im.width, 900);
    assert_int_equal(im.height, 420);
    image_fini(&im);
    free(file);
}

static void test_exif_turns_the_sides(void **state)
{
    (void)state;
    for (int o = 1; o <= 8; o++) {
        struct image im;
        size_t size;
        uint8_t *file = picture_jpeg(&(struct picture_jpeg){40, 20, 3, false, o}, &size);
        assert_int_equal(decode(&im, file, size).code, ST_OK);
        assert_int_equal(im.orientation, o);
        assert_int_equal(im.width, o < 5 ? 40 : 20);
        assert_int_equal(im.cols, 40);
        image_fini(&im);
    }
}

static void test_exif_that_lies_about_itself(void **state)
{
    uint8_t good[] = {'E', 'x',  'i', 'f', 0, 0, 'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1,
                      1,   0x12, 0,   3,   0, 0, 0,   1,   0, 6,  0, 0, 0, 0, 0, 0};
    (void)state;
    assert_int_equal(exif_orientation(good, sizeof good), 6);
    for (size_t n = 0; n < 28; n++) /* every cut before the entry's end */
        assert_int_equal(exif_orientation(good, n), n < 28 ? 1 : 6);
    good[10] = good[11] = 0xff; /* the directory lies far behind the end */
    assert_int_equal(exif_orientation(good, sizeof good), 1);
    good[10] = good[11] = 0;
    good[25] = 9;
    assert_int_equal(exif_orientation(good, sizeof good), 1);
}

static void test_png_kinds(void **state)
{
    static const struct {
        struct picture_png png;
        int r, g, b;
    } cases[] = {
        {{30, 20, PNG_COLOR_TYPE_RGB, 8, false, {10, 20, 30}, -1}, 10, 20, 30},
        {{30, 20, PNG_COLOR_TYPE_RGB, 8, true, {10, 20, 30}, -1}, 10, 20, 30},
        {{30, 20, PNG_COLOR_TYPE_RGB, 16, false, {10, 10, 20, 20, 30, 30}, -1}, 10, 20, 30},
        {{30, 20, PNG_COLOR_TYPE_GRAY, 8, false, {77}, -1}, 77, 77, 77},
        {{30, 20, PNG_COLOR_TYPE_GRAY, 1, false, {0xff}, -1}, 255, 255, 255},
        {{30, 20, PNG_COLOR_TYPE_GRAY_ALPHA, 8, false, {0, 0}, -1}, 255, 255, 255},
        {{30, 20, PNG_COLOR_TYPE_RGB_ALPHA, 8, true, {200, 100, 0, 128}, -1}, 227, 177, 127},
        {{30, 20, PNG_COLOR_TYPE_RGB_ALPHA, 16, false, {1, 0, 2, 0, 3, 0, 255, 255}, -1}, 1, 2, 3},
        {{30, 20, PNG_COLOR_TYPE_PALETTE, 2, false, {0x55}, -1}, 0, 255, 0},
        {{30, 20, PNG_COLOR_TYPE_PALETTE, 8, false, {2}, 2}, 255, 255, 255},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct image im;
        size_t size;
        uint8_t *file = picture_png(&cases[i].png, &size);
        struct status st = decode(&im, file, size);
        if (st.code)
            fail_msg("case %zu: %s", i, st.msg);
        assert_int_equal(im.width, 30);
        assert_int_equal(im.height, 20);
        assert_pixel(&im, 29, 19, cases[i].r, cases[i].g, cases[i].b, 1);
        assert_pixel(&im, 3, 1, cases[i].r, cases[i].g, cases[i].b, 1);
        image_fini(&im);
    }
}

static void test_webp_kinds(void **state)
{
    static const struct picture_webp cases[] = {
        {80, 60, false, false, 0}, {80, 60, true, false, 0}, {80, 60, false, true, 0}, {80, 60, true, true, 0}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct image im;
        size_t size;
        uint8_t *file = picture_webp(&cases[i], &size);
        struct status st = decode(&im, file, size);
        if (st.code)
            fail_msg("case %zu: %s", i, st.msg);
        assert_int_equal(im.width, 80);
        assert_int_equal(im.rows, 60);
        assert_pixel(&im, 60, 30, 60 * 255 / 79, 30 * 255 / 59, 60, cases[i].lossless ? 0 : 12);
        if (cases[i].transparent)
            assert_pixel(&im, 10, 30, 255, 255, 255, 0);
        image_fini(&im);
    }
}

static void test_webp_orientation(void **state)
{
    struct image im;
    size_t size;
    uint8_t *file = picture_webp(&(struct picture_webp){80, 60, false, false, 6}, &size);
    (void)state;
    assert_int_equal(decode(&im, file, size).code, ST_OK);
    assert_int_equal(im.orientation, 6);
    assert_int_equal(im.width, 60);
    assert_int_equal(im.height, 80);
    assert_int_equal(im.cols, 80);
    image_fini(&im);
}

static void test_webp_animation_shows_its_first_frame(void **state)
{
    struct image im;
    size_t size;
    uint8_t *file = picture_webp_animation(40, 30, &size);
    (void)state;
    assert_int_equal(decode(&im, file, size).code, ST_OK);
    assert_pixel(&im, 20, 15, 20 * 255 / 39, 15 * 255 / 29, 60, 1);
    image_fini(&im);
}

static void test_gif_kinds(void **state)
{
    static const struct picture_gif cases[] = {{50, 40, 0, 0, false, false, false},
                                               {50, 40, 0, 0, true, false, true},
                                               {50, 40, 10, 9, true, false, false},
                                               {50, 40, 0, 0, false, true, true}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct picture_gif *c = &cases[i];
        struct image im;
        size_t size;
        uint8_t *file = picture_gif(c, &size);
        struct status st = decode(&im, file, size);
        if (st.code)
            fail_msg("case %zu: %s", i, st.msg);
        assert_int_equal(im.width, 50);
        assert_int_equal(im.height, 40);
        assert_pixel(&im, 30, (uint32_t)c->top, 200, 100, 50, 0);
        if (c->transparent)
            assert_pixel(&im, 30, 20, 255, 255, 255, 0);
        else
            assert_pixel(&im, 30, 20, 10, 20, 30, 0);
        if (c->left)
            assert_pixel(&im, 3, 3, 255, 255, 255, 0);
        image_fini(&im);
    }
}

static bool is_true(void *ctx)
{
    return *(bool *)ctx;
}

/* Every format looks at the clock, and at who waits, while it decodes. */
static void test_decoding_ends_early(void **state)
{
    struct image_limits late = {10 << 20, 1000000, 0, 0, .deadline = clock_now() - 1};
    bool stop = true;
    struct image_limits left = {10 << 20, 1000000, 0, 0, .stop = is_true, .ctx = &stop};
    size_t sizes[5];
    uint8_t *files[] = {picture_jpeg(&(struct picture_jpeg){120, 90, 3, false, 0}, &sizes[0]),
                        picture_jpeg(&(struct picture_jpeg){120, 90, 3, true, 0}, &sizes[1]),
                        picture_png(&(struct picture_png){50, 40, PNG_COLOR_TYPE_RGB, 8, false, {1}, -1}, &sizes[2]),
                        picture_webp(&(struct picture_webp){50, 40, false, false, 0}, &sizes[3]),
                        picture_gif(&(struct picture_gif){50, 40, 0, 0, false, false, false}, &sizes[4])};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        struct image im;
        assert_refused(image_decode(&im, files[i], sizes[i], &late), ST_RANGE, "too long");
        assert_null(im.pixels);
        stop = true;
        assert_refused(image_decode(&im, files[i], sizes[i], &left), ST_CANCELLED, "nobody waits");
        assert_null(im.pixels);
        stop = false;
        assert_int_equal(image_decode(&im, files[i], sizes[i], &left).code, ST_OK);
        image_fini(&im);
        free(files[i]);
    }
}

static void test_what_is_no_picture(void **state)
{
    struct image im;
    (void)state;
    assert_refused(image_decode(&im, NULL, 0, &limits), ST_INVALID, "empty");
    assert_refused(image_decode(&im, (const uint8_t *)"BM..........", 12, &limits), ST_INVALID, "not a JPEG");
    assert_refused(image_decode(&im, (const uint8_t *)"GIF89a......", 12, &limits), ST_INVALID, "GIF");
    assert_refused(image_decode(&im, (const uint8_t *)"RIFF\4\0\0\0WEBP", 12, &limits), ST_INVALID, "WebP");
    assert_refused(image_decode(&im, (const uint8_t *)"\xff\xd8\xff", 3, &limits), ST_INVALID, "JPEG");
    assert_refused(image_decode(&im, (const uint8_t *)"\x89PNG\r\n\x1a\n", 8, &limits), ST_INVALID, "PNG");
}

static void test_too_many_bytes(void **state)
{
    struct image_limits l = {100, 1000000, 0, 0};
    struct image im;
    uint8_t file[101] = {0xff, 0xd8, 0xff};
    (void)state;
    assert_refused(image_decode(&im, file, sizeof file, &l), ST_RANGE, "101 bytes");
}

/* Every cut of a good file: refused, never a crash or a picture. */
static void test_truncated(void **state)
{
    size_t sizes[5];
    uint8_t *files[] = {
        picture_jpeg(&(struct picture_jpeg){120, 90, 3, false, 1}, &sizes[0]),
        picture_png(&(struct picture_png){50, 40, PNG_COLOR_TYPE_RGB, 8, false, {1, 2, 3}, -1}, &sizes[1]),
        picture_webp(&(struct picture_webp){50, 40, false, true, 0}, &sizes[2]),
        picture_webp(&(struct picture_webp){50, 40, true, false, 0}, &sizes[3]),
        picture_gif(&(struct picture_gif){50, 400, 0, 0, true, false, false}, &sizes[4])};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        for (size_t n = 0; n + 24 < sizes[i]; n += 7) { /* what ends a file is not needed for its pixels */
            struct image im;
            uint8_t *exact = xmalloc(n ? n : 1); /* so that the sanitizer sees a read behind the end */
            memcpy(exact, files[i], n);
            assert_int_equal(image_decode(&im, exact, n, &limits).code, ST_INVALID);
            assert_null(im.pixels);
            free(exact);
        }
        free(files[i]);
    }
}

/* Any single wrong byte ends in a picture or in a refusal. */
static void test_corrupt(void **state)
{
    size_t sizes[6];
    uint8_t *files[] = {picture_jpeg(&(struct picture_jpeg){60, 50, 3, false, 1}, &sizes[0]),
                        picture_jpeg(&(struct picture_jpeg){60, 50, 3, true, 0}, &sizes[1]),
                        picture_png(&(struct picture_png){50, 40, PNG_COLOR_TYPE_PALETTE, 8, true, {1}, 0}, &sizes[2]),
                        picture_webp(&(struct picture_webp){50, 40, false, true, 6}, &sizes[3]),
                        picture_webp_animation(50, 40, &sizes[4]),
                        picture_gif(&(struct picture_gif){50, 40, 1, 2, true, true, true}, &sizes[5])};
    struct rng rng;
    (void)state;
    rng_init(&rng, 1);
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        for (int k = 0; k < 2000; k++) {
            size_t at = rng_below(&rng, sizes[i]);
            uint8_t was = files[i][at];
            struct image im;
            files[i][at] = (uint8_t)rng_next(&rng);
            struct status st = image_decode(&im, files[i], sizes[i], &limits);
            assert_true(st.code == ST_OK || st.code == ST_INVALID || st.code == ST_RANGE);
            assert_true((im.pixels != NULL) == (st.code == ST_OK));
            image_fini(&im);
            files[i][at] = was;
        }
        free(files[i]);
    }
}

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static uint8_t *find_frame_header(uint8_t *file, size_t size)
{
    for (size_t i = 0; i + 9 < size; i++)
        if (file[i] == 0xff && (file[i + 1] == 0xc0 || file[i + 1] == 0xc2))
            return file + i;
    fail_msg("no frame header");
    return NULL;
}

static double max_resident_mb(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss / 1024;
}

static bool count(void *ctx)
{
    ++*(size_t *)ctx;
    return false;
}

/* How often a decoder asks on its way whether it may go on. Refuses all over a million pixels. */
static struct status decode_counted(struct image *im, const uint8_t *file, size_t size, size_t *asked)
{
    struct image_limits counted = limits;

    counted.stop = count;
    counted.ctx = asked;
    *asked = 0;
    return image_decode(im, file, size, &counted);
}

/* A decoder asks before each pass and row: who is refused without a question has not seen a pixel. */
static void test_a_huge_jpeg_is_refused_before_its_pixels(void **state)
{
    (void)state;
    for (int progressive = 0; progressive < 2; progressive++) {
        struct image im;
        size_t size, asked;
        uint8_t *file = picture_jpeg(&(struct picture_jpeg){60, 50, 3, progressive, 0}, &size);
        assert_int_equal(decode_counted(&im, file, size, &asked).code, ST_OK);
        assert_true(asked > 0);
        image_fini(&im);
        uint8_t *header = find_frame_header(file, size);
        put16(header + 5, 65000);
        put16(header + 7, 65000);
        assert_refused(decode_counted(&im, file, size, &asked), ST_RANGE, "65000x65000");
        assert_int_equal(asked, 0);
        assert_null(im.pixels);
        free(file);
    }
}

static void put_png_size(uint8_t *file, unsigned side)
{
    file[16] = file[17] = file[20] = file[21] = 0;
    put16(file + 18, side);
    put16(file + 22, side);
    uint32_t crc = htonl((uint32_t)crc32(0, file + 12, 17));
    memcpy(file + 29, &crc, 4);
}

static void test_a_huge_png_is_refused_before_its_pixels(void **state)
{
    struct image im;
    size_t size, asked;
    uint8_t *file = picture_png(&(struct picture_png){50, 50, PNG_COLOR_TYPE_RGB, 8, false, {1}, -1}, &size);
    (void)state;
    assert_int_equal(decode_counted(&im, file, size, &asked).code, ST_OK);
    assert_true(asked > 0);
    image_fini(&im);
    put_png_size(file, 60000);
    assert_refused(decode_counted(&im, file, size, &asked), ST_RANGE, "60000x60000");
    assert_int_equal(asked, 0);
    free(file);
}

static void test_header_of_a_huge_picture_costs_nothing(void **state)
{
    struct image im;
    size_t size;
    uint8_t *file = picture_jpeg(&(struct picture_jpeg){60, 50, 3, false, 0}, &size),
            *header = find_frame_header(file, size);
    double before = max_resident_mb();
    (void)state;
    put16(header + 5, 65000);
    put16(header + 7, 65000);
    assert_refused(decode(&im, file, size), ST_RANGE, "65000x65000");

    file = picture_png(&(struct picture_png){50, 40, PNG_COLOR_TYPE_RGB, 8, false, {1}, -1}, &size);
    put_png_size(file, 60000);
    assert_refused(decode(&im, file, size), ST_RANGE, "60000x60000");
    assert_true(max_resident_mb() - before < 50);
}

/* One progressive scan repeated 500 times: a file of some 100 KB that would cost minutes at full size. */
static void test_many_passes(void **state)
{
    size_t size;
    uint8_t *file = picture_jpeg(&(struct picture_jpeg){500, 500, 3, true, 0}, &size);
    struct buf bomb = BUF_INIT(64 << 20);
    size_t last = 0;
    struct image im;
    (void)state;
    for (size_t i = 0; i + 1 < size; i++)
        if (file[i] == 0xff && file[i + 1] == 0xda)
            last = i;
    /* the last scan refines the last bits of the luma: a decoder may meet it any number of times */
    buf_add(&bomb, file, size - 2);
    for (int i = 0; i < 500; i++)
        buf_add(&bomb, file + last, size - 2 - last);
    buf_add(&bomb, "\xff\xd9", 2);
    struct status st = image_decode(&im, (const uint8_t *)bomb.data, bomb.size, &limits);
    assert_true(st.code == ST_RANGE || st.code == ST_INVALID);
    assert_null(im.pixels);
    buf_fini(&bomb);
    free(file);
}

/* A chunk that claims to be large costs what the file holds, not what it claims. */
static void test_png_chunk_that_claims_gigabytes(void **state)
{
    static const char *const types[] = {"pCAL", "tEXt", "iCCP", "sPLT", "abCd"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        struct image im;
        size_t size, asked;
        uint8_t *file = picture_png(&(struct picture_png){20, 12, PNG_COLOR_TYPE_RGB, 8, false, {1}, -1}, &size);
        double before = max_resident_mb();
        put16(file + 33, 0x6000); /* the length of the chunk behind IHDR: 1.6 GB */
        memcpy(file + 37, types[i], 4);
        assert_refused(decode_counted(&im, file, size, &asked), ST_INVALID, "ends too early");
        assert_int_equal(asked, 0);
        assert_true(max_resident_mb() - before < 50);
        free(file);
    }
}

/* A text chunk that unpacks to 60 MB is left alone. */
static void test_png_text_bomb(void **state)
{
    size_t size, n = 60 << 20;
    uint8_t *file = picture_png(&(struct picture_png){50, 40, PNG_COLOR_TYPE_RGB, 8, false, {5, 6, 7}, -1}, &size);
    uint8_t *zeros = xcalloc(1, n);
    uLongf packed = compressBound(n);
    uint8_t *chunk = xcalloc(1, packed + 64), head[8];
    struct buf bomb = BUF_INIT(64 << 20);
    struct image im;
    double before;
    (void)state;
    memcpy(chunk, "zTXtkey\0\0", 9);
    assert_int_equal(compress2(chunk + 9, &packed, zeros, n, 9), Z_OK);
    free(zeros);
    uint32_t length = htonl((uint32_t)packed + 5), crc = htonl((uint32_t)crc32(0, chunk, (uInt)packed + 9));
    memcpy(head, &length, 4);
    buf_add(&bomb, file, 33); /* signature and IHDR */
    buf_add(&bomb, head, 4);
    buf_add(&bomb, chunk, packed + 9);
    buf_add(&bomb, &crc, 4);
    buf_add(&bomb, file + 33, size - 33);
    before = max_resident_mb();
    assert_int_equal(image_decode(&im, (const uint8_t *)bomb.data, bomb.size, &limits).code, ST_OK);
    assert_pixel(&im, 1, 1, 5, 6, 7, 0);
    assert_true(max_resident_mb() - before < 30);
    image_fini(&im);
    buf_fini(&bomb);
    free(chunk);
    free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jpeg),
        cmocka_unit_test(test_gray_jpeg),
        cmocka_unit_test(test_cmyk_jpeg_of_adobe),
        cmocka_unit_test(test_large_jpeg_is_reduced_while_decoding),
        cmocka_unit_test(test_exif_turns_the_sides),
        cmocka_unit_test(test_exif_that_lies_about_itself),
        cmocka_unit_test(test_png_kinds),
        cmocka_unit_test(test_webp_kinds),
        cmocka_unit_test(test_webp_orientation),
        cmocka_unit_test(test_webp_animation_shows_its_first_frame),
        cmocka_unit_test(test_gif_kinds),
        cmocka_unit_test(test_decoding_ends_early),
        cmocka_unit_test(test_what_is_no_picture),
        cmocka_unit_test(test_too_many_bytes),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_corrupt),
        cmocka_unit_test(test_a_huge_jpeg_is_refused_before_its_pixels),
        cmocka_unit_test(test_a_huge_png_is_refused_before_its_pixels),
        cmocka_unit_test(test_header_of_a_huge_picture_costs_nothing),
        cmocka_unit_test(test_many_passes),
        cmocka_unit_test(test_png_text_bomb),
        cmocka_unit_test(test_png_chunk_that_claims_gigabytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
