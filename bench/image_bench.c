/* image_bench.c - how long a picture takes to decode, and a hostile one to be refused, on one core.
 *
 *     image_bench [ROUNDS]
 *
 * Lines are key=value pairs: "decode" for a picture of 640 x 480 in each format, "refuse" for files of a few KB whose
 * header speaks of 65000 x 65000 pixels (of what the format can say at most, where that is less). Wall clock of
 * image_decode() with the detector's own limits: the median and the longest of the rounds. */
#include "image/image.h"
#include "image/picture.h"

#include <zlib.h>

#define MAX_ROUNDS 100000
#define SIDE       65000

static const struct image_limits limits = {10 << 20, 40000000, 0, 0, 0, NULL, NULL};

static int by_time(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void measure(const char *what, const char *format, uint8_t *file, size_t size, int rounds)
{
    double *us = xcalloc((size_t)rounds, sizeof *us);
    struct status st = status_ok();

    for (int i = 0; i < rounds; i++) {
        struct image im;
        int64_t start = clock_now();
        st = image_decode(&im, file, size, &limits);
        us[i] = 1e6 * clock_seconds(start);
        if (!st.code)
            image_fini(&im);
    }
    if ((st.code == ST_OK) != (strcmp(what, "decode") == 0))
        or_die(status_errorf(ST_INTERNAL, "%s of a %s: %s", what, format, st.code ? st.msg : "it was taken"));
    qsort(us, (size_t)rounds, sizeof *us, by_time);
    printf("%s format=%s bytes=%zu median_us=%.1f max_us=%.1f\n", what, format, size, us[rounds / 2], us[rounds - 1]);
    free(us);
    free(file);
}

static uint8_t *make(const char *format, size_t *size)
{
    const int w = 640, h = 480;

    if (strncmp(format, "jpeg", 4) == 0)
        return picture_jpeg(&(struct picture_jpeg){w, h, 3, strcmp(format, "jpeg") != 0, 0}, size);
    if (strcmp(format, "png") == 0)
        return picture_png(&(struct picture_png){w, h, PNG_COLOR_TYPE_RGB, 8, false, {9, 99, 199}, -1}, size);
    if (strcmp(format, "webp") == 0)
        return picture_webp(&(struct picture_webp){w, h, false, false, 1}, size);
    return picture_gif(&(struct picture_gif){w, h, 0, 0, false, false, false}, size);
}

/* ---- the same files with another size in their headers ---- */

static void put_big(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void enlarge_jpeg(uint8_t *file)
{
    while (file[0] != 0xff || (file[1] != 0xc0 && file[1] != 0xc2))
        file++;
    file[5] = file[7] = SIDE >> 8;
    file[6] = file[8] = SIDE & 0xff;
}

static void enlarge(const char *format, uint8_t *file)
{
    if (strncmp(format, "jpeg", 4) == 0) {
        enlarge_jpeg(file);
    } else if (strcmp(format, "png") == 0) {
        put_big(file + 16, SIDE);
        put_big(file + 20, SIDE);
        put_big(file + 29, (uint32_t)crc32(0, file + 12, 17));
    } else if (strcmp(format, "webp") == 0) {
        memset(file + 24, 0x3f, 6); /* the canvas, of VP8X: three little-endian bytes a side, less one */
        file[26] = file[29] = 0;
    } else {
        file[6] = file[8] = SIDE & 0xff;
        file[7] = file[9] = SIDE >> 8;
    }
}

int main(int argc, char **argv)
{
    static const char *const formats[] = {"jpeg", "jpeg-progressive", "png", "webp", "gif"};
    int rounds = argc > 1 ? atoi(argv[1]) : 200;

    if (rounds < 1 || rounds > MAX_ROUNDS)
        or_die(status_errorf(ST_INVALID, "1 to %d rounds are possible", MAX_ROUNDS));
    for (size_t i = 0; i < COUNT_OF(formats); i++) {
        size_t size;
        uint8_t *file = make(formats[i], &size);
        measure("decode", formats[i], file, size, rounds);
        file = make(formats[i], &size);
        enlarge(formats[i], file);
        measure("refuse", formats[i], file, size, rounds);
    }
    return 0;
}
