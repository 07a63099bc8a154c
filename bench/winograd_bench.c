/* winograd_bench.c - the Winograd methods on the 3 x 3 layers of yolov3-tiny at 416: time of a run, bytes of weights and
 * of scratch, and the error against the plain floats of winograd2, relative to the outputs' root mean square.
 *
 *   winograd_bench [ROUNDS] */
#include "executor/winograd.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct cfg_shape LAYERS[][2] = {
    {{16, 208, 208}, {32, 208, 208}}, {{32, 104, 104}, {64, 104, 104}}, {{64, 52, 52}, {128, 52, 52}},
    {{128, 26, 26}, {256, 26, 26}},   {{256, 13, 13}, {512, 13, 13}},   {{512, 13, 13}, {1024, 13, 13}},
    {{384, 26, 26}, {256, 26, 26}},
};
static const struct conv_method *const METHODS[] = {&conv_winograd2, &conv_winograd4, &conv_winograd2_s16,
                                                    &conv_winograd4_s16};

/* CPU time: the machine may be busy with other things. */
static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct layer {
    struct cfg_layer cfg;
    float *weights, *bias, *in, *wanted;
    size_t n_in, n_out;
};

/* Inputs like those behind a leaky rectifier: mostly small, some large. */
static void layer_init(struct layer *l, const struct cfg_shape *shapes, struct rng *rng)
{
    size_t n = shapes[0].c * shapes[1].c * 9;

    *l = (struct layer){.n_in = cfg_shape_size(shapes[0]), .n_out = cfg_shape_size(shapes[1])};
    l->cfg = (struct cfg_layer){.size = 3, .stride = 1, .pad = 1, .groups = 1, .in = shapes[0], .out = shapes[1]};
    l->weights = xaligned(n, sizeof *l->weights);
    l->bias = xaligned(shapes[1].c, sizeof *l->bias);
    l->in = xaligned(l->n_in, sizeof *l->in);
    l->wanted = xaligned(l->n_out, sizeof *l->wanted);
    for (size_t i = 0; i < n; i++)
        l->weights[i] = (float)(rng_normal(rng) / sqrt(9.0 * (double)shapes[0].c));
    for (size_t i = 0; i < l->n_in; i++) {
        double v = rng_normal(rng);
        l->in[i] = (float)fmin(8, v > 0 ? v * v : 0.1 * v);
    }
}

static void layer_fini(struct layer *l)
{
    free(l->weights);
    free(l->bias);
    free(l->in);
    free(l->wanted);
}

static struct tensor input_as(const struct layer *l, enum tensor_type type)
{
    struct tensor t = {.h = l->cfg.in.h, .w = l->cfg.in.w, .c = l->cfg.in.c, .stride = l->cfg.in.c, .type = type};

    t.scale = 8.0f / TENSOR_S16_MAX;
    t.data = xaligned(l->n_in, tensor_type_size(type));
    for (size_t i = 0; i < l->n_in; i++)
        if (type == TENSOR_S16)
            ((int16_t *)t.data)[i] = (int16_t)lrintf(l->in[i] / t.scale);
        else
            ((float *)t.data)[i] = l->in[i];
    return t;
}

/* Root mean square and largest difference from wanted, over its root mean square. */
static void error_print(const struct layer *l, const float *out)
{
    double square = 0, error = 0, largest = 0;

    for (size_t i = 0; i < l->n_out; i++) {
        double difference = (double)out[i] - (double)l->wanted[i];
        square += (double)l->wanted[i] * (double)l->wanted[i];
        error += difference * difference;
        largest = fmax(largest, fabs(difference));
    }
    printf("  error %.1e largest %.1e\n", sqrt(error / square), largest / sqrt(square / (double)l->n_out));
}

static void measure(struct layer *l, const struct conv_method *method, int n_rounds)
{
    struct network_layer params = {l->weights, l->bias};
    struct tensor in = input_as(l, method->in_type), out = in;
    struct conv_spec spec = {.layer = &l->cfg, .params = &params, .slope = 0.1f};
    double best = INFINITY, flops = 18.0 * (double)l->cfg.in.c * (double)l->n_out;

    out.c = out.stride = l->cfg.out.c;
    out.type = TENSOR_F32;
    out.data = xaligned(l->n_out, sizeof(float));
    spec.in = in;
    spec.out = out;
    double start = seconds();
    struct conv *c = method->prepare(&spec);
    double prepared = seconds() - start;
    size_t scratch_size = method->scratch_size(c);
    struct conv_io io = {&in, NULL, &out, xaligned(scratch_size, 1)};
    for (int i = 0; i < n_rounds; i++) {
        start = seconds();
        method->run(c, &io);
        best = fmin(best, seconds() - start);
    }
    if (method == METHODS[0])
        memcpy(l->wanted, out.data, l->n_out * sizeof(float));
    printf("%4zu ->%5zu @%4zu  %-14s %7.3f ms %6.0f GFLOP/s nominal  weights %5.1f MB  scratch %5.1f MB  prepared in "
           "%3.0f ms",
           l->cfg.in.c, l->cfg.out.c, l->cfg.in.h, method->name, best * 1e3, flops / best * 1e-9,
           (double)c->weights_size * 1e-6, (double)scratch_size * 1e-6, prepared * 1e3);
    error_print(l, out.data);
    free(io.scratch);
    free(in.data);
    free(out.data);
    method->destroy(c);
}

int main(int argc, char **argv)
{
    int n_rounds = argc > 1 ? atoi(argv[1]) : 20;
    struct rng rng;

    rng_init(&rng, 1);
    for (size_t i = 0; i < COUNT_OF(LAYERS); i++) {
        struct layer l;
        layer_init(&l, LAYERS[i], &rng);
        for (size_t m = 0; m < COUNT_OF(METHODS); m++)
            measure(&l, METHODS[m], n_rounds);
        layer_fini(&l);
    }
    return 0;
}
