/* conv_quant.c - quantised convolutions: weights to integers in the kernels' order, bands of input staged for them. */
#include "conv_quant.h"

#include "base/isa.h"
#include "nn/nn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A band should stay in the second-level cache beside the weights of a block of filters. */
#define BAND_BYTES ((size_t)224 << 10)
#define SLACK      64 /* bytes behind a band that the last step may read */

#define U8_WEIGHT_MAX  127
#define S16_WEIGHT_MAX 32767
#define SUM_MAX        INT32_MAX

struct quant_conv {
    struct conv base;
    const struct quant_kernels *kernels; /* NULL: depthwise */
    struct cfg_layer layer;
    enum tensor_type in_type, staged; /* staged: TENSOR_S16 has no zero point any more, TENSOR_U8 keeps it */
    int32_t in_zero;
    bool direct;              /* nothing to stage: 1x1 on pixels that lie as the kernel wants them */
    size_t channels, filters; /* of a group */
    size_t band_channels;     /* values of a pixel in the band */
    size_t padded_filters;    /* of a group, in the arrays below */
    size_t n_steps;           /* of a row of the window */
    size_t band_rows;         /* output rows */
    int16_t *weights;         /* or int8_t; (groups, blocks, ...): see quant_tile */
    int32_t *starts;
    float *numbers; /* factors and biases */
    struct quant_finish finish;
};

/* ---- preparing ---- */

static float unit_of(const struct tensor *t)
{
    return t->type == TENSOR_S16 || t->type == TENSOR_U8 ? t->scale : 1;
}

/* The scale of one filter's weights. 16 bits: as fine as its sums allow, which have 32 bits. */
static float weight_scale(const float *w, size_t n, enum tensor_type in_type)
{
    double most = 0, sum = 0;

    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)w[i]));
        sum += fabs((double)w[i]);
    }
    if (most == 0)
        return 1;
    if (in_type == TENSOR_U8)
        return (float)(most / U8_WEIGHT_MAX);
    double room = (double)SUM_MAX / TENSOR_S16_MAX - (double)n; /* rounding adds at most a half to each */
    return (float)(fmax(most / S16_WEIGHT_MAX, sum / room) * (1 + 1e-6));
}

static int32_t weight_at(const struct network_layer *params, const float *scales, size_t filter, size_t n_each,
                         size_t i)
{
    return (int32_t)lrintf(params->weights[filter * n_each + i] / scales[filter]);
}

static void put_weight(struct quant_conv *c, size_t at, int32_t value)
{
    if (c->staged == TENSOR_U8)
        ((int8_t *)c->weights)[at] = (int8_t)value;
    else
        c->weights[at] = (int16_t)value;
}

/* Filters of the block that starts at `filter`, as many as registers hold. */
static size_t block_size(const struct quant_conv *c, size_t filter)
{
    size_t most = c->kernels->lanes * c->kernels->max_registers, left = c->padded_filters - filter;
    return left < most ? left : most;
}

static size_t values_per_step(const struct quant_conv *c)
{
    return c->staged == TENSOR_U8 ? 4 : 2;
}

/* Where a filter of a block of `width` stands in it; see quant_kernels. */
static size_t lane_of(const struct quant_conv *c, size_t filter, size_t width)
{
    static const uint8_t quads[] = {0, 2, 1, 3};
    bool in_quads = c->kernels ? c->kernels->quads && width == 16 : true;
    return in_quads ? (size_t)4 * quads[filter % 16 / 4] + filter % 4 : filter;
}

/* A group's filter in the arrays over padded filters. */
static size_t padded_index(const struct quant_conv *c, size_t group, size_t filter)
{
    size_t most = c->kernels ? c->kernels->lanes * c->kernels->max_registers : QUANT_DEPTHWISE_LANES;
    size_t first = filter / most * most, width = c->kernels ? block_size(c, first) : most;
    return group * c->padded_filters + first + lane_of(c, filter - first, width);
}

