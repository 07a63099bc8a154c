/* conv_bench.c - every method of convolution that reads floats, BF16 or 16-bit integers on the 3 x 3 layers of yolov3-tiny at
 * 416: time of a run, bytes of weights and of scratch, and the error against the first method, in floats, relative to
 * the outputs' root mean square. The methods take turns, so that what else the machine does hits all of them.
 *
 *   conv_bench [ROUNDS] */
#include "executor/conv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_METHODS 16

static const struct cfg_shape LAYERS[][2] = {
    {{16, 208, 208}, {32, 208, 208}}, {{32, 104, 104}, {64, 104, 104}}, {{64, 52, 52}, {128, 52, 52}},
    {{128, 26, 26}, {256, 26, 26}},   {{256, 13, 13}, {512, 13, 13}},   {{512, 13, 13}, {1024, 13, 13}},
    {{384, 26, 26}, {256, 26, 26}},
};

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
        else if (type == TENSOR_BF16)
            ((uint16_t *)t.data)[i] = tensor_bf16(l->in[i]);
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

/* A method that is prepared for a layer. */
struct prepared {
    struct conv *conv;
    struct tensor in, out;
    void *scratch;
    double prepare_seconds, run_seconds;
};

static void prepare(struct prepared *p, const struct layer *l, const struct conv_method *method,
                    const struct conv_spec *spec)
{
    int64_t start = clock_thread();

    *p = (struct prepared){.in = spec->in, .out = spec->out, .run_seconds = INFINITY};
    p->conv = method->prepare(spec);
    p->prepare_seconds = clock_thread_seconds(start);
    p->out.data = xaligned(l->n_out, sizeof(float));
    p->scratch = xaligned(method->scratch_size(p->conv) + 1, 1);
}

static size_t prepare_all(struct prepared *all, const struct layer *l, const struct tensor *inputs, size_t n_inputs)
{
    struct network_layer params = {l->weights, l->bias};
    size_t n = 0;

    for (size_t i = 0; i < n_inputs; i++) {
        struct conv_spec spec = {.layer = &l->cfg, .params = &params, .slope = 0.1f, .in = inputs[i]};
        spec.out = (struct tensor){.h = l->cfg.out.h, .w = l->cfg.out.w, .c = l->cfg.out.c, .stride = l->cfg.out.c};
        for (const struct conv_method *const *m = conv_methods; m[1] && n < MAX_METHODS; m++)
            if ((*m)->in_type == inputs[i].type && (*m)->supports(&spec))
                prepare(&all[n++], l, *m, &spec);
    }
    return n;
}

static void run(struct prepared *p)
{
    struct conv_io io = {&p->in, NULL, &p->out, p->scratch};
    int64_t start = clock_thread();

    p->conv->method->run(p->conv, &io);
    p->run_seconds = fmin(p->run_seconds, clock_thread_seconds(start));
}

static void print(const struct prepared *p, const struct layer *l)
{
    const struct conv_method *method = p->conv->method;
    double flops = 18.0 * (double)l->cfg.in.c * (double)l->n_out;

    printf("%4zu ->%5zu @%4zu  %-14s %7.3f ms %5.0f GFLOP/s of the plain sum  weights %5.1f MB  scratch %5.1f MB  "
           "prepared in %3.0f ms",
           l->cfg.in.c, l->cfg.out.c, l->cfg.in.h, method->name, p->run_seconds * 1e3, flops / p->run_seconds * 1e-9,
           (double)p->conv->weights_size * 1e-6, (double)method->scratch_size(p->conv) * 1e-6,
           p->prepare_seconds * 1e3);
    error_print(l, p->out.data);
}

static void measure(struct layer *l, int n_rounds)
{
    struct tensor inputs[] = {input_as(l, TENSOR_F32), input_as(l, TENSOR_BF16), input_as(l, TENSOR_S16)};
    struct prepared all[MAX_METHODS];
    size_t n = prepare_all(all, l, inputs, COUNT_OF(inputs));

    if (n == 0)
        return;
    for (int round = 0; round < n_rounds; round++)
        for (size_t i = 0; i < n; i++)
            run(&all[i]);
    memcpy(l->wanted, all[0].out.data, l->n_out * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        print(&all[i], l);
        all[i].conv->method->destroy(all[i].conv);
        free(all[i].out.data);
        free(all[i].scratch);
    }
    for (size_t i = 0; i < COUNT_OF(inputs); i++)
        free(inputs[i].data);
}

int main(int argc, char **argv)
{
    int n_rounds = argc > 1 ? atoi(argv[1]) : 20;
    struct rng rng;

    rng_init(&rng, 1);
    for (size_t i = 0; i < COUNT_OF(LAYERS); i++) {
        struct layer l;
        layer_init(&l, LAYERS[i], &rng);
        measure(&l, n_rounds);
        layer_fini(&l);
    }
    return 0;
}
