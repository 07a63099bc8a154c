/* conv_quant_test.c - every quantised method against plain loops over the same integers: equal to the bit. Built
 * twice: as the CPU has the instructions, and with all of them emulated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/isa.h"
#include "conv_quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifdef BI_SIMDE /* rounds in between */
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#else
#define MULTIPLY_ADD(a, b, c) fmaf(a, b, c)
#endif

struct shape {
    size_t c, h, w, filters, size, stride, groups;
};

static const struct shape dense[] = {
    {3, 13, 11, 16, 3, 1, 1},   /* channels that fill no step */
    {16, 13, 13, 24, 3, 1, 1},  /* one and a half blocks */
    {16, 9, 10, 255, 1, 1, 1},  /* a head */
    {32, 8, 7, 37, 3, 2, 1},    /* a last register that is not full */
    {24, 6, 6, 16, 1, 1, 1},    /* more memory than channels */
    {16, 7, 9, 32, 3, 1, 2},    /* groups */
    {8, 5, 6, 5, 5, 1, 1},      /* fewer filters than lanes */
    {64, 100, 120, 8, 3, 1, 1}, /* several bands */
};
static const struct shape depthwise[] = {
    {16, 12, 13, 16, 3, 1, 16},
    {40, 9, 9, 40, 3, 2, 40},
    {24, 11, 7, 24, 5, 1, 24},
    {272, 90, 40, 272, 3, 1, 272}, /* several bands */
};

struct run {
    struct cfg_layer layer;
    struct network_layer params;
    struct conv_spec spec;
    struct tensor in, out, add;
    float *weights, *bias;
    void *wanted; /* like out */
};

static struct rng rng;

static size_t rounded(size_t n)
{
    return (n + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
}

static double get(const struct tensor *t, size_t pixel, size_t c)
{
    size_t i = pixel * t->stride + c;
    if (t->type == TENSOR_S16)
        return ((int16_t *)t->data)[i];
    if (t->type == TENSOR_U8)
        return ((uint8_t *)t->data)[i] - t->zero;
    return (double)((float *)t->data)[i];
}

static struct tensor new_tensor(size_t h, size_t w, size_t c, enum tensor_type type)
{
    struct tensor t = {.h = h, .w = w, .c = c, .stride = rounded(c), .type = type, .scale = 0.01f, .zero = 0};

    if (type == TENSOR_U8)
        t.zero = 37, t.scale = 0.1f;
    t.data = xaligned(h * w * t.stride, tensor_type_size(type));
    for (size_t i = 0; i < h * w * t.stride; i++)
        if (type == TENSOR_S16)
            ((int16_t *)t.data)[i] = (int16_t)(rng_next(&rng) % (2 * TENSOR_S16_MAX + 1) - TENSOR_S16_MAX);
        else if (type == TENSOR_U8)
            ((uint8_t *)t.data)[i] = (uint8_t)rng_next(&rng);
        else
            ((float *)t.data)[i] = (float)rng_normal(&rng);
    return t;
}

static float unit(const struct tensor *t)
{
    return t->type == TENSOR_F32 ? 1 : t->scale;
}

static float weight_scale(const float *w, size_t n, enum tensor_type type)
{
    double most = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)w[i]));
        sum += fabs((double)w[i]);
    }
    if (type == TENSOR_U8)
        return (float)(most / 127);
    return (float)(fmax(most / 32767, sum / ((double)INT32_MAX / TENSOR_S16_MAX - (double)n)) * (1 + 1e-6));
}

/* The exact sum of one output over the integers. */
static int64_t sum_at(const struct run *r, size_t y, size_t x, size_t f, float scale)
{
    const struct cfg_layer *l = &r->layer;
    size_t channels = l->in.c / l->groups, group = f / (l->out.c / l->groups);
    int64_t sum = 0;

    for (size_t c = 0; c < channels; c++)
        for (size_t ky = 0; ky < l->size; ky++)
            for (size_t kx = 0; kx < l->size; kx++) {
                size_t iy = y * l->stride + ky - l->pad, ix = x * l->stride + kx - l->pad; /* wraps when negative */
                if (iy >= l->in.h || ix >= l->in.w)
                    continue;
                float w = r->weights[((f * channels + c) * l->size + ky) * l->size + kx];
                sum += lrintf(w / scale) * (int64_t)get(&r->in, iy * l->in.w + ix, group * channels + c);
            }
    assert_true(sum == (int32_t)sum);
    return sum;
}

