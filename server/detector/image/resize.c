/* resize.c - one pass over the output rows. Each needs two source rows; those are first interpolated along x into
 * `lines`, which are kept while the next output row still needs them. Turning by EXIF is done on the small result:
 * bilinear with half-pixel centres is symmetric, so it commutes with flips and transposition. */
#include "resize.h"

#include <stdlib.h>
#include <string.h>

struct tap {
    uint32_t first, second; /* source indices */
    float weight;           /* of second */
};

/* Source position of output i: (i + 0.5) n / n_out - 0.5, clamped to the picture. */
static void taps_fill(struct tap *taps, uint32_t n_out, uint32_t n)
{
    double scale = (double)n / n_out;

    for (uint32_t i = 0; i < n_out; i++) {
        double at = (i + 0.5) * scale - 0.5;
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

static void resize_stored(float *out, uint32_t width, uint32_t height, const struct image *im)
{
    struct tap *xs = xcalloc(width, sizeof *xs), *ys = xcalloc(height, sizeof *ys);
    float *memory = xcalloc(6 * (size_t)width, sizeof *memory);
    struct lines l = {{memory, memory + 3 * (size_t)width}, {UINT32_MAX, UINT32_MAX}, im, xs, width};
    size_t plane = (size_t)width * height;

    taps_fill(xs, width, im->cols);
    taps_fill(ys, height, im->rows);
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

void resize_to_planes(float *out, uint32_t width, uint32_t height, const struct image *im)
{
    size_t plane = (size_t)width * height;

    if (im->orientation == 1) {
        resize_stored(out, width, height, im);
        return;
    }
    float *stored = xcalloc(3 * plane, sizeof *stored);
    bool swap = im->orientation >= 5;
    resize_stored(stored, swap ? height : width, swap ? width : height, im);
    for (size_t c = 0; c < 3; c++)
        turn_plane(out + c * plane, stored + c * plane, width, height, im->orientation);
    free(stored);
}
