/* conv_test.c - every method that reads floats against the plain one: odd sizes, strides, all types of output, residuals
 * in place, slices of wider tensors, and rows in rings. Run for each instruction set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "conv.h"
#include "nn/nn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GUARD 32 /* elements on both sides of a slice */

extern const struct conv_method conv_plain;

struct shape {
    size_t w, h, in_c, out_c, size, stride, pad, groups;
    enum tensor_type out_type;
    bool has_add;
};

static const struct shape shapes[] = {
    {13, 11, 24, 40, 3, 1, 1, 1, TENSOR_F32, false},  {13, 11, 24, 40, 3, 1, 1, 1, TENSOR_F32, true},
    {20, 9, 300, 255, 1, 1, 0, 1, TENSOR_F32, false}, {9, 7, 520, 17, 3, 1, 1, 1, TENSOR_F32, true},
    {31, 17, 7, 8, 3, 2, 1, 1, TENSOR_F32, false},    {8, 8, 16, 100, 5, 1, 2, 1, TENSOR_F32, false},
    {5, 6, 3, 21, 3, 1, 1, 1, TENSOR_F32, false},     {41, 30, 3, 16, 3, 2, 1, 1, TENSOR_F32, false},
    {19, 20, 3, 72, 7, 3, 3, 1, TENSOR_F32, false},   {3, 2, 16, 5, 3, 1, 1, 1, TENSOR_F32, false},
    {15, 12, 40, 40, 3, 1, 1, 40, TENSOR_F32, false}, {15, 12, 40, 40, 3, 2, 1, 40, TENSOR_F32, true},
    {10, 10, 24, 24, 5, 1, 2, 24, TENSOR_F32, false}, {9, 13, 17, 17, 4, 3, 2, 17, TENSOR_F32, false},
    {2, 2, 8, 8, 3, 1, 1, 8, TENSOR_F32, false},      {13, 11, 24, 40, 3, 1, 1, 1, TENSOR_S16, true},
    {13, 11, 24, 40, 1, 1, 0, 1, TENSOR_U8, true},    {13, 11, 24, 40, 3, 1, 1, 1, TENSOR_BF16, false},
    {15, 12, 40, 40, 3, 1, 1, 40, TENSOR_U8, false},  {21, 12, 3, 16, 3, 1, 1, 1, TENSOR_S16, false},
};

/* A layer of this shape with random numbers; the output is a slice. */
struct layer {
    struct cfg_layer cfg;
    struct network_layer params;
    struct conv_spec spec;
    struct tensor in, add, out, planes;
    float *weights, *bias;
    void *memory[4];
};

static struct tensor tensor_make(struct rng *rng, size_t w, size_t h, size_t c, enum tensor_type type, size_t guard,
                                 void **memory)
{
    size_t stride = (c + 15) / 16 * 16 + 2 * guard, n = w * h * stride, size = tensor_type_size(type);
    char *data = *memory = xaligned(n, size);

    for (size_t i = 0; i < n && type == TENSOR_F32; i++)
        ((float *)(void *)data)[i] = (float)rng_normal(rng);
    return (struct tensor){.data = data + guard * size,
                           .h = h,
                           .w = w,
                           .c = c,
                           .stride = stride,
                           .type = type,
                           .scale = type == TENSOR_S16 ? 0.01f : 0.05f,
                           .zero = type == TENSOR_U8 ? 100 : 0};
}