/* One filter's weights (channels, size, size) into its column of its block. */
static void pack_filter(struct quant_conv *c, const struct network_layer *params, const float *scales, size_t group,
                        size_t filter)
{
    size_t size = c->layer.size, n_each = c->channels * size * size, per_step = values_per_step(c);
    size_t most = c->kernels->lanes * c->kernels->max_registers, first = filter / most * most;
    size_t base = (group * c->padded_filters + first) * size * c->n_steps * per_step;
    size_t width = block_size(c, first), lane = lane_of(c, filter - first, width);

    for (size_t y = 0; y < size; y++)
        for (size_t k = 0; k < size * c->channels; k++) {
            size_t x = k / c->channels, channel = k % c->channels, step = y * c->n_steps + k / per_step;
            int32_t w = weight_at(params, scales, group * c->filters + filter, n_each, (channel * size + y) * size + x);
            put_weight(c, base + (step * width + lane) * per_step + k % per_step, w);
            if (c->staged == TENSOR_U8)
                c->starts[padded_index(c, group, filter)] -= c->in_zero * w;
        }
}

static void pack_depthwise(struct quant_conv *c, const struct network_layer *params, const float *scales)
{
    size_t size = c->layer.size, pairs = (size + 1) / 2, lanes = QUANT_DEPTHWISE_LANES;

    for (size_t f = 0; f < c->filters; f++)
        for (size_t y = 0; y < size; y++)
            for (size_t x = 0; x < size; x++) {
                size_t at = ((f / lanes * pairs + y / 2) * size + x) * lanes + lane_of(c, f % lanes, lanes);
                c->weights[2 * at + y % 2] = (int16_t)weight_at(params, scales, f, size * size, y * size + x);
            }
}

static void prepare_finish(struct quant_conv *c, const struct conv_spec *spec, const float *scales)
{
    float unit = unit_of(&spec->out), *factors = c->numbers;
    float *biases = factors + (c->kernels ? c->layer.groups : 1) * c->padded_filters;

    for (size_t i = 0; i < c->layer.out.c; i++) {
        size_t to = padded_index(c, i / c->filters, i % c->filters);
        factors[to] = spec->in.scale * scales[i] / unit;
        biases[to] = spec->params->bias[i] / unit;
    }
    c->finish = (struct quant_finish){factors,
                                      biases,
                                      spec->slope,
                                      spec->add_slope,
                                      spec->out.type,
                                      TENSOR_F32,
                                      1,
                                      0,
                                      spec->out.type == TENSOR_U8 ? (float)spec->out.zero : 0};
    if (spec->has_add) {
        c->finish.add_type = spec->add.type;
        c->finish.add_factor = unit_of(&spec->add) / unit;
        c->finish.add_shift = spec->add.type == TENSOR_U8 ? -(float)spec->add.zero * c->finish.add_factor : 0;
    }
}

/* Bytes of one row of the band. Depthwise: of pairs. */
static size_t row_bytes(const struct quant_conv *c)
{
    size_t values = (c->layer.in.w + 2 * c->layer.pad) * c->band_channels;
    return values * tensor_type_size(c->staged) * (c->kernels ? 1 : 2);
}

static size_t rows_under(const struct quant_conv *c, size_t out_rows)
{
    return (out_rows - 1) * c->layer.stride + c->layer.size;
}

static void choose_band(struct quant_conv *c)
{
    size_t rows = BAND_BYTES / row_bytes(c);

    rows = rows > c->layer.size ? (rows - c->layer.size) / c->layer.stride + 1 : 1;
    c->band_rows = rows < c->layer.out.h ? rows : c->layer.out.h;
    size_t n_bands = (c->layer.out.h + c->band_rows - 1) / c->band_rows;
    c->band_rows = (c->layer.out.h + n_bands - 1) / n_bands; /* equal ones */
}

static float *filter_scales(const struct quant_conv *c, const struct conv_spec *spec)
{
    size_t n_each = c->channels * c->layer.size * c->layer.size;
    float *scales = xcalloc(c->layer.out.c, sizeof *scales);

    for (size_t i = 0; i < c->layer.out.c; i++)
        scales[i] = weight_scale(spec->params->weights + i * n_each, n_each, spec->in.type);
    return scales;
}

static void *keep(struct quant_conv *c, size_t n, size_t size)
{
    c->base.weights_size += n * size;
    return xaligned(n, size);
}

static struct quant_conv *new_conv(const struct conv_method *method, const struct conv_spec *spec)
{
    struct quant_conv *c = xcalloc(1, sizeof *c);

