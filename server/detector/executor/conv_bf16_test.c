/* conv_bf16_test.c - the direct convolution in BF16 against plain loops that add in the same order: equal to the bit
 * where its instructions are emulated. A CPU may round between the two products of a pair as it likes: there, nearly
 * equal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/isa.h"
#include "conv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifdef BI_SIMDE
#define TOLERANCE 0
#else
#define TOLERANCE 1e-5
#endif

#define GUARD 32 /* elements on both sides of a slice */

extern const struct conv_method conv_direct_bf16;

struct shape {
    size_t c, h, w, filters, size, stride, pad;
};

static const struct shape shapes[] = {
    {24, 11, 13, 40, 3, 1, 1},  /* two blocks, the last one not full */
    {16, 9, 10, 255, 1, 1, 0},  /* a head */
    {520, 7, 9, 17, 3, 1, 1},   /* depth in parts, pieces of a tap */
    {96, 5, 5, 64, 3, 1, 1},    /* depth in parts, whole taps */
    {6, 17, 31, 8, 3, 2, 1},    /* fewer filters than lanes */
    {2, 20, 19, 72, 7, 3, 3},   /* one pair */
    {16, 8, 8, 100, 5, 1, 2},   /* a large window */
    {10, 2, 3, 5, 3, 1, 1},     /* hardly anything inside */
    {32, 30, 41, 48, 1, 1, 0},  /* several blocks of pixels */
    {32, 16, 16, 128, 4, 2, 0}, /* an even window */
};

struct run {
    struct cfg_layer layer;
    struct network_layer params;
    struct conv_spec spec;
    struct tensor in, add, out;
    float *weights, *bias;
    void *memory[3];
};

static struct rng rng;

static void put(const struct tensor *t, size_t at, float v)
{
    if (t->type == TENSOR_BF16)
        ((uint16_t *)t->data)[at] = tensor_bf16(v);
    else
        ((float *)t->data)[at] = v;
}

static float get(const struct tensor *t, size_t pixel, size_t c)
{
    size_t at = pixel * t->stride + c;

    switch (t->type) {
    case TENSOR_BF16:
        return tensor_from_bf16(((uint16_t *)t->data)[at]);
    case TENSOR_S16:
        return ((int16_t *)t->data)[at];
    case TENSOR_U8:
        return ((uint8_t *)t->data)[at];
    default:
        return ((float *)t->data)[at];
    }
}