static void layer_make(struct layer *l, const struct shape *s)
{
    struct rng rng;
    size_t n = s->out_c * s->in_c / s->groups * s->size * s->size;

    memset(l, 0, sizeof *l);
    rng_init(&rng, 5);
    l->cfg = (struct cfg_layer){
        .kind = CFG_CONVOLUTION,
        .in = {s->in_c, s->h, s->w},
        .out = {s->out_c, (s->h + 2 * s->pad - s->size) / s->stride + 1, (s->w + 2 * s->pad - s->size) / s->stride + 1},
        .size = s->size,
        .stride = s->stride,
        .pad = s->pad,
        .groups = s->groups};
    l->weights = xcalloc(n, sizeof(float));
    l->bias = xcalloc(s->out_c, sizeof(float));
    for (size_t i = 0; i < n; i++)
        l->weights[i] = (float)(rng_normal(&rng) / sqrt((double)(n / s->out_c)));
    for (size_t i = 0; i < s->out_c; i++)
        l->bias[i] = (float)rng_normal(&rng);
    l->params = (struct network_layer){l->weights, l->bias};
    l->in = tensor_make(&rng, s->w, s->h, s->in_c, TENSOR_F32, 0, &l->memory[0]);
    l->out = tensor_make(&rng, l->cfg.out.w, l->cfg.out.h, s->out_c, s->out_type, GUARD, &l->memory[1]);
    l->add = tensor_make(&rng, l->cfg.out.w, l->cfg.out.h, s->out_c, TENSOR_F32, 0, &l->memory[2]);
    l->planes = l->in;
    l->planes.type = TENSOR_PICTURE;
    l->planes.data = l->memory[3] = xcalloc(s->w * s->h * s->in_c, sizeof(float));
    for (size_t i = 0; i < s->w * s->h; i++)
        for (size_t c = 0; c < s->in_c; c++)
            ((float *)l->planes.data)[c * s->w * s->h + i] = ((float *)l->in.data)[i * l->in.stride + c];
    l->spec = (struct conv_spec){.layer = &l->cfg,
                                 .params = &l->params,
                                 .in = l->in,
                                 .out = l->out,
                                 .slope = 0.1f,
                                 .add_slope = s->has_add ? 0 : 1,
                                 .has_add = s->has_add,
                                 .add = l->add};
}

static void layer_free(struct layer *l)
{
    for (int i = 0; i < 4; i++)
        free(l->memory[i]);
    free(l->weights);
    free(l->bias);
}

static double element(const struct tensor *t, size_t i, size_t c)
{
    size_t at = i * t->stride + c;
    uint32_t bits;
    float f;

    switch (t->type) {
    case TENSOR_S16:
        return t->scale * ((int16_t *)t->data)[at];
    case TENSOR_U8:
        return t->scale * (((uint8_t *)t->data)[at] - t->zero);
    case TENSOR_BF16:
        bits = (uint32_t)((uint16_t *)t->data)[at] << 16;
        memcpy(&f, &bits, sizeof f);
        return f;
    default:
        return ((float *)t->data)[at];
    }
}

/* What the guard after a slice held before has to be there still. */
static void guard_fill(const struct layer *l, char value)
{
    memset(l->memory[1], value, l->out.w * l->out.h * l->out.stride * tensor_type_size(l->out.type));
}

static void guard_check(const struct layer *l, char value)
{
    size_t size = tensor_type_size(l->out.type), wide = (l->out.c + 15) / 16 * 16;

    for (size_t i = 0; i < l->out.w * l->out.h; i++) {
        const char *pixel = (const char *)l->out.data + i * l->out.stride * size;
        for (size_t k = 0; k < GUARD * size; k++) {
            assert_int_equal(pixel[-1 - (ptrdiff_t)k], value);
            assert_int_equal(pixel[wide * size + k], value);
        }
    }
}

static void run_method(const struct layer *l, const struct conv_method *m, size_t rows)
{
    struct conv_spec spec = l->spec;
    struct tensor in = m->in_type == TENSOR_PICTURE ? l->planes : l->in, out = l->out;
    spec.in = in;
    struct conv *c = m->prepare(&spec);
    struct conv_io io = {&in, l->spec.has_add ? &l->add : NULL, &out, xaligned(m->scratch_size(c) + 1, 1)};

    if (rows == 0)
        m->run(c, &io);
    for (size_t y = 0; rows && y < out.h; y += rows)
        m->run_rows(c, &io, y, y + rows < out.h ? y + rows : out.h);
    free(io.scratch);
    m->destroy(c);
}

static double *wanted(const struct layer *l)
{
    double *values = xcalloc(l->out.h * l->out.w * l->out.c, sizeof *values), *to = values;

    run_method(l, &conv_plain, 0);
    for (size_t i = 0; i < l->out.h * l->out.w; i++)
        for (size_t c = 0; c < l->out.c; c++)
            *to++ = element(&l->out, i, c);
    return values;
}

