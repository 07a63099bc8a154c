/* winograd_test.c - every method against a plain convolution: sizes that tiles do not divide, slices, residuals, all
 * types of output, and integers as large as they may be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "nn/nn.h"
#include "winograd.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One layer with invented numbers, and what a plain convolution makes of them. */
struct layer {
    struct cfg_layer cfg;
    struct network_layer params;
    struct conv_spec spec;
    struct tensor in, out, add;
    float *weights, *bias;
    float *wanted; /* (h, w, out.c), not converted to out's type */
    struct rng rng;
};

static float element_get(const struct tensor *t, size_t i)
{
    uint32_t bits;
    float f;

    switch (t->type) {
    case TENSOR_F32:
        return ((float *)t->data)[i];
    case TENSOR_BF16:
        bits = (uint32_t)((uint16_t *)t->data)[i] << 16;
        memcpy(&f, &bits, sizeof f);
        return f;
    case TENSOR_S16:
        return t->scale * ((int16_t *)t->data)[i];
    case TENSOR_U8:
        return t->scale * (float)(((uint8_t *)t->data)[i] - t->zero);
    case TENSOR_PICTURE:
        break;
    }
    return 0;
}

static void element_set(struct tensor *t, size_t i, float v)
{
    if (t->type == TENSOR_F32)
        ((float *)t->data)[i] = v;
    else if (t->type == TENSOR_BF16)
        ((uint16_t *)t->data)[i] = (uint16_t)(lrintf(v * 8) == 0 ? 0 : 0x3f80); /* 0 or 1 */
    else if (t->type == TENSOR_S16)
        ((int16_t *)t->data)[i] = (int16_t)fmaxf(-TENSOR_S16_MAX, fminf(TENSOR_S16_MAX, rintf(v / t->scale)));
    else
        ((uint8_t *)t->data)[i] = (uint8_t)fmaxf(0, fminf(255, rintf(v / t->scale) + (float)t->zero));
}

/* A tensor of noise; as a slice it begins 8 elements into its pixels. */
static struct tensor tensor_new(struct rng *rng, size_t h, size_t w, size_t c, enum tensor_type type, bool slice)
{
    struct tensor t = {.h = h, .w = w, .c = c, .stride = slice ? c + 24 : c, .type = type, .scale = 1, .zero = 0};
    size_t n = h * w * t.stride, offset = slice ? 8 : 0;

    if (type == TENSOR_S16)
        t.scale = 6.0f / TENSOR_S16_MAX;
    if (type == TENSOR_U8) {
        t.scale = 0.04f;
        t.zero = 60;
    }
    t.data = xaligned(n + 16, tensor_type_size(type));
    for (size_t i = 0; i < n; i++)
        element_set(&t, i, (float)rng_normal(rng));
    t.data = (char *)t.data + offset * tensor_type_size(type);
    return t;
}

static void tensor_free(struct tensor *t)
{
    if (t->data)
        free((char *)t->data - (t->stride > t->c ? 8 * tensor_type_size(t->type) : 0));
}

static double plain_sum(const struct layer *l, size_t y, size_t x, size_t k)
{
    double sum = l->bias[k];

    for (size_t dy = 0; dy < 3; dy++)
        for (size_t dx = 0; dx < 3; dx++) {
            if (y + dy < 1 || y + dy > l->in.h || x + dx < 1 || x + dx > l->in.w)
                continue;
            size_t pixel = (y + dy - 1) * l->in.w + x + dx - 1;
            for (size_t c = 0; c < l->in.c; c++)
                sum += (double)element_get(&l->in, pixel * l->in.stride + c) *
                       l->weights[(k * l->in.c + c) * 9 + dy * 3 + dx];
        }
    return sum;
}

static void plain_convolution(struct layer *l)
{
    for (size_t pixel = 0; pixel < l->out.h * l->out.w; pixel++)
        for (size_t k = 0; k < l->out.c; k++) {
            double v = plain_sum(l, pixel / l->out.w, pixel % l->out.w, k);
            v = fmax(v, l->spec.slope * v);
            if (l->spec.has_add) {
                v += (double)element_get(&l->add, pixel * l->add.stride + k);
                v = fmax(v, l->spec.add_slope * v);
            }
            l->wanted[pixel * l->out.c + k] = (float)v;
        }
}

struct shape {
    size_t h, w, c, k;
};

struct types {
    enum tensor_type in, out;
    bool has_add;
    enum tensor_type add;
    bool slices;
};