/* A slice of a wider tensor; whatever is no element of it is NaN, in floats, too. */
static struct tensor tensor_make(size_t h, size_t w, size_t c, enum tensor_type type, void **memory)
{
    size_t stride = (c + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN + 2 * GUARD, size = tensor_type_size(type);
    char *data = *memory = xaligned(h * w * stride, size);
    struct tensor t = {.data = data + GUARD * size, .h = h, .w = w, .c = c, .stride = stride, .type = type};

    t.scale = type == TENSOR_S16 ? 0.01f : 0.05f;
    t.zero = type == TENSOR_U8 ? 100 : 0;
    memset(data, 0xff, h * w * stride * size);
    for (size_t i = 0; i < h * w * c && (type == TENSOR_BF16 || type == TENSOR_F32); i++)
        put(&t, i / c * stride + i % c, (float)rng_normal(&rng));
    return t;
}

static void run_new(struct run *r, const struct shape *s, enum tensor_type out, const enum tensor_type *add)
{
    size_t h = (s->h + 2 * s->pad - s->size) / s->stride + 1, w = (s->w + 2 * s->pad - s->size) / s->stride + 1;
    size_t n_each = s->c * s->size * s->size;

    memset(r, 0, sizeof *r);
    r->layer = (struct cfg_layer){.kind = CFG_CONVOLUTION,
                                  .in = {s->c, s->h, s->w},
                                  .out = {s->filters, h, w},
                                  .size = s->size,
                                  .stride = s->stride,
                                  .pad = s->pad,
                                  .groups = 1};
    r->weights = xcalloc(s->filters * n_each, sizeof(float));
    r->bias = xcalloc(s->filters, sizeof(float));
    for (size_t i = 0; i < s->filters * n_each; i++)
        r->weights[i] = (float)(rng_normal(&rng) / sqrt((double)n_each));
    for (size_t i = 0; i < s->filters; i++)
        r->bias[i] = (float)rng_normal(&rng);
    r->params = (struct network_layer){r->weights, r->bias};
    r->in = tensor_make(s->h, s->w, s->c, TENSOR_BF16, &r->memory[0]);
    r->out = tensor_make(h, w, s->filters, out, &r->memory[1]);
    r->add = tensor_make(h, w, s->filters, add ? *add : TENSOR_F32, &r->memory[2]);
    r->spec = (struct conv_spec){.layer = &r->layer,
                                 .params = &r->params,
                                 .in = r->in,
                                 .out = r->out,
                                 .slope = 0.1f,
                                 .add_slope = add ? 0 : 1,
                                 .has_add = add,
                                 .add = r->add};
}

static void run_fini(struct run *r)
{
    for (size_t i = 0; i < COUNT_OF(r->memory); i++)
        free(r->memory[i]);
    free(r->weights);
    free(r->bias);
}

/* Bias, then tap by tap the pairs of channels, of each the upper one first. */
static float sum_at(const struct run *r, size_t y, size_t x, size_t f)
{
    const struct cfg_layer *l = &r->layer;
    const float *weights = r->weights + f * l->in.c * l->size * l->size;
    float sum = r->bias[f];

    for (size_t tap = 0; tap < l->size * l->size; tap++) {
        size_t in_y = y * l->stride + tap / l->size - l->pad, in_x = x * l->stride + tap % l->size - l->pad;
        if (in_y >= l->in.h || in_x >= l->in.w) /* negative ones, too */
            continue;
        for (size_t k = 0; k < l->in.c; k++) {
            size_t c = k ^ 1;
            float w = tensor_from_bf16(tensor_bf16(weights[c * l->size * l->size + tap]));
            sum += w * get(&r->in, in_y * l->in.w + in_x, c);
        }
    }
    return sum;
}

static float wanted_at(const struct run *r, size_t pixel, size_t f)
{
    const struct tensor *out = &r->out;
    float v = sum_at(r, pixel / out->w, pixel % out->w, f);

    v = fmaxf(v, v * r->spec.slope);
    if (r->spec.has_add) {
        v += get(&r->add, pixel, f);
        v = fmaxf(v, v * r->spec.add_slope);
    }
    if (out->type == TENSOR_BF16)
        return tensor_from_bf16(tensor_bf16(v));
    if (out->type == TENSOR_S16)
        return rintf(fminf(fmaxf(v * (1 / out->scale), -TENSOR_S16_MAX), TENSOR_S16_MAX));
    if (out->type == TENSOR_U8)
        return rintf(fminf(fmaxf(v * (1 / out->scale), (float)-out->zero), (float)(255 - out->zero))) +
               (float)out->zero;
    return v;
}

static float *wanted(const struct run *r)
{
    size_t n = r->out.h * r->out.w * r->out.c;
    float *values = xcalloc(n, sizeof *values);

    for (size_t i = 0; i < n; i++)
        values[i] = wanted_at(r, i / r->out.c, i % r->out.c);
    return values;
}

static double step_of(const struct run *r, float v)
{
    if (r->out.type == TENSOR_BF16)
        return fabs((double)v) / 128;
    return r->out.type == TENSOR_F32 ? 0 : 1;
}

/* The outputs, and that nothing was written beside them. */
static void check(const struct run *r, const float *want, const char *how)
{
    size_t size = tensor_type_size(r->out.type), wide = (r->out.c + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;

    for (size_t i = 0; i < r->out.h * r->out.w; i++) {
        const char *pixel = (const char *)r->out.data + i * r->out.stride * size;
        for (size_t f = 0; f < r->out.c; f++, want++) {
            double bound = TOLERANCE > 0 ? TOLERANCE * (1 + fabs((double)*want)) + step_of(r, *want) : 0;
            if (!(fabs((double)get(&r->out, i, f) - (double)*want) <= bound))
                fail_msg("%s, %zux%zux%zu to %zu, type %d: pixel %zu, channel %zu is %g, not %g", how, r->in.c, r->in.h,
                         r->in.w, r->out.c, r->out.type, i, f, (double)get(&r->out, i, f), (double)*want);
        }
        for (size_t k = 0; k < GUARD * size; k++)
            assert_true(pixel[-1 - (ptrdiff_t)k] == -1 && pixel[wide * size + k] == -1);
    }
}

static void run_whole(const struct run *r, const float *want)
{
    struct conv *c = conv_direct_bf16.prepare(&r->spec);
    struct tensor out = r->out;
    void *scratch = xaligned(conv_direct_bf16.scratch_size(c) + 1, 1);

    assert_true(c->weights_size >= r->layer.out.c * r->layer.in.c * r->layer.size * r->layer.size * 2);
    conv_direct_bf16.run(c, &(struct conv_io){&r->in, r->spec.has_add ? &r->add : NULL, &out, scratch});
    check(r, want, "whole");
    conv_direct_bf16.destroy(c);
    free(scratch);
}

/* Row by row, from a ring of as many rows as a window needs, written just in time. */
static void run_ring(const struct run *r, const float *want)
{
    const struct cfg_layer *l = &r->layer;
    struct conv *c = conv_direct_bf16.prepare(&r->spec);
    struct tensor ring = r->in, out = r->out;
    size_t row = r->in.w * r->in.stride * 2, done = 0;
    void *scratch = xaligned(conv_direct_bf16.scratch_size(c) + 1, 1);

    ring.ring = l->size < l->in.h ? l->size : l->in.h;
    char *rows = xaligned(ring.ring * row, 1);
    ring.data = rows;
    for (size_t y = 0; y < out.h; y++) {
        for (; done < l->in.h && done + l->pad < y * l->stride + l->size; done++)
            memcpy(tensor_row(&ring, done), tensor_row(&r->in, done), row - 2 * GUARD * sizeof(uint16_t));
        conv_direct_bf16.run_rows(c, &(struct conv_io){&ring, r->spec.has_add ? &r->add : NULL, &out, scratch}, y,
                                  y + 1);
    }
    check(r, want, "row by row");
    conv_direct_bf16.destroy(c);
    free(rows);
    free(scratch);
}

static void check_shape(const struct shape *s, enum tensor_type out, const enum tensor_type *add)
{
    struct run r;

    run_new(&r, s, out, add);
    assert_true(conv_direct_bf16.supports(&r.spec));
    float *want = wanted(&r);
    run_whole(&r, want);
    memset(r.memory[1], 0xff, r.out.h * r.out.w * r.out.stride * tensor_type_size(r.out.type));
    run_ring(&r, want);
    free(want);
    run_fini(&r);
}

static void test_all_shapes_and_types(void **state)
{
    static const enum tensor_type outs[] = {TENSOR_F32, TENSOR_BF16, TENSOR_S16, TENSOR_U8};
    static const enum tensor_type adds[] = {TENSOR_F32, TENSOR_BF16};
    (void)state;
    if (!isa_has_bf16())
        skip();
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        for (size_t k = 0; k < COUNT_OF(outs); k++) {
            check_shape(&shapes[i], outs[k], NULL);
            check_shape(&shapes[i], outs[k], &adds[k % 2]);
        }
}

/* Pairs of channels that are none, and groups, are for others; so is everything on a CPU without the instructions. */
static void test_what_it_leaves_to_others(void **state)
{
    struct run r;
    (void)state;
    run_new(&r, &shapes[0], TENSOR_F32, NULL);
    assert_int_equal(conv_direct_bf16.supports(&r.spec), isa_has_bf16());
    r.layer.in.c = 23;
    assert_false(conv_direct_bf16.supports(&r.spec));
    r.layer.in.c = 24;
    r.layer.groups = 2;
    assert_false(conv_direct_bf16.supports(&r.spec));
    run_fini(&r);
}

int main(void)
{
    rng_init(&rng, 7);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_shapes_and_types),
        cmocka_unit_test(test_what_it_leaves_to_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
