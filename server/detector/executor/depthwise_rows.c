/* depthwise_rows.c - a row of a depthwise convolution, one vector of channels after the other: four neighbouring outputs
 * at once, so that an input that several of them see is loaded once. Built once for each instruction set. */
#include "depthwise.h"

#define ROW_LOOP _Pragma("GCC unroll 16") for

#define AT_ONCE 4

static const float zeros[VEC_LANES];

/* A vector of channels. */
struct place {
    size_t channel;
    const vec *weights; /* (size, size) */
    vec bias;
};

/* n of the four at x are to be written. */
static inline void finish(const struct depthwise_row *r, const struct place *at, size_t x, size_t n, const vec *sums)
{
    const struct vec_epilogue *e = r->epilogue;

    vec_finish_tile(r->out + x * r->out_stride + at->channel * tensor_type_size(e->out.type), r->out_stride,
                    r->add + x * r->add_stride + at->channel * tensor_type_size(e->add.type), r->add_stride, sums, n, 1,
                    e);
}

/* Fours whose windows lie inside, the first one's at column `first`. The weights of a 3 x 3 window stay in registers. */
static inline __attribute__((always_inline)) void run_inside(const struct depthwise_row *r, const struct place *at,
                                                             size_t x, size_t n_fours, const int size, const int stride)
{
    const int n_columns = (AT_ONCE - 1) * stride + size;
    const size_t step = r->in_stride, out_step = r->out_stride / sizeof(float);
    const vec bias = at->bias;
    vec weights[25];
    const float *in[5];
    float *out = (float *)(void *)(r->out + x * r->out_stride) + at->channel;

    ROW_LOOP(int k = 0; k < size * size; k++)
    weights[k] = at->weights[k];
    ROW_LOOP(int ky = 0; ky < size; ky++)
    in[ky] = r->in[ky] + (x * (size_t)stride - r->pad) * step + at->channel;
    for (; n_fours > 0; n_fours--, x += AT_ONCE, out += AT_ONCE * out_step) {
        vec sums[AT_ONCE] = {bias, bias, bias, bias};
        ROW_LOOP(int ky = 0; ky < size; ky++)
        {
            ROW_LOOP(int column = 0; column < n_columns; column++)
            {
                vec v = vec_load(in[ky] + (size_t)column * step);
                ROW_LOOP(int i = 0; i < AT_ONCE; i++)
                {
                    const int kx = column - i * stride;
                    if (kx >= 0 && kx < size)
                        sums[i] += v * weights[ky * size + kx];
                }
            }
            in[ky] += (size_t)(AT_ONCE * stride) * step;
        }
        if (r->epilogue->plain) {
            ROW_LOOP(size_t i = 0; i < AT_ONCE; i++)
            vec_store(out + i * out_step, vec_slope(sums[i], r->epilogue->slope));
        } else {
            vec kept[AT_ONCE];
            ROW_LOOP(int i = 0; i < AT_ONCE; i++)
            kept[i] = sums[i];
            finish(r, at, x, AT_ONCE, kept);
        }
    }
}

/* Up to four outputs at x, any of whose columns may be outside. */
static inline __attribute__((always_inline)) void run_edge(const struct depthwise_row *r, const struct place *at,
                                                           size_t x, const int size, const int stride)
{
    const int n_columns = (AT_ONCE - 1) * stride + size;
    size_t first = x * (size_t)stride - r->pad, n = r->out_w - x < AT_ONCE ? r->out_w - x : AT_ONCE;
    vec sums[AT_ONCE] = {at->bias, at->bias, at->bias, at->bias};

    for (int ky = 0; ky < size; ky++) {
        const float *in = r->in[ky] + at->channel;
        const vec *w = at->weights + ky * size;
        ROW_LOOP(int column = 0; column < n_columns; column++)
        {
            size_t at_x = first + (size_t)column; /* wraps on the left: then not below in_w */
            vec v = vec_load(at_x < r->in_w ? in + at_x * r->in_stride : zeros);
            ROW_LOOP(int i = 0; i < AT_ONCE; i++)
            {
                const int kx = column - i * stride;
                if (kx >= 0 && kx < size)
                    sums[i] += v * w[kx];
            }
        }
    }
    if (!r->epilogue->plain) {
        finish(r, at, x, n, sums);
        return;
    }
    float *out = (float *)(void *)(r->out + x * r->out_stride) + at->channel;
    ROW_LOOP(size_t i = 0; i < AT_ONCE; i++)
    if (i < n)
        vec_store(out + i * (r->out_stride / sizeof(float)), vec_slope(sums[i], r->epilogue->slope));
}

