/* depthwise_rows.c - a row of a depthwise convolution, one vector of channels after the other: four neighbouring outputs
 * at once, so that an input that several of them see is loaded once. Built once for each instruction set. */
#include "depthwise.h"

#define ROW_LOOP _Pragma("GCC unroll 16") for

#define AT_ONCE 4

struct place {
    size_t channel;
    const float *weights;
    vec bias;
};

static inline void finish(const struct depthwise_row *r, const struct place *at, size_t x, vec sum)
{
    size_t out_size = tensor_type_size(r->epilogue->out.type), add_size = tensor_type_size(r->epilogue->add.type);

    vec_finish(r->out + x * r->out_stride + at->channel * out_size, r->add + x * r->add_stride + at->channel * add_size,
               sum, r->epilogue);
}

/* Any output: taps outside of the picture are left out. */
static void run_one(const struct depthwise_row *r, const struct place *at, size_t x)
{
    vec sum = at->bias;

    for (size_t ky = 0; ky < r->size; ky++)
        for (size_t kx = 0; kx < r->size && r->in[ky]; kx++) {
            size_t in_x = x * r->stride + kx - r->pad; /* wraps on the left: then not below in_w */
            if (in_x < r->in_w)
                sum += vec_load(r->in[ky] + in_x * r->in_stride + at->channel) *
                       vec_load(at->weights + (ky * r->size + kx) * VEC_LANES);
        }
    finish(r, at, x, sum);
}

/* Outputs x .. x+3, all of whose columns lie inside. */
static inline __attribute__((always_inline)) void run_four(const struct depthwise_row *r, const struct place *at,
                                                           size_t x, const int size, const int stride)
{
    const int n_columns = (AT_ONCE - 1) * stride + size;
    vec sums[AT_ONCE] = {at->bias, at->bias, at->bias, at->bias};
    size_t first = (x * (size_t)stride - r->pad) * r->in_stride + at->channel;

    for (int ky = 0; ky < size; ky++) {
        const float *in = r->in[ky], *w = at->weights + ky * size * VEC_LANES;
        if (!in)
            continue;
        in += first;
        ROW_LOOP(int column = 0; column < n_columns; column++)
        {
            vec v = vec_load(in + (size_t)column * r->in_stride);
            ROW_LOOP(int i = 0; i < AT_ONCE; i++)
            {
                const int kx = column - i * stride;
                if (kx >= 0 && kx < size)
                    sums[i] += v * vec_load(w + kx * VEC_LANES);
            }
        }
    }
    ROW_LOOP(int i = 0; i < AT_ONCE; i++)
    finish(r, at, x + (size_t)i, sums[i]);
}

/* The outputs from *x on whose windows lie inside, four by four. */
static inline __attribute__((always_inline)) size_t run_inside(const struct depthwise_row *r, const struct place *at,
                                                               size_t x, size_t end, const int size, const int stride)
{
    for (; x + AT_ONCE <= end; x += AT_ONCE)
        run_four(r, at, x, size, stride);
    return x;
}

static void run(const struct depthwise_row *r)
{
    size_t from = (r->pad + r->stride - 1) / r->stride, span = r->in_w + r->pad; /* windows inside: from .. end-1 */
    size_t end = span < r->size ? 0 : (span - r->size) / r->stride + 1;

    end = end < r->out_w ? end : r->out_w;
    for (size_t c = 0; c < r->c; c += VEC_LANES) {
        struct place at = {c, r->weights + c * r->size * r->size, vec_load(r->bias + c)};
        size_t x = 0;
        for (; x < from && x < r->out_w; x++)
            run_one(r, &at, x);
        if (r->size == 3 && r->stride == 1)
            x = run_inside(r, &at, x, end, 3, 1);
        else if (r->size == 3 && r->stride == 2)
            x = run_inside(r, &at, x, end, 3, 2);
        else if (r->size == 5 && r->stride == 1)
            x = run_inside(r, &at, x, end, 5, 1);
        for (; x < r->out_w; x++)
            run_one(r, &at, x);
    }
}

const struct depthwise_rows SIMD_VARIANT(depthwise_rows) = {VEC_LANES, run};
