/* image_jpeg.c - JPEG through libjpeg-turbo, from memory.
 *
 * libjpeg reports errors by a callback that must not return: ours jumps back to decode(). Everything that changes
 * between setjmp() and the jump lives in struct jpeg_job, which is not a local variable of decode(), so its values
 * are defined after the jump.
 *
 * Warnings mean that libjpeg guessed at missing or wrong data and would go on with grey blocks. Most end the decoding
 * here; the ones in warning_is_harmless() come from sloppy writers whose pixels are right. */
#include "exif.h"
#include "image.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jerror.h>
#include <jpeglib.h>

/* A progressive file is decoded pass by pass into coefficients of the whole picture, and each pass costs time even
 * when it holds no bytes. Real files have about ten. */
#define MAX_SCANS       64
#define MAX_SCAN_PIXELS UINT64_C(1000000000)

/* What libjpeg itself may take: 40 million pixels of progressive 4:4:4 need 240 MB of coefficients. */
#define MAX_JPEG_MEMORY (256L << 20)

struct jpeg_job {
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    struct status st;
    const struct image_limits *limits;
    struct image *image;
    uint8_t *row; /* (cols, 4) of a CMYK file */
};

static struct jpeg_job *job_of(j_common_ptr cinfo)
{
    return cinfo->client_data;
}

static _Noreturn void fail(struct jpeg_job *j, struct status st)
{
    j->st = st;
    longjmp(j->failed, 1);
}

static _Noreturn void fail_message(j_common_ptr cinfo)
{
    char text[JMSG_LENGTH_MAX];
    cinfo->err->format_message(cinfo, text);
    fail(job_of(cinfo), status_errorf(ST_INVALID, "the JPEG is damaged: %s", text));
}

static _Noreturn void on_error(j_common_ptr cinfo)
{
    if (cinfo->err->msg_code == JERR_NO_BACKING_STORE || cinfo->err->msg_code == JERR_OUT_OF_MEMORY)
        fail(job_of(cinfo),
             status_errorf(ST_RANGE, "the JPEG needs more than %ld MiB to decode", MAX_JPEG_MEMORY >> 20));
    fail_message(cinfo);
}

static bool warning_is_harmless(int code)
{
    return code == JWRN_EXTRANEOUS_DATA || code == JWRN_ADOBE_XFORM || code == JWRN_JFIF_MAJOR ||
           code == JWRN_TOO_MUCH_DATA;
}

static void on_message(j_common_ptr cinfo, int level)
{
    if (level < 0 && !warning_is_harmless(cinfo->err->msg_code))
        fail_message(cinfo);
}

static void on_progress(j_common_ptr cinfo)
{
    const struct jpeg_decompress_struct *d = (const struct jpeg_decompress_struct *)cinfo;
    uint64_t scans = (uint64_t)d->input_scan_number, pixels = (uint64_t)d->image_width * d->image_height;

    if (scans > MAX_SCANS || scans * pixels > MAX_SCAN_PIXELS)
        fail(job_of(cinfo), status_errorf(ST_RANGE, "the JPEG has too many passes for its %ux%u pixels", d->image_width,
                                          d->image_height));
    struct status st = image_may_go_on(job_of(cinfo)->limits);
    if (st.code)
        fail(job_of(cinfo), st);
}

static int stored_orientation(const struct jpeg_decompress_struct *cinfo)
{
    for (const struct jpeg_marker_struct *m = cinfo->marker_list; m; m = m->next) {
        int orientation = exif_orientation(m->data, m->data_length);
        if (orientation != 1)
            return orientation;
    }
    return 1;
}

/* The largest reduction that keeps both sides long enough; the DCT delivers these sizes almost for free. */
static unsigned reduction(const struct image *im, const struct image_limits *limits)
{
    if (limits->need_width == 0 || limits->need_height == 0)
        return 1;
    for (unsigned by = 8; by > 1; by /= 2)
        if (im->width / by >= limits->need_width && im->height / by >= limits->need_height)
            return by;
    return 1;
}

static void set_output(struct jpeg_job *j)
{
    struct jpeg_decompress_struct *d = &j->cinfo;
    struct image *im = j->image;

    im->orientation = stored_orientation(d);
    im->width = im->orientation < 5 ? d->image_width : d->image_height;
    im->height = im->orientation < 5 ? d->image_height : d->image_width;
    d->scale_num = 1;
    d->scale_denom = reduction(im, j->limits);
    bool cmyk = d->jpeg_color_space == JCS_CMYK || d->jpeg_color_space == JCS_YCCK;
    d->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
}

/* Without a colour profile there is only the simple formula. Adobe writes the four inks inverted. */
static void cmyk_to_rgb(uint8_t *rgb, const uint8_t *cmyk, size_t n, bool inverted)
{
    unsigned flip = inverted ? 0 : 255;

    for (size_t i = 0; i < n; i++) {
        unsigned k = cmyk[4 * i + 3] ^ flip;
        for (size_t c = 0; c < 3; c++)
            rgb[3 * i + c] = (uint8_t)(((cmyk[4 * i + c] ^ flip) * k + 127) / 255);
    }
}

static void read_rows(struct jpeg_job *j)
{
    struct jpeg_decompress_struct *d = &j->cinfo;
    struct image *im = j->image;

    while (d->output_scanline < d->output_height) {
        uint8_t *rgb = im->pixels + (size_t)d->output_scanline * im->cols * 3;
        uint8_t *row = j->row ? j->row : rgb;
        jpeg_read_scanlines(d, &row, 1);
        if (j->row)
            cmyk_to_rgb(rgb, j->row, im->cols, d->saw_Adobe_marker);
    }
}

static void decode(struct jpeg_job *j, const uint8_t *data, size_t size)
{
    struct jpeg_decompress_struct *d = &j->cinfo;

    if (setjmp(j->failed))
        return;
    jpeg_create_decompress(d);
    d->mem->max_memory_to_use = MAX_JPEG_MEMORY;
    d->progress = &j->progress;
    jpeg_save_markers(d, JPEG_APP0 + 1, 0xffff);
    jpeg_mem_src(d, data, size);
    jpeg_read_header(d, TRUE);
    struct status st = image_check_size(d->image_width, d->image_height, j->limits);
    if (st.code)
        fail(j, st);
    set_output(j);
    jpeg_start_decompress(d);
    j->image->cols = d->output_width;
    j->image->rows = d->output_height;
    j->image->pixels = xmalloc((size_t)d->output_width * d->output_height * 3);
    if (d->out_color_space == JCS_CMYK)
        j->row = xmalloc((size_t)d->output_width * 4);
    read_rows(j);
}

struct status image_decode_jpeg(struct image *out, const uint8_t *data, size_t size, const struct image_limits *limits)
{
    struct jpeg_job j = {.limits = limits, .image = out};

    j.cinfo.err = jpeg_std_error(&j.errors);
    j.errors.error_exit = on_error;
    j.errors.emit_message = on_message;
    j.progress.progress_monitor = on_progress;
    j.cinfo.client_data = &j;
    decode(&j, data, size);
    jpeg_destroy_decompress(&j.cinfo);
    free(j.row);
    if (j.st.code)
        image_fini(out);
    return j.st;
}
