/* conv_direct.c - the direct convolution, in floats and in BF16: no im2col, no transform, any size, stride and padding.
 * Both see cells of 32 bits (direct.h): a channel, or two of them.
 *
 * For a block of pixels that fits the second-level cache together with its inputs, every block of filters goes over the
 * whole depth, part by part; a part's weights stay in the first-level cache while all tiles of the block of pixels use
 * them, so that large layers read their weights once from memory. */
#include "conv.h"
#include "direct.h"

#include <stdlib.h>

#define MAX_BLOCK_PIXELS 192 /* their partial sums (12 KB with 16 filters) stay in the first-level cache */
#define LINE             64
#define PART_CELLS       4096 /* weights of a part, 16 KB */

struct direct {
    struct conv base;
    const struct direct_tiles *tiles;
    size_t per_cell; /* channels */
    size_t in_c, out_c;
    size_t n_cells; /* of a pixel */
    struct vec_epilogue epilogue;
    size_t size, stride, pad;
    size_t n_filters; /* rounded up to whole vectors */
    float *weights;   /* for each block: (size size, n_cells, block) cells */
    float *bias;      /* (n_filters,) */
    float *zeros;     /* (n_cells,): what padding reads */
};

static bool direct_supports(const struct conv_spec *spec)
{
    return spec->layer->groups == 1;
}

/* A last cell would have half a neighbour in it. */
static bool direct_supports_bf16(const struct conv_spec *spec)
{
    return spec->layer->groups == 1 && spec->layer->in.c % 2 == 0 && direct_tiles_get_bf16();
}

/* Vectors in the block of filters that starts at f. */
static size_t block_vectors(const struct direct *d, size_t f)
{
    size_t left = (d->n_filters - f) / d->tiles->lanes;
    return left < d->tiles->n_blocks ? left : d->tiles->n_blocks;
}

/* Channel k's weight into its cell. */
static void put_weight(const struct direct *d, float *cell, size_t k, float weight)
{
    if (d->per_cell == 1) {
        *cell = weight;
    } else {
        uint16_t half = tensor_bf16(weight);
        memcpy((char *)cell + k % 2 * sizeof half, &half, sizeof half);
    }
}

static void pack(struct direct *d, const float *weights)
{
    size_t taps = d->size * d->size, c = d->in_c, filters = d->out_c;
    float *to = d->weights;

    for (size_t f = 0, block; f < d->n_filters; f += block) {
        block = block_vectors(d, f) * d->tiles->lanes;
        for (size_t i = 0; i < block && f + i < filters; i++)
            for (size_t k = 0; k < c; k++)
                for (size_t tap = 0; tap < taps; tap++)
                    put_weight(d, to + (tap * d->n_cells + k / d->per_cell) * block + i, k,
                               weights[((f + i) * c + k) * taps + tap]);
        to += taps * d->n_cells * block;
    }
}

static struct conv *prepare(const struct conv_method *method, const struct direct_tiles *tiles, size_t per_cell,
                            const struct conv_spec *spec)
{
    struct direct *d = xcalloc(1, sizeof *d);
    size_t lanes;

    d->base.method = method;
    d->tiles = tiles;
    d->per_cell = per_cell;
    d->in_c = spec->in.c;
    d->n_cells = spec->in.c / per_cell;
    d->out_c = spec->out.c;
    d->size = spec->layer->size;
    d->stride = spec->layer->stride;
    d->pad = spec->layer->pad;
    lanes = d->tiles->lanes;
    d->n_filters = (spec->out.c + lanes - 1) / lanes * lanes;
    d->epilogue = vec_epilogue(spec);
    d->weights = xaligned(d->n_filters * d->n_cells * d->size * d->size, sizeof *d->weights);
    d->bias = xaligned(d->n_filters, sizeof *d->bias);
    d->zeros = xaligned(d->n_cells, sizeof *d->zeros);
    memcpy(d->bias, spec->params->bias, spec->out.c * sizeof *d->bias);
    pack(d, spec->params->weights);
    d->base.weights_size = (d->n_filters * (d->n_cells * d->size * d->size + 1) + d->n_cells) * sizeof(float);
    return &d->base;
}