    c->base.method = method;
    c->layer = *spec->layer;
    c->in_type = spec->in.type;
    c->in_zero = spec->in.type == TENSOR_U8 ? spec->in.zero : 0;
    c->staged = TENSOR_S16;
    return c;
}

static struct conv *prepare_dense(const struct conv_method *method, const struct quant_kernels *kernels,
                                  enum tensor_type staged, const struct conv_spec *spec)
{
    struct quant_conv *c = new_conv(method, spec);
    const struct cfg_layer *l = &c->layer;

    c->kernels = kernels;
    c->staged = staged;
    c->channels = c->band_channels = l->in.c / l->groups;
    c->filters = l->out.c / l->groups;
    c->padded_filters = (c->filters + kernels->lanes - 1) / kernels->lanes * kernels->lanes;
    c->n_steps = (l->size * c->channels + values_per_step(c) - 1) / values_per_step(c);
    c->direct = l->size == 1 && l->stride == 1 && l->pad == 0 && l->groups == 1 && staged == spec->in.type &&
                c->channels % values_per_step(c) == 0;
    choose_band(c);
    size_t n = l->groups * c->padded_filters;
    c->weights = keep(c, n * l->size * c->n_steps, 4);
    c->numbers = keep(c, 2 * n, sizeof *c->numbers);
    c->starts = staged == TENSOR_U8 ? keep(c, n, sizeof *c->starts) : NULL;
    float *scales = filter_scales(c, spec);
    for (size_t g = 0; g < l->groups; g++)
        for (size_t f = 0; f < c->filters; f++)
            pack_filter(c, spec->params, scales, g, f);
    prepare_finish(c, spec, scales);
    free(scales);
    return &c->base;
}

static struct conv *prepare_depthwise(const struct conv_method *method, const struct conv_spec *spec)
{
    struct quant_conv *c = new_conv(method, spec);
    const struct cfg_layer *l = &c->layer;
    size_t lanes = QUANT_DEPTHWISE_LANES;

    c->channels = 1;
    c->filters = l->out.c;
    c->padded_filters = c->band_channels = (c->filters + lanes - 1) / lanes * lanes;
    choose_band(c);
    c->weights = keep(c, c->padded_filters * l->size * ((l->size + 1) / 2), 4);
    c->numbers = keep(c, 2 * c->padded_filters, sizeof *c->numbers);
    float *scales = filter_scales(c, spec);
    pack_depthwise(c, spec->params, scales);
    prepare_finish(c, spec, scales);
    free(scales);
    return &c->base;
}

/* ---- running ---- */

/* Depthwise: a row as 16-bit values without padding. */
static size_t line_bytes(const struct quant_conv *c)
{
    return c->layer.in.w * c->band_channels * sizeof(int16_t);
}

static size_t scratch_size(const struct conv *base)
{
    const struct quant_conv *c = (const struct quant_conv *)base;

    if (c->direct)
        return 0;
    return row_bytes(c) * rows_under(c, c->band_rows) + (c->kernels ? 0 : 3 * line_bytes(c)) + SLACK;
}

static void copy_u8_as_s16(int16_t *restrict to, const uint8_t *restrict from, size_t n, int32_t zero)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (int16_t)(from[i] - zero);
}

static void copy_values(const struct quant_conv *c, void *to, const void *from, size_t n)
{
    if (c->in_type == c->staged)
        memcpy(to, from, n * tensor_type_size(c->staged));
    else
        copy_u8_as_s16(to, from, n, c->in_zero);
}

/* A whole row of the input, n channels from `channel` on, into pixels of band_channels. */
static void copy_row(const struct quant_conv *c, char *to, const struct tensor *in, size_t y, size_t channel, size_t n)
{
    size_t pixel = c->band_channels * tensor_type_size(c->staged), from_size = tensor_type_size(c->in_type);
    const char *from = tensor_row(in, y) + channel * from_size;

    if (in->stride == c->band_channels) {
        copy_values(c, to, from, in->w * in->stride);
        return;
    }
    for (size_t x = 0; x < in->w; x++)
        copy_values(c, to + x * pixel, from + x * in->stride * from_size, n);
}

