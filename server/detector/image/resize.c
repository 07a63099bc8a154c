/* resize.c - one pass over the output rows. Each needs two source rows; those are first interpolated along x into
 * `lines`, which are kept while the next output row still needs them. Turning by EXIF is done on the small result:
 * bilinear with half-pixel centres is symmetric, so it commutes with flips and transposition. */
#include "resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct tap {
    uint32_t first, second; /* source indices */
    float weight;           /* of second */
};

/* Source position of output i: (i + 0.5) n / n_out - 0.5, clamped to the picture; corners: i (n - 1) / (n_out - 1). */
static void taps_fill(struct tap *taps, uint32_t n_out, uint32_t n, bool corners)
{
    double scale = corners ? (n_out > 1 ? (n - 1.0) / (n_out - 1.0) : n) : (double)n / n_out;

    for (uint32_t i = 0; i < n_out; i++) {
        double at = corners ? (n_out > 1 ? i : 1) * scale : (i + 0.5) * scale - 0.5;
        at = at < 0 ? 0 : at > n - 1 ? n - 1 : at;
        taps[i].first = (uint32_t)at;
        taps[i].second = taps[i].first + 1 < n ? taps[i].first + 1 : taps[i].first;
        taps[i].weight = (float)(at - taps[i].first);
    }
}

/* line (3, width) = one source row interpolated along x, 0..1 */
static void line_fill(float *restrict line, const uint8_t *restrict row, const struct tap *restrict taps,
                      uint32_t width)
{
    float *red = line, *green = line + width, *blue = line + 2 * (size_t)width;

    for (uint32_t x = 0; x < width; x++) {
        const uint8_t *a = row + 3 * (size_t)taps[x].first, *b = row + 3 * (size_t)taps[x].second;
        float wb = taps[x].weight * (1.0f / 255), wa = (1.0f / 255) - wb;
        red[x] = wa * a[0] + wb * b[0];
        green[x] = wa * a[1] + wb * b[1];
        blue[x] = wa * a[2] + wb * b[2];
    }
}

struct lines {
    float *data[2];
    uint32_t row[2]; /* the source row each holds; UINT32_MAX: none */
    const struct image *im;
    const struct tap *taps;
    uint32_t width;
};

/* The interpolated source row, made where it takes the place of any row but `keep`. */
static const float *lines_get(struct lines *l, uint32_t row, uint32_t keep)
{
    for (int i = 0; i < 2; i++)
        if (l->row[i] == row)
            return l->data[i];
    int i = l->row[0] == keep ? 1 : 0;
    line_fill(l->data[i], l->im->pixels + (size_t)row * l->im->cols * 3, l->taps, l->width);
    l->row[i] = row;
    return l->data[i];
}

static void resize_stored(float *out, uint32_t width, uint32_t height, const struct image *im, bool corners)
{
    struct tap *xs = xcalloc(width, sizeof *xs), *ys = xcalloc(height, sizeof *ys);
    float *memory = xcalloc(6 * (size_t)width, sizeof *memory);
    struct lines l = {{memory, memory + 3 * (size_t)width}, {UINT32_MAX, UINT32_MAX}, im, xs, width};
    size_t plane = (size_t)width * height;

    taps_fill(xs, width, im->cols, corners);
    taps_fill(ys, height, im->rows, corners);
    for (uint32_t y = 0; y < height; y++) {
        const float *a = lines_get(&l, ys[y].first, ys[y].second), *b = lines_get(&l, ys[y].second, ys[y].first);
        float wb = ys[y].weight, wa = 1 - wb;
        for (size_t c = 0; c < 3; c++) {
            float *restrict to = out + c * plane + (size_t)y * width;
            for (size_t x = 0, in = c * width; x < width; x++)
                to[x] = wa * a[in + x] + wb * b[in + x];
        }
    }
    free(memory);
    free(xs);
    free(ys);
}

/* out (height, width) from stored, whose sides are swapped for orientations 5 and above. */
static void turn_plane(float *out, const float *stored, uint32_t width, uint32_t height, int orientation)
{
    bool swap = orientation >= 5;
    bool flip_x = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
    bool flip_y = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;

    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++) {
            uint32_t fx = flip_x ? width - 1 - x : x, fy = flip_y ? height - 1 - y : y;
            out[(size_t)y * width + x] = swap ? stored[(size_t)fx * height + fy] : stored[(size_t)fy * width + fx];
        }
}

/* ---- as OpenCV ---- */

/* OpenCV's resize() of bytes, INTER_LINEAR: weights are 11 bits, and the vertical pass drops bits in the middle. */
struct fixed_tap {
    uint32_t first, second;
    int32_t weight_first, weight_second; /* of 2048 */
};

/* x: weights outside of the picture go to its edge; y: OpenCV keeps them and repeats the row. */
static void fixed_taps_fill(struct fixed_tap *taps, uint32_t n_out, uint32_t n, bool is_x)
{
    double scale = 1 / ((double)n_out / n);

    for (uint32_t i = 0; i < n_out; i++) {
        float at = (float)((i + 0.5) * scale - 0.5);
        int64_t first = (int64_t)floorf(at);
        float part = at - (float)first;
        if (is_x && (first < 0 || first >= (int64_t)n - 1))
            part = 0;
        int64_t a = first < 0   ? 0
                    : first < n ? first
                                : n - 1,
                b = first + 1 < 0   ? 0
                    : first + 1 < n ? first + 1
                                    : n - 1;
        taps[i] = (struct fixed_tap){(uint32_t)a, (uint32_t)b, (int32_t)lrintf((1 - part) * 2048),
                                     (int32_t)lrintf(part * 2048)};
    }
}