static void expect(struct run *r)
{
    const struct cfg_layer *l = &r->layer;
    size_t n_each = l->in.c / l->groups * l->size * l->size;
    float u = unit(&r->out);

    for (size_t f = 0; f < l->out.c; f++) {
        float scale = weight_scale(r->weights + f * n_each, n_each, r->in.type);
        for (size_t i = 0; i < l->out.h * l->out.w; i++) {
            float sum = (float)(int32_t)sum_at(r, i / l->out.w, i % l->out.w, f, scale);
            float v = MULTIPLY_ADD(sum, r->in.scale * scale / u, r->bias[f] / u);
            v = fmaxf(v, r->spec.slope * v);
            if (r->spec.has_add) {
                float factor = unit(&r->add) / u;
                float raw = (float)(get(&r->add, i, f) + r->add.zero);
                v += MULTIPLY_ADD(raw, factor, r->add.type == TENSOR_U8 ? -(float)r->add.zero * factor : 0);
                v = fmaxf(v, r->spec.add_slope * v);
            }
            size_t at = i * r->out.stride + f;
            if (r->out.type == TENSOR_F32)
                ((float *)r->wanted)[at] = v;
            else if (r->out.type == TENSOR_S16)
                ((int16_t *)r->wanted)[at] = (int16_t)fminf(fmaxf(rintf(v), -TENSOR_S16_MAX), TENSOR_S16_MAX);
            else
                ((uint8_t *)r->wanted)[at] = (uint8_t)fminf(fmaxf(rintf(v + (float)r->out.zero), 0), 255);
        }
    }
}

static void run_new(struct run *r, const struct shape *s, enum tensor_type in, enum tensor_type out, bool has_add)
{
    size_t pad = s->size / 2, h = (s->h + 2 * pad - s->size) / s->stride + 1,
           w = (s->w + 2 * pad - s->size) / s->stride + 1;
    size_t n_each = s->c / s->groups * s->size * s->size;

    *r = (struct run){.layer = {.kind = CFG_CONVOLUTION,
                                .in = {s->c, s->h, s->w},
                                .out = {s->filters, h, w},
                                .size = s->size,
                                .stride = s->stride,
                                .pad = pad,
                                .groups = s->groups}};
    r->weights = xcalloc(s->filters * n_each, sizeof(float));
    r->bias = xcalloc(s->filters, sizeof(float));
    for (size_t i = 0; i < s->filters * n_each; i++)
        r->weights[i] = (float)(0.1 * rng_normal(&rng));
    for (size_t i = 0; i < s->filters; i++)
        r->bias[i] = (float)rng_normal(&rng);
    r->params = (struct network_layer){r->weights, r->bias};
    r->in = new_tensor(s->h, s->w, s->c, in);
    r->out = new_tensor(h, w, s->filters, out);
    r->out.scale = in == TENSOR_S16 ? 0.05f : 0.3f;
    r->add = new_tensor(h, w, s->filters, has_add && in == TENSOR_U8 ? TENSOR_U8 : TENSOR_S16);
    r->spec = (struct conv_spec){.layer = &r->layer,
                                 .params = &r->params,
                                 .in = r->in,
                                 .out = r->out,
                                 .slope = 0.1f,
                                 .add_slope = 1,
                                 .has_add = has_add,
                                 .add = r->add};
    r->wanted = xaligned(h * w * r->out.stride, tensor_type_size(out));
    expect(r);
}

static void run_fini(struct run *r)
{
    free(r->weights);
    free(r->bias);
    free(r->in.data);
    free(r->out.data);
    free(r->add.data);
    free(r->wanted);
}

static void run_check(struct run *r, const struct conv_method *m)
{
    struct conv *c = m->prepare(&r->spec);
    void *scratch = xaligned(m->scratch_size(c) + 1, 1);
    size_t bytes = tensor_type_size(r->out.type);

    m->run(c, &(struct conv_io){&r->in, r->spec.has_add ? &r->add : NULL, &r->out, scratch});
    for (size_t i = 0; i < r->layer.out.h * r->layer.out.w; i++)
        if (memcmp((char *)r->out.data + i * r->out.stride * bytes, (char *)r->wanted + i * r->out.stride * bytes,
                   r->out.c * bytes) != 0)
            fail_msg("%s: pixel %zu of %zux%zux%zu to %zu differs", m->name, i, r->layer.in.c, r->layer.in.h,
                     r->layer.in.w, r->layer.out.c);
    assert_true(c->weights_size > 0);
    m->destroy(c);
    free(scratch);
}