static void check(const struct layer *l, const double *want, const struct conv_method *m, size_t rows)
{
    double step = l->out.type == TENSOR_F32 ? 0 : l->out.type == TENSOR_BF16 ? 0.02 : l->out.scale;

    guard_fill(l, 77);
    run_method(l, m, rows);
    guard_check(l, 77);
    for (size_t i = 0; i < l->out.h * l->out.w; i++)
        for (size_t c = 0; c < l->out.c; c++) {
            double difference = fabs(element(&l->out, i, c) - *want);
            if (!(difference <=
                  3e-5 * fmax(1, fabs(*want)) + step * fmax(1, l->out.type == TENSOR_BF16 ? fabs(*want) : 1)))
                fail_msg("%s, %zux%zux%zu, rows %zu, pixel %zu, channel %zu: off by %g from %g", m->name, l->in.w,
                         l->in.h, l->in.c, rows, i, c, difference, *want);
            want++;
        }
}

static void test_methods_compute_what_the_plain_one_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        struct layer l;
        layer_make(&l, &shapes[i]);
        double *want = wanted(&l);
        size_t n = 0;
        for (const struct conv_method *const *m = conv_methods; *m; m++) {
            bool reads = (*m)->in_type == TENSOR_F32 || (*m)->in_type == TENSOR_PICTURE;
            if (!reads || !(*m)->supports(&l.spec))
                continue;
            check(&l, want, *m, 0);
            if ((*m)->run_rows) {
                check(&l, want, *m, 1);
                check(&l, want, *m, 3);
            }
            n++;
        }
        assert_true(n >= 1);
        free(want);
        layer_free(&l);
    }
}

static void test_a_residual_may_be_in_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        struct layer l;
        if (!shapes[i].has_add || shapes[i].out_type != TENSOR_F32)
            continue;
        layer_make(&l, &shapes[i]);
        double *want = wanted(&l);
        for (const struct conv_method *const *m = conv_methods; *m; m++) {
            if ((*m)->in_type != TENSOR_F32 || !(*m)->supports(&l.spec))
                continue;
            struct layer in_place = l;
            void *saved = xaligned(l.out.h * l.out.w * l.add.stride, sizeof(float));
            memcpy(saved, l.add.data, l.out.h * l.out.w * l.add.stride * sizeof(float));
            in_place.out = in_place.spec.out = l.add;
            run_method(&in_place, *m, 0);
            for (size_t k = 0; k < l.out.h * l.out.w * l.out.c; k++)
                assert_true(fabs(element(&in_place.out, k / l.out.c, k % l.out.c) - want[k]) <=
                            3e-5 * fmax(1, fabs(want[k])));
            memcpy(l.add.data, saved, l.out.h * l.out.w * l.add.stride * sizeof(float));
            free(saved);
        }
        free(want);
        layer_free(&l);
    }
}

/* The input lies in a ring of as many rows as a window needs, and is written there just in time. */
static void test_rows_come_from_rings(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        struct layer l;
        layer_make(&l, &shapes[i]);
        double *want = wanted(&l);
        for (const struct conv_method *const *m = conv_methods; *m; m++) {
            if ((*m)->in_type != TENSOR_F32 || !(*m)->run_rows || !(*m)->supports(&l.spec))
                continue;
            struct conv *c = (*m)->prepare(&l.spec);
            struct tensor ring = l.in;
            size_t row = l.in.w * l.in.stride * sizeof(float), done = 0;
            ring.ring = shapes[i].size < l.in.h ? shapes[i].size : l.in.h;
            ring.data = xaligned(ring.ring * row, 1);
            struct conv_io io = {&ring, l.spec.has_add ? &l.add : NULL, &l.out, xaligned((*m)->scratch_size(c) + 1, 1)};
            for (size_t y = 0; y < l.out.h; y++) {
                for (; done < l.in.h && done + shapes[i].pad < y * shapes[i].stride + shapes[i].size; done++)
                    memcpy(tensor_row(&ring, done), tensor_row(&l.in, done), row);
                (*m)->run_rows(c, &io, y, y + 1);
            }
            for (size_t k = 0; k < l.out.h * l.out.w * l.out.c && l.out.type == TENSOR_F32; k++)
                assert_true(fabs(element(&l.out, k / l.out.c, k % l.out.c) - want[k]) <= 3e-5 * fmax(1, fabs(want[k])));
            free(io.scratch);
            free(ring.data);
            (*m)->destroy(c);
        }
        free(want);
        layer_free(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_methods_compute_what_the_plain_one_does),
        cmocka_unit_test(test_a_residual_may_be_in_place),
        cmocka_unit_test(test_rows_come_from_rings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
