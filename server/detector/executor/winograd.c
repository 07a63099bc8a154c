/* winograd.c - packing of the weights, the order of the work and the choice of the instruction set; the loops are in
 * winograd_products.c and winograd_transforms.c.
 *
 * The tiles go through in blocks. A small block's transformed input and sums stay in the cache, but each block reads
 * all the weights again: where the weights are large, as in a network's deep layers, one block of all tiles is better.
 * block_tiles() weighs the two. */
#include "winograd.h"

#include "nn/nn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What an integer of the transformed input can reach. Of the 31 bits of a sum it takes 14, which leaves the weights
 * about as precise as the input; for tiles of 2 it is 4 * TENSOR_S16_MAX, the exact values, and nothing is rounded. */
#define LARGEST_INPUT(tile) ((tile) == 2 ? 8188.0 : 16380.0)

#define MIN_BLOCK 12 /* tiles: fewer leave registers of the products unused */

struct winograd {
    struct conv base;
    const struct winograd_transforms *transforms;
    void (*transform_input)(void *to, size_t position, const struct winograd_patch *patch, const float *scale,
                            size_t c);
    void (*multiply)(float *sums, const struct winograd_block *b, const void *input, const void *weights,
                     const float *scale);
    size_t tile, side, n_positions, element; /* element: bytes of a transformed input or weight */
    size_t c, k, padded_k, n_cols;           /* padded_k: a multiple of n_cols */
    size_t tiles_x, n_tiles, block;
    size_t input_position, sums_position;  /* elements from a position's part of the scratch to the next */
    void *weights;                         /* (n_positions, padded_k / n_cols, c, n_cols), as winograd.h says */
    float *scale;                          /* (n_positions, padded_k): what makes floats of sums; NULL for floats */
    float input_scale[WINOGRAD_POSITIONS]; /* of integers */
    float *bias;                           /* (k,) */
    struct conv_spec spec;                 /* its layer and params are gone */
};

static const struct winograd_products *products(void)
{
#ifdef __x86_64__
    if (strcmp(nn_kernel_isa(), "avx512") == 0)
        return &winograd_products_avx512;
    if (strcmp(nn_kernel_isa(), "avx2") == 0)
        return &winograd_products_avx2;
#endif
    return &winograd_products_portable;
}

static const struct winograd_transforms *transforms(size_t tile)
{
    const struct winograd_transform_set *set = &winograd_transforms_portable;

#ifdef __x86_64__
    if (strcmp(nn_kernel_isa(), "avx512") == 0)
        set = &winograd_transforms_avx512;
    else if (strcmp(nn_kernel_isa(), "avx2") == 0)
        set = &winograd_transforms_avx2;
#endif
    return tile == 2 ? &set->tile2 : &set->tile4;
}

/* ---- weights ---- */

/* The filters of a panel; those that a last panel has too many are zeros in spare. */
static const float *panel_filters(const struct winograd *w, const float *weights, size_t k, float *spare)
{
    size_t filter = w->c * 9;

    if (k + w->n_cols <= w->k)
        return weights + k * filter;
    memcpy(spare, weights + k * filter, (w->k - k) * filter * sizeof *spare);
    return spare;
}

static void transform_panel(const struct winograd *w, float *to, size_t position, const float *filters)
{
    for (size_t c = 0; c < w->c; c++)
        w->transforms->filters(to + c * w->n_cols, position, filters + c * 9, w->c * 9);
}

static void pack_floats(struct winograd *w, const float *weights)
{
    float *packed = w->weights, *spare = xcalloc(w->n_cols * w->c * 9, sizeof *spare);

    for (size_t k = 0; k < w->padded_k; k += w->n_cols)
        transform_panel(w, packed + k * w->c, w->padded_k * w->c, panel_filters(w, weights, k, spare));
    free(spare);
}

/* By how much the input transform can raise the largest magnitude: the sum of a row of B', in both directions. */
static double growth(size_t tile, size_t y, size_t x)
{
    static const double rows2[] = {2, 2, 2, 2};
    static const double p = 3 + 3 * (double)WINOGRAD_P, q = 1.5 + 1.5 * (double)WINOGRAD_Q;
    static const double rows4[] = {4.5, p, p, q, q, 4.5};

    return tile == 2 ? rows2[y] * rows2[x] : rows4[y] * rows4[x];
}

static void pack_shorts(struct winograd *w, const float *weights, float in_scale)
{
    int16_t *packed = w->weights;
    size_t position = w->c * w->n_cols;
    float *spare = xcalloc(w->n_cols * w->c * 9, sizeof *spare), *u = xaligned(w->n_positions * position, sizeof *u);

    for (size_t p = 0; p < w->n_positions; p++)
        w->input_scale[p] =
            (float)(LARGEST_INPUT(w->tile) / TENSOR_S16_MAX / growth(w->tile, p / w->side, p % w->side));
    w->scale = xaligned(w->n_positions * w->padded_k, sizeof *w->scale);
    for (size_t k = 0; k < w->padded_k; k += w->n_cols) {
        transform_panel(w, u, position, panel_filters(w, weights, k, spare));
        for (size_t p = 0; p < w->n_positions; p++) {
            size_t start = p * w->padded_k + k;
            w->transforms->quantise(packed + start * w->c, w->scale + start, u + p * position, w->c,
                                    (float)LARGEST_INPUT(w->tile), in_scale / w->input_scale[p]);
        }
    }
    free(u);
    free(spare);
}