/* Row y of the input (outside: padding) from the channel on, with the padding left and right of it. */
static void stage_row(const struct quant_conv *c, char *to, const struct tensor *in, ptrdiff_t y, size_t channel)
{
    size_t pad = c->layer.pad * c->band_channels * tensor_type_size(c->staged), size = row_bytes(c);
    int fill = c->staged == TENSOR_U8 ? c->in_zero : 0;

    if (y < 0 || y >= (ptrdiff_t)in->h) {
        memset(to, fill, size);
        return;
    }
    memset(to, fill, pad);
    copy_row(c, to + pad, in, (size_t)y, channel, c->channels);
    memset(to + size - pad, fill, pad);
}

static char *element(const struct tensor *t, size_t y, size_t channel)
{
    return tensor_row(t, y) + channel * tensor_type_size(t->type);
}

static size_t pixel_bytes(const struct tensor *t)
{
    return t->stride * tensor_type_size(t->type);
}

/* Rows y .. y + n_rows - 1 of the output, in blocks of filters. b: what the band has in it. */
static void run_blocks(const struct quant_conv *c, const struct conv_io *io, struct quant_block b, size_t y,
                       size_t group)
{
    size_t most = c->kernels->lanes * c->kernels->max_registers;

    for (size_t f = 0; f < c->padded_filters; f += most) {
        size_t padded = group * c->padded_filters + f, channel = group * c->filters + f;
        b.weights = (const char *)c->weights + padded * c->layer.size * c->n_steps * 4;
        b.starts = c->starts ? c->starts + padded : NULL;
        b.n_registers = block_size(c, f) / c->kernels->lanes;
        b.filter = padded;
        b.out = element(io->out, y, channel);
        b.add = io->add ? element(io->add, y, channel) : NULL;
        c->kernels->run(&b);
    }
}

static struct quant_block describe(const struct quant_conv *c, const struct conv_io *io, size_t n_rows)
{
    size_t value = tensor_type_size(c->staged), pixel = c->band_channels * value, stride = c->layer.stride;

    return (struct quant_block){.pixels = io->scratch,
                                .pixel_step = stride * pixel,
                                .line_step = stride * row_bytes(c),
                                .width = c->layer.out.w,
                                .n_pixels = n_rows * c->layer.out.w,
                                .row_step = row_bytes(c),
                                .n_rows = c->layer.size,
                                .n_steps = c->n_steps,
                                .finish = &c->finish,
                                .out_step = pixel_bytes(io->out),
                                .add_step = io->add ? pixel_bytes(io->add) : 0};
}

static void run_direct(const struct quant_conv *c, const struct conv_io *io, size_t y, size_t n_rows)
{
    struct quant_block b = describe(c, io, n_rows);

    b.pixels = tensor_row(io->in, y);
    b.pixel_step = pixel_bytes(io->in);
    b.width = b.n_pixels; /* rows follow one another without a gap */
    run_blocks(c, io, b, y, 0);
}

static void run_staged(const struct quant_conv *c, const struct conv_io *io, size_t y, size_t n_rows)
{
    size_t bytes = row_bytes(c);
    ptrdiff_t top = (ptrdiff_t)(y * c->layer.stride) - (ptrdiff_t)c->layer.pad;

    for (size_t g = 0; g < c->layer.groups; g++) {
        for (size_t r = 0; r < rows_under(c, n_rows); r++)
            stage_row(c, (char *)io->scratch + r * bytes, io->in, top + (ptrdiff_t)r, g * c->channels);
        run_blocks(c, io, describe(c, io, n_rows), y, g);
    }
}

/* Rows that lie one after another in t from y on, at most n. */
static size_t rows_in_one_piece(const struct tensor *t, size_t y, size_t n)
{
    size_t left = t->ring ? t->ring - y % t->ring : n;
    return left < n ? left : n;
}

static void run_rows_dense(const struct conv *base, const struct conv_io *io, size_t y0, size_t y1)
{
    const struct quant_conv *c = (const struct quant_conv *)base;

    for (size_t y = y0, n_rows; y < y1; y += n_rows) {
        n_rows = c->band_rows < y1 - y ? c->band_rows : y1 - y;
        if (c->direct)
            run_direct(c, io, y, n_rows = rows_in_one_piece(io->in, y, n_rows));
        else
            run_staged(c, io, y, n_rows);
    }
}

static void run_dense(const struct conv *base, const struct conv_io *io)
{
    run_rows_dense(base, io, 0, io->out->h);
}

