/* picture.h - for the tests: JPEG and PNG files made on the spot by the libraries' own writers. */
#ifndef DETECTOR_PICTURE_H
#define DETECTOR_PICTURE_H

#include "base/base.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

struct picture_jpeg {
    int width, height;
    int components; /* 1 gray, 3 RGB, 4 CMYK as Adobe writes it */
    bool progressive;
    int orientation; /* EXIF; 0: no EXIF */
};

/* Red grows to the right, green downwards, blue is constant. */
static inline void picture_pixel(uint8_t *p, int x, int y, int width, int height)
{
    p[0] = (uint8_t)(x * 255 / (width > 1 ? width - 1 : 1));
    p[1] = (uint8_t)(y * 255 / (height > 1 ? height - 1 : 1));
    p[2] = 60;
}

static inline void picture_write_exif(struct jpeg_compress_struct *c, int orientation)
{
    uint8_t exif[] = {
        'E', 'x', 'i', 'f', 0, 0, 'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, (uint8_t)orientation,
        0,   0,   0,   0,   0, 0, 0};
    jpeg_write_marker(c, JPEG_APP0 + 1, exif, sizeof exif);
}

static inline uint8_t *picture_jpeg(const struct picture_jpeg *p, size_t *size)
{
    static const J_COLOR_SPACE spaces[] = {[1] = JCS_GRAYSCALE, [3] = JCS_RGB, [4] = JCS_CMYK};
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr err;
    unsigned char *file = NULL;
    unsigned long n = 0;
    uint8_t *row = xcalloc((size_t)p->width, 4);

    c.err = jpeg_std_error(&err);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &file, &n);
    c.image_width = (JDIMENSION)p->width;
    c.image_height = (JDIMENSION)p->height;
    c.input_components = p->components;
    c.in_color_space = spaces[p->components];
    jpeg_set_defaults(&c);
    jpeg_set_quality(&c, 95, TRUE);
    if (p->progressive)
        jpeg_simple_progression(&c);
    jpeg_start_compress(&c, TRUE);
    if (p->orientation)
        picture_write_exif(&c, p->orientation);
    for (int y = 0; y < p->height; y++) {
        for (int x = 0; x < p->width; x++) {
            uint8_t rgb[3];
            picture_pixel(rgb, x, y, p->width, p->height);
            memcpy(row + x * p->components, rgb, (size_t)(p->components < 3 ? 1 : 3));
            if (p->components == 4)
                row[4 * x + 3] = 255; /* no black: Adobe's inks are inverted */
        }
        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    free(row);
    *size = n;
    return file;
}

struct picture_png {
    int width, height;
    int color, depth; /* PNG_COLOR_TYPE_..., 1 to 16 */
    bool interlaced;
    uint8_t fill[8]; /* every pixel's bytes (palette and depths below 8: every byte of the rows) */
    int transparent; /* palette: index that is fully transparent; -1: none */
};

static inline void picture_png_flush(png_structp png, png_bytep data, png_size_t n)
{
    buf_add(png_get_io_ptr(png), data, n);
}

static inline void picture_png_palette(png_structp png, png_infop info, int transparent)
{
    png_color palette[4] = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {9, 9, 9}};
    uint8_t alpha[4] = {255, 255, 255, 255};

    png_set_PLTE(png, info, palette, 4);
    if (transparent >= 0) {
        alpha[transparent] = 0;
        png_set_tRNS(png, info, alpha, 4, NULL);
    }
}

static inline uint8_t *picture_png(const struct picture_png *p, size_t *size)
{
    struct buf out = BUF_INIT((size_t)64 << 20);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);

    png_set_write_fn(png, &out, picture_png_flush, NULL);
    png_set_IHDR(png, info, (png_uint_32)p->width, (png_uint_32)p->height, p->depth, p->color,
                 p->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    if (p->color == PNG_COLOR_TYPE_PALETTE)
        picture_png_palette(png, info, p->transparent);
    png_write_info(png, info);
    size_t row_bytes = png_get_rowbytes(png, info), step = p->depth < 8 ? 1 : row_bytes / (size_t)p->width;
    uint8_t *row = xcalloc(1, row_bytes);
    for (size_t i = 0; i < row_bytes; i++)
        row[i] = p->fill[i % step];
    int passes = p->interlaced ? png_set_interlace_handling(png) : 1;
    for (int i = 0; i < passes * p->height; i++)
        png_write_row(png, row);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    free(row);
    *size = out.size;
    return (uint8_t *)buf_take(&out);
}

#endif
