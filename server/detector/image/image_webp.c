/* image_webp.c - WebP through libwebp, from memory: lossy, lossless, with alpha, and the first frame of an animation.
 * The file is handed over in pieces, so that the clock is looked at in between. */
#include "exif.h"
#include "image.h"

#include <stdlib.h>
#include <string.h>

#include <webp/decode.h>
#include <webp/demux.h>

#define PIECE_BYTES ((size_t)16 << 10)
#define EXIF_BYTES  ((size_t)64 << 10) /* of which the orientation stands at the front */

/* One frame: a bit stream of its own, and where it lies on the canvas. */
struct frame {
    const uint8_t *data;
    size_t size;
    uint32_t left, top;
};

static struct status damaged(void)
{
    return status_errorf(ST_INVALID, "the WebP is damaged");
}

/* config->output holds memory for the whole frame. */
static struct status decode_stream(WebPDecoderConfig *config, const struct frame *f, const struct image_limits *limits)
{
    WebPIDecoder *decoder = WebPIDecode(NULL, 0, config);
    VP8StatusCode code = decoder ? VP8_STATUS_SUSPENDED : VP8_STATUS_OUT_OF_MEMORY;
    struct status st = status_ok();

    for (size_t at = 0; code == VP8_STATUS_SUSPENDED && at < f->size && !st.code;) {
        at = f->size - at > PIECE_BYTES ? at + PIECE_BYTES : f->size;
        code = WebPIUpdate(decoder, f->data, at);
        st = image_may_go_on(limits);
    }
    WebPIDelete(decoder);
    if (!st.code && code == VP8_STATUS_OUT_OF_MEMORY)
        st = status_errorf(ST_EXHAUSTED, "no memory for a WebP decoder");
    return st.code || code == VP8_STATUS_OK ? st : damaged();
}

static struct status decode_frame(struct image *im, const struct frame *f, const struct image_limits *limits)
{
    WebPDecoderConfig config;

    if (!WebPInitDecoderConfig(&config) || WebPGetFeatures(f->data, f->size, &config.input) != VP8_STATUS_OK)
        return damaged();
    size_t w = (size_t)config.input.width, h = (size_t)config.input.height;
    if (w + f->left > im->cols || h + f->top > im->rows)
        return damaged();
    uint8_t *pixels = xmalloc(w * h * 4);
    config.output.colorspace = MODE_RGBA;
    config.output.u.RGBA = (WebPRGBABuffer){pixels, (int)(4 * w), 4 * w * h};
    config.output.is_external_memory = 1;
    struct status st = decode_stream(&config, f, limits);
    if (!st.code) {
        image_drop_alpha(pixels, w * h);
        for (size_t y = 0; y < h; y++)
            memcpy(im->pixels + ((f->top + y) * im->cols + f->left) * 3, pixels + y * w * 3, w * 3);
    }
    free(pixels);
    return st;
}

/* EXIF stands in a chunk of its own, mostly without the name in front that JPEG's has. */
static int stored_orientation(const WebPDemuxer *demuxer)
{
    static const char name[] = "Exif\0";
    WebPChunkIterator chunk;
    int orientation = 1;

    if (!WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk))
        return 1;
    size_t n = chunk.chunk.size < EXIF_BYTES ? chunk.chunk.size : EXIF_BYTES;
    uint8_t *block = xmalloc(sizeof name + n);
    memcpy(block, name, sizeof name);
    memcpy(block + sizeof name, chunk.chunk.bytes, n);
    bool named = n >= sizeof name && memcmp(chunk.chunk.bytes, name, sizeof name) == 0;
    orientation = named ? exif_orientation(block + sizeof name, n) : exif_orientation(block, sizeof name + n);
    free(block);
    WebPDemuxReleaseChunkIterator(&chunk);
    return orientation;
}

static struct status decode(struct image *im, const WebPDemuxer *demuxer, const struct image_limits *limits)
{
    WebPIterator it;

    im->cols = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_WIDTH);
    im->rows = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_HEIGHT);
    struct status st = image_check_size(im->cols, im->rows, limits);
    if (st.code)
        return st;
    if (!WebPDemuxGetFrame(demuxer, 1, &it))
        return damaged();
    struct frame f = {it.fragment.bytes, it.fragment.size, (uint32_t)it.x_offset, (uint32_t)it.y_offset};
    im->orientation = stored_orientation(demuxer);
    im->width = im->orientation < 5 ? im->cols : im->rows;
    im->height = im->orientation < 5 ? im->rows : im->cols;
    im->pixels = xmalloc((size_t)im->cols * im->rows * 3);
    memset(im->pixels, 255, (size_t)im->cols * im->rows * 3);
    st = it.complete ? decode_frame(im, &f, limits) : damaged();
    WebPDemuxReleaseIterator(&it);
    return st;
}

struct status image_decode_webp(struct image *out, const uint8_t *data, size_t size, const struct image_limits *limits)
{
    WebPDemuxer *demuxer = WebPDemux(&(WebPData){data, size}); /* refuses what ends too early */
    struct status st = demuxer ? decode(out, demuxer, limits) : damaged();

    WebPDemuxDelete(demuxer);
    if (st.code)
        image_fini(out);
    return st;
}