/* ---- blocks ---- */

/* Bytes that go over the second-level cache's edge with blocks of n tiles: the weights for each block, unless all of
 * them fit, and the transformed input and the sums twice, unless a block's fit. */
static double traffic(const struct winograd *w, size_t n, double cache)
{
    double weights = (double)w->element * (double)(w->n_positions * w->padded_k * w->c);
    double tile = (double)(w->n_positions * (w->element * w->c + sizeof(float) * w->padded_k));
    double bytes = 0;

    if (weights + tile * (double)n > cache)
        bytes += weights * ceil((double)w->n_tiles / (double)n);
    if (tile * (double)n > cache)
        bytes += 2 * tile * (double)w->n_tiles;
    return bytes;
}

static size_t block_tiles(const struct winograd *w)
{
    long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
    double cache = l2 > 0 ? 0.5 * (double)l2 : 256 << 10, least = INFINITY;
    size_t best = w->n_tiles;

    for (size_t n_blocks = 1; n_blocks == 1 || w->n_tiles / n_blocks >= MIN_BLOCK; n_blocks++) {
        size_t n = (w->n_tiles + n_blocks - 1) / n_blocks;
        double bytes = traffic(w, n, cache);
        if (bytes < least) {
            least = bytes;
            best = n;
        }
    }
    return best;
}

/* Elements from one position's part to the next: an odd number of cache lines, or parts of a round size would all
 * fall into the same few sets of the cache. */
static size_t position_stride(size_t n, size_t element)
{
    size_t lines = (n * element + 63) / 64;
    return (lines | 1) * 64 / element;
}

/* ---- the method ---- */

/* Integers are read a panel's width at a time: a multiple of that, which is 32 with AVX-512. */
static bool supports(const struct conv_spec *spec, enum tensor_type type)
{
    const struct cfg_layer *l = spec->layer;

    return l->size == 3 && l->stride == 1 && l->pad == 1 && l->groups == 1 && spec->in.type == type &&
           l->in.c % WINOGRAD_ALIGN == 0 && l->out.c % WINOGRAD_ALIGN == 0 &&
           (type == TENSOR_F32 || l->in.c % products()->n_cols == 0);
}

static void shape_init(struct winograd *w, const struct cfg_layer *l, size_t tile)
{
    w->tile = tile;
    w->side = tile + 2;
    w->n_positions = w->side * w->side;
    w->c = l->in.c;
    w->k = l->out.c;
    w->n_cols = products()->n_cols;
    w->padded_k = (w->k + w->n_cols - 1) / w->n_cols * w->n_cols;
    w->tiles_x = (l->out.w + tile - 1) / tile;
    w->n_tiles = w->tiles_x * ((l->out.h + tile - 1) / tile);
}

static struct conv *prepare(const struct conv_spec *spec, const struct conv_method *method, size_t tile)
{
    struct winograd *w = xcalloc(1, sizeof *w);
    bool is_float = method->in_type == TENSOR_F32;

    w->base.method = method;
    shape_init(w, spec->layer, tile);
    w->element = tensor_type_size(method->in_type);
    w->transforms = transforms(tile);
    w->transform_input = is_float ? w->transforms->floats : w->transforms->shorts;
    w->multiply = is_float ? products()->floats : products()->shorts;
    w->block = block_tiles(w);
    w->input_position = position_stride(w->block * w->c, w->element);
    w->sums_position = position_stride(w->block * w->padded_k, sizeof(float));
    w->spec = *spec;
    w->spec.layer = NULL;
    w->spec.params = NULL;
    w->bias = xaligned(w->k, sizeof *w->bias);
    memcpy(w->bias, spec->params->bias, w->k * sizeof *w->bias);
    w->base.weights_size = w->n_positions * w->padded_k * w->c * w->element;
    w->weights = xaligned(w->base.weights_size, 1);
    if (is_float)
        pack_floats(w, spec->params->weights);
    else
        pack_shorts(w, spec->params->weights, spec->in.scale);
    return &w->base;
}

static void winograd_destroy(struct conv *c)
{
    struct winograd *w = (struct winograd *)c;

    if (!w)
        return;
    free(w->weights);
    free(w->scale);
    free(w->bias);
    free(w);
}

/* ---- a run ---- */

static size_t input_size(const struct winograd *w)
{
    return w->n_positions * w->input_position * w->element;
}

static size_t sums_size(const struct winograd *w)
{
    return w->n_positions * w->sums_position * sizeof(float);
}

