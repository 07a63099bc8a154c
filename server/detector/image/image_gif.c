/* image_gif.c - the first picture of a GIF through giflib, from memory. */
#include "image.h"

#include <stdlib.h>
#include <string.h>

#include <gif_lib.h>

#define MAX_EXTENSION_BLOCKS 65536 /* comments and the like before the first picture */

struct gif_job {
    GifFileType *gif;
    const uint8_t *data;
    size_t size, at;
    const struct image_limits *limits;
    struct image *image;
    int transparent; /* index; NO_TRANSPARENT_COLOR */
    GifPixelType *row;
};

static int on_read(GifFileType *gif, GifByteType *to, int n)
{
    struct gif_job *j = gif->UserData;
    size_t rest = j->size - j->at, some = (size_t)n < rest ? (size_t)n : rest;

    memcpy(to, j->data + j->at, some);
    j->at += some;
    return (int)some;
}

static struct status damaged(const struct gif_job *j)
{
    const char *why = j->gif ? GifErrorString(j->gif->Error) : NULL;
    return status_errorf(ST_INVALID, "the GIF is damaged%s%s", why ? ": " : "", why ? why : "");
}

/* The blocks of an extension; of the graphics control the transparent colour is noted. */
static struct status read_extension(struct gif_job *j, size_t *n_blocks)
{
    GraphicsControlBlock control;
    GifByteType *block;
    int code;

    if (DGifGetExtension(j->gif, &code, &block) == GIF_ERROR)
        return damaged(j);
    while (block) {
        if (code == GRAPHICS_EXT_FUNC_CODE && DGifExtensionToGCB(block[0], block + 1, &control) == GIF_OK)
            j->transparent = control.TransparentColor;
        if (++*n_blocks > MAX_EXTENSION_BLOCKS)
            return status_errorf(ST_RANGE, "the GIF has too many extensions before its picture");
        if (DGifGetExtensionNext(j->gif, &block) == GIF_ERROR)
            return damaged(j);
    }
    return image_may_go_on(j->limits);
}

/* Up to the first picture's description. */
static struct status find_picture(struct gif_job *j)
{
    struct status st = status_ok();
    GifRecordType type;
    size_t n_blocks = 0;

    while (!st.code) {
        if (DGifGetRecordType(j->gif, &type) == GIF_ERROR)
            return damaged(j);
        if (type == IMAGE_DESC_RECORD_TYPE)
            return DGifGetImageDesc(j->gif) == GIF_ERROR ? damaged(j) : st;
        if (type != EXTENSION_RECORD_TYPE)
            return status_errorf(ST_INVALID, "the GIF has no picture");
        st = read_extension(j, &n_blocks);
    }
    return st;
}

static void put_row(struct gif_job *j, const ColorMapObject *map, size_t y)
{
    const GifImageDesc *d = &j->gif->Image;
    uint8_t *to = j->image->pixels + (((size_t)d->Top + y) * j->image->cols + (size_t)d->Left) * 3;

    for (int x = 0; x < d->Width; x++, to += 3) {
        int index = j->row[x];
        if (index == j->transparent || index >= map->ColorCount)
            continue; /* white, as the canvas */
        to[0] = map->Colors[index].Red;
        to[1] = map->Colors[index].Green;
        to[2] = map->Colors[index].Blue;
    }
}

/* An interlaced picture comes in four passes. */
static struct status read_rows(struct gif_job *j, const ColorMapObject *map)
{
    static const size_t starts[] = {0, 4, 2, 1}, steps[] = {8, 8, 4, 2};
    const GifImageDesc *d = &j->gif->Image;
    size_t height = (size_t)d->Height;

    j->row = xmalloc((size_t)d->Width);
    for (size_t pass = 0; pass < (d->Interlace ? 4 : 1); pass++)
        for (size_t y = d->Interlace ? starts[pass] : 0; y < height; y += d->Interlace ? steps[pass] : 1) {
            struct status st = image_may_go_on(j->limits);
            if (st.code)
                return st;
            if (DGifGetLine(j->gif, j->row, d->Width) == GIF_ERROR)
                return damaged(j);
            put_row(j, map, y);
        }
    return status_ok();
}

static struct status decode(struct gif_job *j)
{
    struct image *im = j->image;

    im->cols = im->width = (uint32_t)j->gif->SWidth;
    im->rows = im->height = (uint32_t)j->gif->SHeight;
    struct status st = image_check_size(im->cols, im->rows, j->limits);
    if (!st.code)
        st = find_picture(j);
    if (st.code)
        return st;
    const GifImageDesc *d = &j->gif->Image;
    const ColorMapObject *map = d->ColorMap ? d->ColorMap : j->gif->SColorMap;
    if (!map || d->Width < 1 || d->Height < 1 || d->Left < 0 || d->Top < 0 ||
        (uint32_t)d->Left + (uint32_t)d->Width > im->cols || (uint32_t)d->Top + (uint32_t)d->Height > im->rows)
        return status_errorf(ST_INVALID, "the GIF is damaged: its picture lies outside of it or has no colours");
    im->pixels = xmalloc((size_t)im->cols * im->rows * 3);
    memset(im->pixels, 255, (size_t)im->cols * im->rows * 3);
    return read_rows(j, map);
}

struct status image_decode_gif(struct image *out, const uint8_t *data, size_t size, const struct image_limits *limits)
{
    struct gif_job j = {
        .data = data, .size = size, .limits = limits, .image = out, .transparent = NO_TRANSPARENT_COLOR};

    j.gif = DGifOpen(&j, on_read, NULL);
    struct status st = j.gif ? decode(&j) : damaged(&j);
    if (j.gif)
        DGifCloseFile(j.gif, NULL);
    free(j.row);
    if (st.code)
        image_fini(out);
    return st;
}