static struct conv *direct_prepare(const struct conv_spec *spec)
{
    extern const struct conv_method conv_direct;
    return prepare(&conv_direct, direct_tiles_get(), 1, spec);
}

static struct conv *direct_prepare_bf16(const struct conv_spec *spec)
{
    extern const struct conv_method conv_direct_bf16;
    return prepare(&conv_direct_bf16, direct_tiles_get_bf16(), 2, spec);
}

static void direct_destroy(struct conv *c)
{
    struct direct *d = (struct direct *)c;

    free(d->weights);
    free(d->bias);
    free(d->zeros);
    free(d);
}

/* Pixels in a block, over all: pointers for each tap, and the partial sums of one block of filters. */
#define TABLE_PIXELS (MAX_BLOCK_PIXELS + DIRECT_MAX_PIXELS)

static size_t direct_scratch_size(const struct conv *c)
{
    const struct direct *d = (const struct direct *)c;

    return TABLE_PIXELS * (d->size * d->size * sizeof(float *) + d->tiles->n_blocks * d->tiles->lanes * sizeof(float));
}

/* A run over some rows, and within it a block of pixels. */
struct sweep {
    const struct direct *d;
    const struct conv_io *io;
    const float **table; /* (taps, TABLE_PIXELS) */
    float *partial;      /* (TABLE_PIXELS, block) */
    size_t first, n;     /* the block's pixels, in the output's order */
};

/* One tap of the block: its pixels' pointers; those beyond the last repeat it, so that tiles are always whole. */
static void table_fill_tap(const struct sweep *s, size_t ky, size_t kx)
{
    const struct direct *d = s->d;
    const struct tensor *in = s->io->in;
    size_t out_w = s->io->out->w, x = s->first % out_w, y = s->first / out_w, step = in->stride / d->per_cell;
    const float **to = s->table + (ky * d->size + kx) * TABLE_PIXELS;

    for (size_t i = 0; i < s->n; x = 0, y++) {
        size_t in_y = y * d->stride + ky - d->pad, in_x = x * d->stride + kx - d->pad; /* wrap: not below h, w */
        size_t end = i + out_w - x < s->n ? i + out_w - x : s->n;
        const float *row = in_y < in->h ? (const float *)(const void *)tensor_row(in, in_y) : NULL;
        for (; i < end; i++, in_x += d->stride)
            to[i] = row && in_x < in->w ? row + in_x * step : d->zeros;
    }
    for (size_t i = 0; i < DIRECT_MAX_PIXELS; i++)
        to[s->n + i] = to[s->n - 1];
}

/* Pointwise with rows that lie without gaps: a straight line. */
static void table_fill(const struct sweep *s)
{
    for (size_t ky = 0; ky < s->d->size; ky++)
        for (size_t kx = 0; kx < s->d->size; kx++)
            table_fill_tap(s, ky, kx);
}

/* All tiles of the block of pixels over one part of the depth; meanwhile the next part's weights come nearer. */
static void run_part(const struct sweep *s, struct direct_tile *tile, size_t n_vectors, const float *const *table)
{
    size_t mr = s->d->tiles->pixels[n_vectors - 1], block = n_vectors * s->d->tiles->lanes;
    char *out = tile->out, *add = tile->add;

    const char *next = (const char *)(tile->weights + tile->n_taps * tile->n_cells * block);
    size_t lines = PART_CELLS * sizeof(float) / LINE * mr / s->n + 1;

    for (size_t p = 0; p < s->n; p += mr, next += lines * LINE) {
        for (size_t i = 0; i < lines; i++)
            __builtin_prefetch(next + i * LINE, 0, 2); /* never faults */
        tile->pixels = table + p;
        tile->partial = s->partial + p * block;
        tile->out = out + p * tile->out_stride;
        tile->add = add + p * tile->add_stride;
        tile->n_pixels = mr < s->n - p ? mr : s->n - p;
        s->d->tiles->run[n_vectors - 1](tile);
    }
    tile->out = out;
    tile->add = add;
}

/* Moves the pointers of one tap on by n cells, past the padding's zeros. */
static void table_advance(const struct sweep *s, const float **tap, size_t n)
{
    for (size_t i = 0; i < s->n + DIRECT_MAX_PIXELS; i++)
        tap[i] += n;
}