/* ---- depthwise ---- */

/* Row y as 16-bit values: the input itself, or a copy; outside of it zeros. lines: three, the last of zeros. */
static const int16_t *depthwise_line(const struct quant_conv *c, const struct tensor *in, ptrdiff_t y, char *lines)
{
    if (y < 0 || y >= (ptrdiff_t)in->h)
        return (const int16_t *)(const void *)(lines + 2 * line_bytes(c));
    if (c->in_type == TENSOR_S16 && in->stride == c->band_channels)
        return (const int16_t *)(const void *)tensor_row(in, (size_t)y);
    char *to = lines + (size_t)y % 2 * line_bytes(c);
    copy_row(c, to, in, (size_t)y, 0, c->filters);
    return (const int16_t *)(const void *)to;
}

/* Rows of pairs (y, y + 1); the last row's partner meets only weights that are 0. */
static void stage_pairs(const struct quant_conv *c, const struct conv_io *io, size_t y, size_t n_rows)
{
    size_t bytes = row_bytes(c), n = rows_under(c, n_rows), pad = c->layer.pad * c->band_channels * 4;
    char *pairs = io->scratch, *lines = pairs + bytes * rows_under(c, c->band_rows);
    ptrdiff_t top = (ptrdiff_t)(y * c->layer.stride) - (ptrdiff_t)c->layer.pad;

    memset(lines + 2 * line_bytes(c), 0, line_bytes(c));
    const int16_t *upper = depthwise_line(c, io->in, top, lines), *lower = upper;
    for (size_t r = 0; r < n; r++, upper = lower) {
        char *to = pairs + r * bytes;
        if (r + 1 < n)
            lower = depthwise_line(c, io->in, top + (ptrdiff_t)r + 1, lines);
        if (c->layer.stride == 2 && c->layer.size == 3 && r % 2 == 1)
            continue; /* the window's pairs start at its rows 0 and 2 */
        memset(to, 0, pad);
        quant_interleave_avx2((int16_t *)(void *)(to + pad), upper, lower, c->layer.in.w * c->band_channels);
        memset(to + bytes - pad, 0, pad);
    }
}

static void run_band_depthwise(const struct quant_conv *c, const struct conv_io *io, size_t y, size_t n_rows)
{
    const struct cfg_layer *l = &c->layer;
    size_t row = row_bytes(c) / sizeof(int16_t), lanes = QUANT_DEPTHWISE_LANES;
    size_t block_weights = l->size * ((l->size + 1) / 2) * 2 * lanes;

    stage_pairs(c, io, y, n_rows);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t f = 0; f < c->filters; f += lanes) {
            struct quant_depthwise d = {.pairs = (const int16_t *)io->scratch + r * l->stride * row + 2 * f,
                                        .row = row,
                                        .column = 2 * c->band_channels,
                                        .size = l->size,
                                        .stride = l->stride,
                                        .weights = c->weights + f / lanes * block_weights,
                                        .finish = &c->finish,
                                        .filter = f,
                                        .out = element(io->out, y + r, f),
                                        .add = io->add ? element(io->add, y + r, f) : NULL,
                                        .out_step = pixel_bytes(io->out),
                                        .add_step = io->add ? pixel_bytes(io->add) : 0};
            quant_depthwise_avx2(&d, l->out.w);
        }
}

static void run_rows_depthwise(const struct conv *base, const struct conv_io *io, size_t y0, size_t y1)
{
    const struct quant_conv *c = (const struct quant_conv *)base;

    for (size_t y = y0; y < y1; y += c->band_rows)
        run_band_depthwise(c, io, y, c->band_rows < y1 - y ? c->band_rows : y1 - y);
}

static void run_depthwise(const struct conv *base, const struct conv_io *io)
{
    run_rows_depthwise(base, io, 0, io->out->h);
}

static void destroy(struct conv *base)
{
    struct quant_conv *c = (struct quant_conv *)base;

    free(c->weights);
    free(c->starts);
    free(c->numbers);
    free(c);
}

/* ---- methods ---- */

static bool is_depthwise(const struct cfg_layer *l)
{
    return l->groups > 1 && l->groups == l->in.c && l->groups == l->out.c;
}