static void layer_init(struct layer *l, struct shape s, struct types t)
{
    *l = (struct layer){.wanted = NULL};
    rng_init(&l->rng, s.h * 31 + s.c);
    l->cfg = (struct cfg_layer){.kind = CFG_CONVOLUTION, .size = 3, .stride = 1, .pad = 1, .groups = 1};
    l->cfg.in = (struct cfg_shape){s.c, s.h, s.w};
    l->cfg.out = (struct cfg_shape){s.k, s.h, s.w};
    l->in = tensor_new(&l->rng, s.h, s.w, s.c, t.in, t.slices);
    l->out = tensor_new(&l->rng, s.h, s.w, s.k, t.out, t.slices);
    if (t.has_add)
        l->add = tensor_new(&l->rng, s.h, s.w, s.k, t.add, t.slices);
    l->weights = xcalloc(s.k * s.c * 9, sizeof *l->weights);
    l->bias = xcalloc(s.k, sizeof *l->bias);
    l->wanted = xcalloc(s.h * s.w * s.k, sizeof *l->wanted);
    for (size_t i = 0; i < s.k * s.c * 9; i++)
        l->weights[i] = (float)(rng_normal(&l->rng) / sqrt(9.0 * (double)s.c));
    for (size_t i = 0; i < s.k; i++)
        l->bias[i] = (float)rng_normal(&l->rng);
    l->params = (struct network_layer){l->weights, l->bias};
    l->spec = (struct conv_spec){.layer = &l->cfg,
                                 .params = &l->params,
                                 .in = l->in,
                                 .out = l->out,
                                 .slope = 0.1f,
                                 .add_slope = t.slices ? 1 : 0,
                                 .has_add = t.has_add,
                                 .add = l->add};
    plain_convolution(l);
}

static void layer_fini(struct layer *l)
{
    tensor_free(&l->in);
    tensor_free(&l->out);
    tensor_free(&l->add);
    free(l->weights);
    free(l->bias);
    free(l->wanted);
}

static void layer_run(struct layer *l, const struct conv_method *method)
{
    assert_true(method->supports(&l->spec));
    struct conv *c = method->prepare(&l->spec);
    void *scratch = xaligned(method->scratch_size(c), 1);
    struct conv_io io = {&l->in, l->spec.has_add ? &l->add : NULL, &l->out, scratch};

    assert_ptr_equal(c->method, method);
    assert_true(c->weights_size >= l->in.c * l->out.c * 16 * tensor_type_size(method->in_type));
    memset(scratch, 0xff, method->scratch_size(c));
    method->run(c, &io);
    free(scratch);
    method->destroy(c);
}

/* The largest difference from what is wanted, that in the conversion to out's type left out. */
static double layer_error(const struct layer *l)
{
    double worst = 0;

    for (size_t pixel = 0; pixel < l->out.h * l->out.w; pixel++)
        for (size_t k = 0; k < l->out.c; k++) {
            double wanted = (double)l->wanted[pixel * l->out.c + k], conversion = 0;
            double got = (double)element_get(&l->out, pixel * l->out.stride + k);
            if (l->out.type == TENSOR_BF16)
                conversion = fabs(wanted) / 256;
            if (l->out.type == TENSOR_S16 || l->out.type == TENSOR_U8) {
                double low = l->out.type == TENSOR_S16 ? -TENSOR_S16_MAX : -l->out.zero;
                double high = l->out.type == TENSOR_S16 ? TENSOR_S16_MAX : 255 - l->out.zero;
                wanted = fmin(fmax(wanted, low * (double)l->out.scale), high * (double)l->out.scale);
                conversion = 0.5 * (double)l->out.scale;
            }
            worst = fmax(worst, fabs(got - wanted) - conversion);
        }
    return worst;
}

/* Outputs are about 1 in size: tolerances are relative to that. */
static double tolerance(const struct conv_method *method)
{
    if (method->in_type == TENSOR_F32)
        return 3e-5;
    return method == &conv_winograd2_s16 ? 0.012 : 0.03;
}

static const struct conv_method *const METHODS[] = {&conv_winograd2, &conv_winograd4, &conv_winograd2_s16,
                                                    &conv_winograd4_s16};

/* With AVX-512 the integer methods take 32 channels at a time. */
static bool is_for(const struct conv_method *method, struct shape s)
{
    return method->in_type == TENSOR_F32 || strcmp(nn_kernel_isa(), "avx512") != 0 || s.c % 32 == 0;
}

static void check(struct shape s, struct types t)
{
    for (size_t i = 0; i < COUNT_OF(METHODS); i++) {
        struct layer l;
        if (!is_for(METHODS[i], s))
            continue;
        t.in = METHODS[i]->in_type;
        layer_init(&l, s, t);
        layer_run(&l, METHODS[i]);
        double error = layer_error(&l);
        if (error > tolerance(METHODS[i]))
            fail_msg("%s, %zu x %zu, %zu -> %zu: off by %g", METHODS[i]->name, s.h, s.w, s.c, s.k, error);
        layer_fini(&l);
    }
}