static void check_all(const struct conv_method *m, const struct shape *shapes, size_t n)
{
    static const enum tensor_type outs[] = {TENSOR_S16, TENSOR_U8, TENSOR_F32};

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < 2 * COUNT_OF(outs); k++) {
            struct run r;
            run_new(&r, &shapes[i], m->in_type, outs[k / 2], k % 2);
            run_check(&r, m);
            run_fini(&r);
        }
}

static void need(enum isa isa)
{
    if (!isa_supported(isa))
        skip();
}

static void test_s16(void **state)
{
    (void)state;
    need(ISA_AVX2);
    check_all(&conv_s16, dense, COUNT_OF(dense));
}

static void test_u8_widened(void **state)
{
    (void)state;
    need(ISA_AVX2);
    check_all(&conv_u8_widened, dense, COUNT_OF(dense));
}

static void test_u8_vnni(void **state)
{
    (void)state;
    need(ISA_AVX512VNNI);
    check_all(&conv_u8_avx512vnni, dense, COUNT_OF(dense));
}

static void test_u8_vnni_of_32_bytes(void **state)
{
    (void)state;
    need(ISA_AVX2VNNI);
    check_all(&conv_u8_avx2vnni, dense, COUNT_OF(dense));
}

static void test_depthwise(void **state)
{
    (void)state;
    need(ISA_AVX2);
    check_all(&conv_s16_depthwise, depthwise, COUNT_OF(depthwise));
    check_all(&conv_u8_depthwise, depthwise, COUNT_OF(depthwise));
}

/* Weights of one sign and inputs at their limit: what the sums are scaled for. */
static void test_the_largest_sums_fit(void **state)
{
    struct run r;
    (void)state;
    need(ISA_AVX2);
    run_new(&r, &(struct shape){512, 5, 5, 16, 3, 1, 1}, TENSOR_S16, TENSOR_F32, false);
    for (size_t i = 0; i < 16 * 512 * 9; i++)
        r.weights[i] = 0.25f + 1e-5f * (float)(i % 7);
    for (size_t i = 0; i < 25 * 512; i++)
        ((int16_t *)r.in.data)[i] = TENSOR_S16_MAX;
    expect(&r);
    run_check(&r, &conv_s16);
    run_fini(&r);
}

/* Output rows 2 to 4 from a ring of as many input rows as they need, whose wrap lies among them. */
static void check_ring(const struct conv_method *m, const struct shape *shape)
{
    struct run r;

    run_new(&r, shape, m->in_type, TENSOR_S16, false);
    struct conv *c = m->prepare(&r.spec);
    void *scratch = xaligned(m->scratch_size(c) + 1, 1);
    struct tensor ring = r.in;
    size_t row = r.in.w * r.in.stride * tensor_type_size(r.in.type), first = 2 - shape->size / 2;
    ring.ring = 3 + shape->size - 1;
    ring.data = xaligned(ring.ring, row);
    for (size_t y = first; y < first + ring.ring; y++)
        memcpy(tensor_row(&ring, y), tensor_row(&r.in, y), row);
    m->run_rows(c, &(struct conv_io){&ring, NULL, &r.out, scratch}, 2, 5);
    size_t out_row = r.out.w * r.out.stride * 2;
    assert_memory_equal(tensor_row(&r.out, 2), (char *)r.wanted + 2 * out_row, 3 * out_row);
    m->destroy(c);
    free(ring.data);
    free(scratch);
    run_fini(&r);
}

static void test_rows_come_from_rings(void **state)
{
    (void)state;
    need(ISA_AVX2);
    check_ring(&conv_s16, &(struct shape){16, 8, 7, 16, 1, 1, 1});
    check_ring(&conv_s16, &(struct shape){16, 8, 7, 16, 3, 1, 1});
    check_ring(&conv_s16_depthwise, &(struct shape){16, 8, 7, 16, 3, 1, 16});
    check_ring(&conv_u8_widened, &(struct shape){16, 8, 7, 16, 3, 1, 1});
}

int main(void)
{
    rng_init(&rng, 5);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_s16),
        cmocka_unit_test(test_u8_widened),
        cmocka_unit_test(test_u8_vnni),
        cmocka_unit_test(test_u8_vnni_of_32_bytes),
        cmocka_unit_test(test_depthwise),
        cmocka_unit_test(test_rows_come_from_rings),
        cmocka_unit_test(test_the_largest_sums_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