/* Exactly half the size is a mean of four there. */
static void halve(float *out, uint32_t width, uint32_t height, const struct image *im)
{
    size_t plane = (size_t)width * height, stride = 3 * (size_t)im->cols;

    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++)
            for (size_t c = 0; c < 3; c++) {
                const uint8_t *p = im->pixels + 2 * y * stride + 6 * x + c;
                out[c * plane + y * width + x] =
                    (float)((p[0] + p[3] + p[stride] + p[stride + 3] + 2) >> 2) * (1.0f / 255);
            }
}

static void resize_fixed(float *out, uint32_t width, uint32_t height, const struct image *im)
{
    struct fixed_tap *xs = xcalloc(width, sizeof *xs), *ys = xcalloc(height, sizeof *ys);
    size_t plane = (size_t)width * height, stride = 3 * (size_t)im->cols;

    fixed_taps_fill(xs, width, im->cols, true);
    fixed_taps_fill(ys, height, im->rows, false);
    for (size_t y = 0; y < height; y++) {
        const uint8_t *a = im->pixels + ys[y].first * stride, *b = im->pixels + ys[y].second * stride;
        for (size_t x = 0; x < width; x++)
            for (size_t c = 0; c < 3; c++) {
                size_t first = 3 * (size_t)xs[x].first + c, second = 3 * (size_t)xs[x].second + c;
                int32_t u = a[first] * xs[x].weight_first + a[second] * xs[x].weight_second;
                int32_t v = b[first] * xs[x].weight_first + b[second] * xs[x].weight_second;
                int32_t sum = (ys[y].weight_first * (u >> 4) >> 16) + (ys[y].weight_second * (v >> 4) >> 16);
                out[c * plane + y * width + x] = (float)((sum + 2) >> 2) * (1.0f / 255);
            }
    }
    free(xs);
    free(ys);
}

static void resize_opencv(float *out, uint32_t width, uint32_t height, const struct image *im)
{
    if (im->cols == 2 * width && im->rows == 2 * height)
        halve(out, width, height, im);
    else
        resize_fixed(out, width, height, im);
}

/* ---- turning, and where it goes ---- */

static void resize_any(float *out, uint32_t width, uint32_t height, const struct image *im, enum resize_mode mode)
{
    if (mode == RESIZE_OPENCV)
        resize_opencv(out, width, height, im);
    else
        resize_stored(out, width, height, im, mode == RESIZE_LETTERBOX);
}

static void resize_turned(float *out, uint32_t width, uint32_t height, const struct image *im, enum resize_mode mode)
{
    size_t plane = (size_t)width * height;

    if (im->orientation == 1) {
        resize_any(out, width, height, im, mode);
        return;
    }
    float *stored = xcalloc(3 * plane, sizeof *stored);
    bool swap = im->orientation >= 5;
    resize_any(stored, swap ? height : width, swap ? width : height, im, mode);
    for (size_t c = 0; c < 3; c++)
        turn_plane(out + c * plane, stored + c * plane, width, height, im->orientation);
    free(stored);
}

static struct resize_frame letterbox(float *out, uint32_t width, uint32_t height, const struct image *im)
{
    bool wide = (float)width / (float)im->width < (float)height / (float)im->height;
    uint32_t w = wide ? width : (uint32_t)((uint64_t)im->width * height / im->height);
    uint32_t h = wide ? (uint32_t)((uint64_t)im->height * width / im->width) : height;

    w = w ? w : 1;
    h = h ? h : 1;
    float *inner = xcalloc(3 * (size_t)w * h, sizeof *inner);
    resize_turned(inner, w, h, im, RESIZE_LETTERBOX);
    for (size_t i = 0, n = 3 * (size_t)width * height; i < n; i++)
        out[i] = 0.5f;
    for (size_t c = 0; c < 3; c++)
        for (size_t y = 0; y < h; y++)
            memcpy(out + (c * height + y + (height - h) / 2) * width + (width - w) / 2, inner + (c * h + y) * w,
                   w * sizeof *out);
    free(inner);
    float dx = (float)(width - w) / 2 / (float)width, dy = (float)(height - h) / 2 / (float)height;
    return (struct resize_frame){dx, dy, (float)w / (float)width, (float)h / (float)height};
}

struct resize_frame resize_to_planes(float *out, uint32_t width, uint32_t height, const struct image *im,
                                     enum resize_mode mode)
{
    if (mode == RESIZE_LETTERBOX)
        return letterbox(out, width, height, im);
    resize_turned(out, width, height, im, mode);
    return (struct resize_frame){0, 0, 1, 1};
}

static const char *const mode_names[] = {"plain", "letterbox", "opencv"};

bool resize_mode_parse(enum resize_mode *out, const char *name)
{
    for (size_t i = 0; i < COUNT_OF(mode_names); i++)
        if (strcmp(mode_names[i], name) == 0) {
            *out = (enum resize_mode)i;
            return true;
        }
    return false;
}

const char *resize_mode_name(enum resize_mode mode)
{
    return mode_names[mode];
}
