/* image_png.c - PNG through libpng, from memory: every colour type and depth becomes 8-bit RGB, transparency is put
 * on white as a page would show it, and of an animation the first picture counts.
 *
 * libpng reports errors like libjpeg by a jump; see image_jpeg.c for why the state is in struct png_job. */
#include "image.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

/* Text, profiles and the like: they expand from deflate and nobody here reads them. */
#define MAX_CHUNK_BYTES (1 << 20)
#define MAX_CHUNKS      64
#define MAX_SIDE        65535

#define SIGNATURE 8
#define FRAME     12 /* of a chunk: length, type, checksum */

struct png_job {
    png_structp png;
    png_infop info;
    const uint8_t *data;
    size_t size, at;
    const struct image_limits *limits;
    struct image *image;
    png_bytep *rows;
    struct status st;
};

static _Noreturn void on_error(png_structp png, png_const_charp message)
{
    struct png_job *j = png_get_error_ptr(png);
    if (!j->st.code)
        j->st = status_errorf(ST_INVALID, "the PNG is damaged: %s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void on_read(png_structp png, png_bytep to, size_t n)
{
    struct png_job *j = png_get_io_ptr(png);
    if (n > j->size - j->at)
        png_error(png, "it ends too early");
    memcpy(to, j->data + j->at, n);
    j->at += n;
}

/* After each row of each pass. */
static void on_row(png_structp png, png_uint_32 row, int pass)
{
    struct png_job *j = png_get_error_ptr(png);

    (void)row;
    (void)pass;
    j->st = image_may_go_on(j->limits);
    if (j->st.code)
        png_longjmp(png, 1);
}

/* libpng makes room for a chunk, and fills it with zeros, before it reads it: two gigabytes for a few bytes in a file.
 * True when every chunk before the pixels ends within the file. The pixels' own are read piece by piece. */
static bool chunks_fit(const struct png_job *j)
{
    for (size_t at = SIGNATURE; j->size - at >= FRAME;) {
        const uint8_t *p = j->data + at;
        size_t length = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        if (memcmp(p + 4, "IDAT", 4) == 0)
            return true;
        if (length > j->size - at - FRAME)
            return false;
        at += FRAME + length;
    }
    return false;
}

static void set_transforms(struct png_job *j)
{
    png_set_expand(j->png);
    png_set_scale_16(j->png);
    png_set_gray_to_rgb(j->png);
    png_set_interlace_handling(j->png);
    png_read_update_info(j->png, j->info);
}

static void read_pixels(struct png_job *j)
{
    struct image *im = j->image;
    size_t row_bytes = png_get_rowbytes(j->png, j->info);

    im->pixels = xmalloc(row_bytes * im->rows);
    j->rows = xcalloc(im->rows, sizeof *j->rows);
    for (size_t y = 0; y < im->rows; y++)
        j->rows[y] = im->pixels + y * row_bytes;
    png_read_image(j->png, j->rows);
    if (png_get_channels(j->png, j->info) == 4)
        image_drop_alpha(im->pixels, (size_t)im->cols * im->rows);
}

static void decode(struct png_job *j)
{
    struct image *im = j->image;

    if (setjmp(png_jmpbuf(j->png)))
        return;
    png_set_user_limits(j->png, MAX_SIDE, MAX_SIDE);
    png_set_chunk_malloc_max(j->png, MAX_CHUNK_BYTES);
    png_set_chunk_cache_max(j->png, MAX_CHUNKS);
    png_set_read_fn(j->png, j, on_read);
    png_set_read_status_fn(j->png, on_row);
    png_read_info(j->png, j->info);
    im->cols = im->width = png_get_image_width(j->png, j->info);
    im->rows = im->height = png_get_image_height(j->png, j->info);
    j->st = image_check_size(im->cols, im->rows, j->limits);
    if (j->st.code)
        return;
    set_transforms(j);
    read_pixels(j);
}

struct status image_decode_png(struct image *out, const uint8_t *data, size_t size, const struct image_limits *limits)
{
    struct png_job j = {.data = data, .size = size, .limits = limits, .image = out};

    if (size < SIGNATURE || !chunks_fit(&j))
        return status_errorf(ST_INVALID, "the PNG is damaged: it ends too early");
    j.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &j, on_error, on_warning);
    j.info = j.png ? png_create_info_struct(j.png) : NULL;
    if (j.info)
        decode(&j);
    else
        j.st = status_errorf(ST_EXHAUSTED, "no memory for a PNG decoder");
    png_destroy_read_struct(&j.png, &j.info, NULL);
    free(j.rows);
    if (j.st.code)
        image_fini(out);
    return j.st;
}