/* The block of filters from f on, which has its weights at w. A part is some whole taps or a piece of one. */
static void run_filters(const struct sweep *s, struct direct_tile *tile, size_t n_vectors, const float *w)
{
    size_t block = n_vectors * s->d->tiles->lanes, c = s->d->n_cells, taps = s->d->size * s->d->size;
    size_t room = PART_CELLS / block, per_part = room / c, tap = 0;

    tile->table_stride = TABLE_PIXELS;
    while (tap < taps) {
        size_t n = per_part ? (per_part < taps - tap ? per_part : taps - tap) : 1;
        for (size_t k = 0, step; k < c; k += step) {
            step = per_part || c - k < room ? c - k : room;
            tile->first = tap == 0 && k == 0;
            tile->last = tap + n == taps && k + step == c;
            tile->n_taps = n;
            tile->n_cells = step;
            tile->weights = w;
            run_part(s, tile, n_vectors, s->table + tap * TABLE_PIXELS);
            w += n * step * block;
            if (!per_part)
                table_advance(s, s->table + tap * TABLE_PIXELS, k + step < c ? step : 0 - k);
        }
        tap += n;
    }
}

static void run_block(const struct sweep *s)
{
    const struct direct *d = s->d;
    const struct tensor *out = s->io->out, *add = s->io->add;
    size_t taps = d->size * d->size, y = s->first / out->w, x = s->first % out->w, block;
    const float *w = d->weights;
    struct direct_tile tile = {.epilogue = &d->epilogue};
    size_t out_size = tensor_type_size(out->type), add_size = add ? tensor_type_size(add->type) : 0;

    tile.out_stride = out->stride * out_size;
    tile.add_stride = add ? add->stride * add_size : 0;
    for (size_t f = 0; f < d->n_filters; f += block) {
        size_t n_vectors = block_vectors(d, f);
        block = n_vectors * d->tiles->lanes;
        tile.bias = d->bias + f;
        tile.out = tensor_row(out, y) + x * tile.out_stride + f * out_size;
        tile.add = add ? tensor_row(add, y) + x * tile.add_stride + f * add_size : tile.out;
        run_filters(s, &tile, n_vectors, w);
        w += taps * d->n_cells * block;
    }
}

static void direct_run_rows(const struct conv *c, const struct conv_io *io, size_t y0, size_t y1)
{
    const struct direct *d = (const struct direct *)c;
    size_t end = y1 * io->out->w, n_blocks = (end - y0 * io->out->w + MAX_BLOCK_PIXELS - 1) / MAX_BLOCK_PIXELS;
    struct sweep s = {.d = d, .io = io, .table = io->scratch, .first = y0 * io->out->w};

    s.partial = (float *)(void *)((char *)io->scratch + TABLE_PIXELS * d->size * d->size * sizeof(float *));
    for (size_t i = n_blocks; i > 0; i--, s.first += s.n) {
        size_t each = (end - s.first + i - 1) / i; /* blocks of equal size, in whole tiles */
        each = (each + d->tiles->pixels[d->tiles->n_blocks - 1] - 1) / d->tiles->pixels[d->tiles->n_blocks - 1] *
               d->tiles->pixels[d->tiles->n_blocks - 1];
        s.n = each < end - s.first ? each : end - s.first;
        if (s.n == 0)
            break;
        table_fill(&s);
        run_block(&s);
    }
}

static void direct_run(const struct conv *c, const struct conv_io *io)
{
    direct_run_rows(c, io, 0, io->out->h);
}

const struct conv_method conv_direct = {
    .name = "direct",
    .in_type = TENSOR_F32,
    .supports = direct_supports,
    .prepare = direct_prepare,
    .scratch_size = direct_scratch_size,
    .run = direct_run,
    .destroy = direct_destroy,
    .run_rows = direct_run_rows,
};

const struct conv_method conv_direct_bf16 = {
    .name = "direct-bf16",
    .in_type = TENSOR_BF16,
    .supports = direct_supports_bf16,
    .prepare = direct_prepare_bf16,
    .scratch_size = direct_scratch_size,
    .run = direct_run,
    .destroy = direct_destroy,
    .run_rows = direct_run_rows,
};