static size_t winograd_scratch_size(const struct conv *c)
{
    const struct winograd *w = (const struct winograd *)c;
    return input_size(w) + sums_size(w) + w->n_positions * w->c * w->element;
}

/* The patch of a tile at the picture's edge, with zeros around, into room (side, side, c). */
static struct winograd_patch edge_patch(const struct winograd *w, const struct tensor *in, size_t y, size_t x,
                                        char *room)
{
    size_t bytes = w->c * w->element;
    char *to = room;

    for (size_t r = y; r < y + w->side; r++)
        for (size_t column = x; column < x + w->side; column++, to += bytes) {
            /* r and column count from the pixel outside of the corner */
            if (r >= 1 && r <= in->h && column >= 1 && column <= in->w)
                memcpy(to, (const char *)in->data + ((r - 1) * in->w + column - 1) * in->stride * w->element, bytes);
            else
                memset(to, 0, bytes);
        }
    return (struct winograd_patch){room, w->side * w->c, w->c};
}

static struct winograd_patch patch_of(const struct winograd *w, const struct tensor *in, size_t tile, char *room)
{
    size_t y = tile / w->tiles_x * w->tile, x = tile % w->tiles_x * w->tile;

    if (y == 0 || x == 0 || y + w->tile >= in->h || x + w->tile >= in->w)
        return edge_patch(w, in, y, x, room);
    const char *first = (const char *)in->data + ((y - 1) * in->w + x - 1) * in->stride * w->element;
    return (struct winograd_patch){first, in->w * in->stride, in->stride};
}

static struct winograd_target target_of(const struct winograd *w, const struct conv_io *io, size_t tile)
{
    size_t y = tile / w->tiles_x * w->tile, x = tile % w->tiles_x * w->tile, pixel = y * io->out->w + x;
    size_t h = io->out->h - y, width = io->out->w - x;
    struct winograd_target t = {
        .out = (char *)io->out->data + pixel * io->out->stride * tensor_type_size(io->out->type),
        .out_row = io->out->w * io->out->stride,
        .out_pixel = io->out->stride,
        .h = h < w->tile ? h : w->tile,
        .w = width < w->tile ? width : w->tile,
        .bias = w->bias,
        .spec = &w->spec,
    };

    if (io->add) {
        t.add = (const char *)io->add->data + pixel * io->add->stride * tensor_type_size(io->add->type);
        t.add_row = io->out->w * io->add->stride;
        t.add_pixel = io->add->stride;
    }
    return t;
}

/* Tiles first .. first + n of the output. */
static void run_block(const struct winograd *w, const struct conv_io *io, size_t first, size_t n)
{
    char *input = io->scratch, *room = input + input_size(w) + sums_size(w);
    float *sums = (float *)(void *)(input + input_size(w));
    struct winograd_block block = {n, w->c, w->padded_k, w->c, w->padded_k};

    for (size_t i = 0; i < n; i++) {
        struct winograd_patch patch = patch_of(w, io->in, first + i, room);
        w->transform_input(input + i * w->c * w->element, w->input_position, &patch, w->input_scale, w->c);
    }
    for (size_t p = 0; p < w->n_positions; p++)
        w->multiply(sums + p * w->sums_position, &block, input + p * w->input_position * w->element,
                    (const char *)w->weights + p * w->padded_k * w->c * w->element,
                    w->scale ? w->scale + p * w->padded_k : NULL);
    for (size_t i = 0; i < n; i++) {
        struct winograd_target target = target_of(w, io, first + i);
        w->transforms->outputs(sums + i * w->padded_k, w->sums_position, &target, w->k);
    }
}

static void winograd_run(const struct conv *c, const struct conv_io *io)
{
    const struct winograd *w = (const struct winograd *)c;

    for (size_t first = 0; first < w->n_tiles; first += w->block)
        run_block(w, io, first, w->n_tiles - first < w->block ? w->n_tiles - first : w->block);
}

#define DEFINE_METHOD(id, text, tile, type)                                                                            \
    static bool id##_supports(const struct conv_spec *spec)                                                            \
    {                                                                                                                  \
        return supports(spec, type);                                                                                   \
    }                                                                                                                  \
    static struct conv *id##_prepare(const struct conv_spec *spec)                                                     \
    {                                                                                                                  \
        return prepare(spec, &conv_##id, tile);                                                                        \
    }                                                                                                                  \
    const struct conv_method conv_##id = {                                                                             \
        text, type, id##_supports, id##_prepare, winograd_scratch_size, winograd_run, winograd_destroy};
DEFINE_METHOD(winograd2, "winograd2", 2, TENSOR_F32)
DEFINE_METHOD(winograd4, "winograd4", 4, TENSOR_F32)
DEFINE_METHOD(winograd2_s16, "winograd2_s16", 2, TENSOR_S16)
DEFINE_METHOD(winograd4_s16, "winograd4_s16", 4, TENSOR_S16)