static bool has_avx2(void)
{
    return strcmp(nn_kernel_isa(), "avx2") == 0 || strcmp(nn_kernel_isa(), "avx512") == 0;
}

/* Whole registers are written, so a group's filters have to fill theirs. */
static bool supports(const struct conv_spec *spec, size_t lanes)
{
    const struct cfg_layer *l = spec->layer;

    return has_avx2() && !is_depthwise(l) && (l->groups == 1 || (l->groups > 1 && l->out.c / l->groups % lanes == 0)) &&
           spec->out.type != TENSOR_BF16 && (!spec->has_add || spec->add.type != TENSOR_BF16);
}

static bool supports_depthwise(const struct conv_spec *spec)
{
    return has_avx2() && is_depthwise(spec->layer) && spec->out.type != TENSOR_BF16 &&
           (!spec->has_add || spec->add.type != TENSOR_BF16);
}

static bool supports_s16(const struct conv_spec *spec)
{
    return spec->in.type == TENSOR_S16 && supports(spec, quant_kernels_s16_avx2.lanes);
}

static bool supports_u8(const struct conv_spec *spec)
{
    return spec->in.type == TENSOR_U8 && supports(spec, quant_kernels_s16_avx2.lanes);
}

static bool supports_u8_avx512vnni(const struct conv_spec *spec)
{
    return spec->in.type == TENSOR_U8 && nn_isa() == ISA_AVX512VNNI &&
           supports(spec, quant_kernels_u8_avx512vnni.lanes);
}

static bool supports_u8_avx2vnni(const struct conv_spec *spec)
{
    return spec->in.type == TENSOR_U8 && nn_isa() == ISA_AVX2VNNI && supports(spec, quant_kernels_u8_avx2vnni.lanes);
}

static bool supports_s16_depthwise(const struct conv_spec *spec)
{
    return spec->in.type == TENSOR_S16 && supports_depthwise(spec);
}

static bool supports_u8_depthwise(const struct conv_spec *spec)
{
    return spec->in.type == TENSOR_U8 && supports_depthwise(spec);
}

static struct conv *prepare_s16(const struct conv_spec *spec)
{
    return prepare_dense(&conv_s16, &quant_kernels_s16_avx2, TENSOR_S16, spec);
}

static struct conv *prepare_u8(const struct conv_spec *spec)
{
    return prepare_dense(&conv_u8_widened, &quant_kernels_s16_avx2, TENSOR_S16, spec);
}

static struct conv *prepare_u8_avx512vnni(const struct conv_spec *spec)
{
    return prepare_dense(&conv_u8_avx512vnni, &quant_kernels_u8_avx512vnni, TENSOR_U8, spec);
}

static struct conv *prepare_u8_avx2vnni(const struct conv_spec *spec)
{
    return prepare_dense(&conv_u8_avx2vnni, &quant_kernels_u8_avx2vnni, TENSOR_U8, spec);
}

static struct conv *prepare_s16_depthwise(const struct conv_spec *spec)
{
    return prepare_depthwise(&conv_s16_depthwise, spec);
}

static struct conv *prepare_u8_depthwise(const struct conv_spec *spec)
{
    return prepare_depthwise(&conv_u8_depthwise, spec);
}

#define METHOD(method_name, type, what, runs)                                                                          \
    {                                                                                                                  \
        .name = method_name, .in_type = type, .supports = supports_##what, .prepare = prepare_##what,                  \
        .scratch_size = scratch_size, .run = run_##runs, .destroy = destroy, .run_rows = run_rows_##runs               \
    }

const struct conv_method conv_s16 = METHOD("pairs", TENSOR_S16, s16, dense);
const struct conv_method conv_u8_widened = METHOD("widened", TENSOR_U8, u8, dense);
const struct conv_method conv_u8_avx512vnni = METHOD("vnni", TENSOR_U8, u8_avx512vnni, dense);
const struct conv_method conv_u8_avx2vnni = METHOD("vnni-256", TENSOR_U8, u8_avx2vnni, dense);
const struct conv_method conv_s16_depthwise = METHOD("pairs-depthwise", TENSOR_S16, s16_depthwise, depthwise);
const struct conv_method conv_u8_depthwise = METHOD("widened-depthwise", TENSOR_U8, u8_depthwise, depthwise);
