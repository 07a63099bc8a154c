/* conv_stem.c - the first layer: with the picture's three channels neither vectors of channels nor a transform pay off.
 * It reads the planes as they are; only the tiles at the edges get a copy with zeros around it. */
#include "conv.h"
#include "stem.h"

#include <stdlib.h>

#define MAX_SIZE   7
#define EDGE_WIDTH ((STEM_MAX_PIXELS - 1) * STEM_MAX_STRIDE + MAX_SIZE)

struct stem {
    struct conv base;
    const struct stem_tiles *tiles;
    struct vec_epilogue epilogue;
    size_t size, stride, pad;
    struct cfg_shape in;
    size_t n_filters; /* rounded up to whole vectors */
    float *weights;   /* for each block: (in.c, size, size, block) */
    float *bias;
    float *zeros; /* (in.w + EDGE_WIDTH,) */
};

static bool stem_supports(const struct conv_spec *spec)
{
    const struct cfg_layer *l = spec->layer;
    return l->groups == 1 && l->size <= MAX_SIZE && l->in.c * l->size <= STEM_MAX_ROWS && l->stride <= STEM_MAX_STRIDE;
}

static size_t block_vectors(const struct stem *d, size_t f)
{
    size_t left = (d->n_filters - f) / d->tiles->lanes;
    return left < d->tiles->n_blocks ? left : d->tiles->n_blocks;
}

static void pack(struct stem *d, const float *weights, size_t n_filters)
{
    size_t taps = d->in.c * d->size * d->size;
    float *to = d->weights;

    for (size_t f = 0, block; f < d->n_filters; f += block, to += taps * block) {
        block = block_vectors(d, f) * d->tiles->lanes;
        for (size_t i = 0; i < block && f + i < n_filters; i++)
            for (size_t tap = 0; tap < taps; tap++)
                to[tap * block + i] = weights[(f + i) * taps + tap];
    }
}

static struct conv *stem_prepare(const struct conv_spec *spec)
{
    extern const struct conv_method conv_stem;
    struct stem *d = xcalloc(1, sizeof *d);
    size_t lanes;

    d->base.method = &conv_stem;
    d->tiles = stem_tiles_get();
    d->size = spec->layer->size;
    d->stride = spec->layer->stride;
    d->pad = spec->layer->pad;
    d->in = spec->layer->in;
    lanes = d->tiles->lanes;
    d->n_filters = (spec->out.c + lanes - 1) / lanes * lanes;
    d->epilogue = vec_epilogue(spec);
    d->weights = xaligned(d->n_filters * d->in.c * d->size * d->size, sizeof *d->weights);
    d->bias = xaligned(d->n_filters, sizeof *d->bias);
    d->zeros = xaligned(d->in.w + EDGE_WIDTH, sizeof *d->zeros);
    memcpy(d->bias, spec->params->bias, spec->out.c * sizeof *d->bias);
    pack(d, spec->params->weights, spec->out.c);
    d->base.weights_size = d->n_filters * (d->in.c * d->size * d->size + 1) * sizeof(float);
    return &d->base;
}

static void stem_destroy(struct conv *c)
{
    struct stem *d = (struct stem *)c;

    free(d->weights);
    free(d->bias);
    free(d->zeros);
    free(d);
}

static size_t stem_scratch_size(const struct conv *c)
{
    (void)c;
    return STEM_MAX_ROWS * EDGE_WIDTH * sizeof(float);
}

/* The rows of the window over output row y, at the picture's left side; returns how many. */
static size_t find_rows(const struct stem *d, const float *picture, size_t y, const float **rows)
{
    size_t n = 0;

    for (size_t c = 0; c < d->in.c; c++)
        for (size_t ky = 0; ky < d->size; ky++) {
            size_t in_y = y * d->stride + ky - d->pad; /* wraps above the picture: then not below h */
            rows[n++] = in_y < d->in.h ? picture + (c * d->in.h + in_y) * d->in.w : d->zeros;
        }
    return n;
}

/* What the tile at x sees, with zeros outside of the picture. */
static void copy_edge(const struct stem *d, const float *const *rows, size_t n_rows, size_t x, struct stem_tile *tile,
                      float *scratch)
{
    for (size_t i = 0; i < n_rows; i++, scratch += EDGE_WIDTH) {
        for (size_t k = 0; k < EDGE_WIDTH; k++) {
            size_t in_x = x * d->stride + k - d->pad;
            scratch[k] = in_x < d->in.w ? rows[i][in_x] : 0;
        }
        tile->rows[i] = scratch;
    }
}

static void run_tile(const struct stem *d, struct stem_tile *tile, size_t f_size_out, size_t f_size_add)
{
    char *out = tile->out, *add = tile->add;
    size_t block;

    tile->weights = d->weights;
    for (size_t f = 0; f < d->n_filters; f += block) {
        size_t n_vectors = block_vectors(d, f);
        block = n_vectors * d->tiles->lanes;
        tile->bias = d->bias + f;
        tile->out = out + f * f_size_out;
        tile->add = add + f * f_size_add;
        d->tiles->run[n_vectors - 1](tile);
        tile->weights += tile->n_rows * d->size * block;
    }
}

static void run_row(const struct stem *d, const struct conv_io *io, size_t y)
{
    const struct tensor *out = io->out, *add = io->add;
    const float *rows[STEM_MAX_ROWS];
    size_t n_rows = find_rows(d, io->in->data, y, rows);
    size_t out_size = tensor_type_size(out->type), add_size = add ? tensor_type_size(add->type) : 0;
    size_t mr =
        d->tiles->pixels[d->n_filters / d->tiles->lanes < d->tiles->n_blocks ? d->n_filters / d->tiles->lanes - 1
                                                                             : d->tiles->n_blocks - 1];
    struct stem_tile tile = {.n_rows = n_rows,
                             .size = d->size,
                             .stride = d->stride,
                             .epilogue = &d->epilogue,
                             .out_stride = out->stride * out_size,
                             .add_stride = add ? add->stride * add_size : 0};

    for (size_t x = 0; x < out->w; x += mr) {
        size_t left = x * d->stride; /* of the window, pad to the right */
        if (left >= d->pad && left - d->pad + (STEM_MAX_PIXELS - 1) * d->stride + d->size <= d->in.w)
            for (size_t i = 0; i < n_rows; i++)
                tile.rows[i] = rows[i] + left - d->pad;
        else
            copy_edge(d, rows, n_rows, x, &tile, io->scratch);
        tile.out = tensor_row(out, y) + x * tile.out_stride;
        tile.add = add ? tensor_row(add, y) + x * tile.add_stride : tile.out;
        tile.n_pixels = mr < out->w - x ? mr : out->w - x;
        run_tile(d, &tile, out_size, add_size);
    }
}

static void stem_run_rows(const struct conv *c, const struct conv_io *io, size_t y0, size_t y1)
{
    for (size_t y = y0; y < y1; y++)
        run_row((const struct stem *)c, io, y);
}

static void stem_run(const struct conv *c, const struct conv_io *io)
{
    stem_run_rows(c, io, 0, io->out->h);
}

const struct conv_method conv_stem = {
    .name = "stem",
    .in_type = TENSOR_PICTURE,
    .supports = stem_supports,
    .prepare = stem_prepare,
    .scratch_size = stem_scratch_size,
    .run = stem_run,
    .destroy = stem_destroy,
    .run_rows = stem_run_rows,
};