/* An output of any size and stride. */
static void run_one(const struct depthwise_row *r, const struct place *at, size_t x)
{
    vec sum = at->bias;

    for (size_t ky = 0; ky < r->size; ky++)
        for (size_t kx = 0; kx < r->size; kx++) {
            size_t at_x = x * r->stride + kx - r->pad; /* wraps on the left: then not below in_w */
            if (at_x < r->in_w)
                sum += vec_load(r->in[ky] + at_x * r->in_stride + at->channel) * at->weights[ky * r->size + kx];
        }
    finish(r, at, x, 1, &sum);
}

#define SHAPE(size, stride)                                                                                            \
    __attribute__((noinline)) static void inside_##size##_##stride(const struct depthwise_row *r,                      \
                                                                   const struct place *at, size_t x, size_t n_fours)   \
    {                                                                                                                  \
        run_inside(r, at, x, n_fours, size, stride);                                                                   \
    }                                                                                                                  \
    __attribute__((noinline)) static void edge_##size##_##stride(const struct depthwise_row *r,                        \
                                                                 const struct place *at, size_t x)                     \
    {                                                                                                                  \
        run_edge(r, at, x, size, stride);                                                                              \
    }
SHAPE(3, 1)
SHAPE(3, 2)
SHAPE(5, 1)

static const struct shape {
    size_t size, stride;
    void (*inside)(const struct depthwise_row *r, const struct place *at, size_t x, size_t n_fours);
    void (*edge)(const struct depthwise_row *r, const struct place *at, size_t x);
} shapes[] = {{3, 1, inside_3_1, edge_3_1}, {3, 2, inside_3_2, edge_3_2}, {5, 1, inside_5_1, edge_5_1}};

static void run_channels(const struct depthwise_row *r, const struct place *at, const struct shape *s)
{
    size_t before = (r->pad + r->stride - 1) / r->stride, reach = (AT_ONCE - 1) * r->stride + r->size, x = 0;

    before = (before + AT_ONCE - 1) / AT_ONCE * AT_ONCE; /* from here on nothing is outside on the left */
    for (; x < before && x < r->out_w; x += AT_ONCE)
        s->edge(r, at, x);
    size_t first = x * r->stride - r->pad, n_fours = 0;
    if (x < r->out_w && first + reach <= r->in_w)
        n_fours = (r->in_w - reach - first) / (AT_ONCE * r->stride) + 1;
    n_fours = n_fours < (r->out_w - x) / AT_ONCE || x >= r->out_w ? n_fours : (r->out_w - x) / AT_ONCE;
    if (n_fours > 0)
        s->inside(r, at, x, n_fours);
    for (x += n_fours * AT_ONCE; x < r->out_w; x += AT_ONCE)
        s->edge(r, at, x);
}

static void run(const struct depthwise_row *r)
{
    const struct shape *s = NULL;

    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        if (shapes[i].size == r->size && shapes[i].stride == r->stride)
            s = &shapes[i];
    for (size_t channel = 0; channel < r->c; channel += VEC_LANES) {
        struct place at = {channel, (const vec *)(const void *)(r->weights + channel * r->size * r->size),
                           vec_load(r->bias + channel)};
        if (s)
            run_channels(r, &at, s);
        for (size_t x = 0; !s && x < r->out_w; x++)
            run_one(r, &at, x);
    }
}

const struct depthwise_rows SIMD_VARIANT(depthwise_rows) = {VEC_LANES, run};