static void test_all_shapes(void **state)
{
    static const struct shape shapes[] = {{1, 1, 16, 16},   {2, 3, 16, 48},   {4, 4, 32, 16},   {5, 9, 48, 80},
                                          {13, 13, 64, 32}, {26, 25, 32, 16}, {13, 6, 544, 64}, {53, 52, 32, 32}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        check(shapes[i], (struct types){.out = TENSOR_F32});
}

static void test_all_types_of_output_and_residual(void **state)
{
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_BF16, TENSOR_S16, TENSOR_U8};
    (void)state;
    for (size_t out = 0; out < COUNT_OF(types); out++) {
        check((struct shape){7, 10, 32, 80}, (struct types){.out = types[out]});
        for (size_t add = 0; add < COUNT_OF(types); add++)
            check((struct shape){6, 5, 32, 80}, (struct types){.out = types[out], .has_add = true, .add = types[add]});
    }
}

static void test_slices_keep_their_neighbours(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(METHODS); i++) {
        struct layer l;
        layer_init(&l, (struct shape){9, 7, 32, 48},
                   (struct types){.in = METHODS[i]->in_type, .out = TENSOR_S16, .slices = true});
        int16_t *data = l.out.data, before = data[-1], after = data[48], *last = data + 63 * l.out.stride - 24;
        int16_t end = last[0];
        layer_run(&l, METHODS[i]);
        assert_true(layer_error(&l) <= tolerance(METHODS[i]));
        assert_int_equal(data[-1], before);
        assert_int_equal(data[48], after);
        assert_int_equal(last[0], end);
        layer_fini(&l);
    }
}

static void test_output_in_the_residuals_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(METHODS); i++) {
        struct layer l;
        layer_init(&l, (struct shape){10, 11, 32, 32},
                   (struct types){.in = METHODS[i]->in_type, .out = TENSOR_F32, .has_add = true, .add = TENSOR_F32});
        memcpy(l.out.data, l.add.data, 10 * 11 * 32 * sizeof(float));
        tensor_free(&l.add);
        l.add = l.out;
        layer_run(&l, METHODS[i]);
        l.add.data = NULL;
        assert_true(layer_error(&l) <= tolerance(METHODS[i]));
        layer_fini(&l);
    }
}

/* Every input at the largest value with the sign of the weights: the sums come as near to 2^31 as they can. */
static void test_integers_do_not_overflow(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(METHODS); i++) {
        struct layer l;
        if (METHODS[i]->in_type != TENSOR_S16)
            continue;
        layer_init(&l, (struct shape){8, 8, 512, 16}, (struct types){.in = TENSOR_S16, .out = TENSOR_F32});
        for (size_t pixel = 0; pixel < 64; pixel++)
            for (size_t c = 0; c < 512; c++)
                ((int16_t *)l.in.data)[pixel * 512 + c] =
                    (int16_t)((pixel % 8 + pixel / 8 + c) % 2 ? TENSOR_S16_MAX : -TENSOR_S16_MAX);
        for (size_t j = 0; j < (size_t)16 * 512 * 9; j++)
            l.weights[j] = (j / 9 + j % 9 / 3 + j % 9 % 3) % 2 ? 0.5f : -0.5f;
        plain_convolution(&l);
        layer_run(&l, METHODS[i]);
        double size = 0;
        for (size_t j = 0; j < (size_t)64 * 16; j++)
            size = fmax(size, fabs((double)l.wanted[j]));
        assert_true(layer_error(&l) <= 0.01 * size);
        layer_fini(&l);
    }
}

static void test_other_layers_are_refused(void **state)
{
    struct layer l;
    (void)state;
    layer_init(&l, (struct shape){4, 4, 16, 16}, (struct types){.in = TENSOR_F32, .out = TENSOR_F32});
    assert_false(conv_winograd4_s16.supports(&l.spec));
    l.cfg.stride = 2;
    assert_false(conv_winograd4.supports(&l.spec));
    l.cfg.stride = 1;
    l.cfg.groups = 16;
    assert_false(conv_winograd4.supports(&l.spec));
    l.cfg.groups = 1;
    l.cfg.pad = 0;
    assert_false(conv_winograd2.supports(&l.spec));
    l.cfg.pad = 1;
    l.cfg.size = 5;
    assert_false(conv_winograd2.supports(&l.spec));
    l.cfg.size = 3;
    l.cfg.in.c = 3;
    assert_false(conv_winograd2.supports(&l.spec));
    layer_fini(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_shapes),
        cmocka_unit_test(test_all_types_of_output_and_residual),
        cmocka_unit_test(test_slices_keep_their_neighbours),
        cmocka_unit_test(test_output_in_the_residuals_memory),
        cmocka_unit_test(test_integers_do_not_overflow),
        cmocka_unit_test(test_other_layers_are_refused),
    };
    printf("kernels: %s\n", nn_kernel_isa());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
