/* picture.h - for the tests: JPEG, PNG, WebP and GIF files made on the spot by the libraries' own writers. */
#ifndef DETECTOR_PICTURE_H
#define DETECTOR_PICTURE_H

#include "base/base.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gif_lib.h>
#include <jpeglib.h>
#include <png.h>
#include <webp/encode.h>
#include <webp/mux.h>

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

/* ---- WebP ---- */

/* RGBA as picture_pixel() has it; the left half is transparent when asked for. */
static inline uint8_t *picture_rgba(int width, int height, bool transparent)
{
    uint8_t *pixels = xcalloc((size_t)width * (size_t)height, 4);

    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint8_t *p = pixels + 4 * (y * width + x);
            picture_pixel(p, x, y, width, height);
            p[3] = transparent && x < width / 2 ? 0 : 255;
        }
    return pixels;
}

struct picture_webp {
    int width, height;
    bool lossless, transparent;
    int orientation; /* EXIF; 0: none */
};

static inline uint8_t *picture_take_webp(WebPData data, size_t *size)
{
    uint8_t *file = xmalloc(data.size);

    memcpy(file, data.bytes, data.size);
    *size = data.size;
    WebPFree((void *)data.bytes);
    return file;
}

static inline uint8_t *picture_webp(const struct picture_webp *p, size_t *size)
{
    uint8_t exif[] = {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, (uint8_t)p->orientation,
                      0,   0,   0,  0, 0, 0, 0};
    uint8_t *pixels = picture_rgba(p->width, p->height, p->transparent), *stream;
    size_t n = p->lossless ? WebPEncodeLosslessRGBA(pixels, p->width, p->height, 4 * p->width, &stream)
                           : WebPEncodeRGBA(pixels, p->width, p->height, 4 * p->width, 95, &stream);
    WebPData image = {stream, n}, file;

    free(pixels);
    if (!p->orientation)
        return picture_take_webp(image, size);
    WebPMux *mux = WebPMuxNew();
    WebPMuxSetImage(mux, &image, 1);
    WebPMuxSetChunk(mux, "EXIF", &(WebPData){exif, sizeof exif}, 1);
    WebPMuxAssemble(mux, &file);
    WebPMuxDelete(mux);
    WebPFree(stream);
    return picture_take_webp(file, size);
}

/* Two frames; the first is the picture, the second black. */
static inline uint8_t *picture_webp_animation(int width, int height, size_t *size)
{
    WebPAnimEncoder *encoder = WebPAnimEncoderNew(width, height, NULL);
    uint8_t *pixels = picture_rgba(width, height, false);
    WebPConfig config;
    WebPData file;

    WebPConfigInit(&config);
    config.lossless = 1;
    for (int i = 0; i < 2; i++) {
        WebPPicture picture;
        WebPPictureInit(&picture);
        picture.use_argb = 1;
        picture.width = width;
        picture.height = height;
        WebPPictureImportRGBA(&picture, pixels, 4 * width);
        WebPAnimEncoderAdd(encoder, &picture, 100 * i, &config);
        WebPPictureFree(&picture);
        for (int k = 0; k < width * height * 4; k++)
            pixels[k] = k % 4 == 3 ? 255 : 0;
    }
    WebPAnimEncoderAdd(encoder, NULL, 200, NULL);
    WebPAnimEncoderAssemble(encoder, &file);
    WebPAnimEncoderDelete(encoder);
    free(pixels);
    return picture_take_webp(file, size);
}

/* ---- GIF ---- */

struct picture_gif {
    int width, height; /* of the canvas */
    int left, top;     /* of the picture, which goes to the canvas' lower right corner */
    bool interlaced, transparent, two;
};

static inline int picture_gif_flush(GifFileType *gif, const GifByteType *data, int n)
{
    buf_add(gif->UserData, data, (size_t)n);
    return n;
}

/* Colour 1 (10, 20, 30), but for colour 2 (200, 100, 50) in row 0; the second picture is of colour 3. */
static inline uint8_t *picture_gif(const struct picture_gif *p, size_t *size)
{
    static const int starts[] = {0, 4, 2, 1}, steps[] = {8, 8, 4, 2};
    GifColorType colors[4] = {{0, 0, 0}, {10, 20, 30}, {200, 100, 50}, {255, 0, 0}};
    struct buf out = BUF_INIT((size_t)64 << 20);
    int error, w = p->width - p->left, h = p->height - p->top;
    GifFileType *gif = EGifOpen(&out, picture_gif_flush, &error);
    ColorMapObject *map = GifMakeMapObject(4, colors);
    GifByteType *row = xcalloc((size_t)w, 1);

    EGifSetGifVersion(gif, true);
    EGifPutScreenDesc(gif, p->width, p->height, 2, 0, map);
    for (int i = 0; i < 1 + p->two; i++) {
        GraphicsControlBlock control = {.TransparentColor = p->transparent ? 1 : NO_TRANSPARENT_COLOR};
        GifByteType extension[4];
        EGifPutExtension(gif, GRAPHICS_EXT_FUNC_CODE, (int)EGifGCBToExtension(&control, extension), extension);
        EGifPutImageDesc(gif, p->left, p->top, w, h, p->interlaced, NULL);
        for (int pass = 0; pass < (p->interlaced ? 4 : 1); pass++)
            for (int y = p->interlaced ? starts[pass] : 0; y < h; y += p->interlaced ? steps[pass] : 1) {
                memset(row, i ? 3 : y == 0 ? 2 : 1, (size_t)w);
                EGifPutLine(gif, row, w);
            }
    }
    EGifCloseFile(gif, &error);
    GifFreeMapObject(map);
    free(row);
    *size = out.size;
    return (uint8_t *)buf_take(&out);
}

#endif
