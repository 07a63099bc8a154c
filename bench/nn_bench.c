/* nn_bench.c - training and inference speed of the text classifier on one core, beside the same core's BLAS peak.
 *
 *     nn_bench [SECONDS]       (3: how long each line measures)
 *
 * Texts are random; their lengths are like those of ChnSentiCorp: clipped to 200, mean 98; 2.5 n-grams a character.
 * Time is the thread's CPU time, so that a busy neighbour costs less; the peak is measured before and after. */
#include "nn/nn.h"

#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define N_TEXTS   4096
#define MAX_BATCH 64
#define PEAK_SIZE 512

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* GFLOP/s of a square product, the best of several. */
static double blas_peak(void)
{
    size_t n = PEAK_SIZE;
    float *a = xaligned(3 * n * n, sizeof *a), *b = a + n * n, *c = b + n * n;
    double best = 1e9;

    for (size_t i = 0; i < 2 * n * n; i++)
        a[i] = 0.01f * (float)(i % 7);
    for (int run = 0; run < 40; run++) {
        double start = cpu_seconds();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)n, (int)n, 1, a, (int)n, b, (int)n, 0, c,
                    (int)n);
        best = fmin(best, cpu_seconds() - start);
    }
    free(a);
    return 2e-9 * (double)(n * n * n) / best;
}

static struct nn_example random_text(struct rng *rng, const struct nn_shape *s)
{
    double length = 84 * exp(0.8 * rng_normal(rng));
    uint32_t n_ids = length < 3 ? 3 : length > s->max_tokens ? s->max_tokens : (uint32_t)length;
    uint32_t n_ngrams = n_ids * 5 / 2;
    uint16_t *ids = xmalloc(n_ids * sizeof *ids);
    uint32_t *ngrams = xmalloc(n_ngrams * sizeof *ngrams);

    for (uint32_t i = 0; i < n_ids; i++)
        ids[i] = (uint16_t)(1 + rng_below(rng, s->vocab - 1));
    for (uint32_t i = 0; i < n_ngrams; i++)
        ngrams[i] = (uint32_t)rng_below(rng, s->buckets);
    return (struct nn_example){ids, n_ids, ngrams, n_ngrams, (uint32_t)rng_below(rng, s->classes)};
}

static int by_length(const void *a, const void *b)
{
    const struct nn_example *x = a, *y = b;
    return (x->n_ids > y->n_ids) - (x->n_ids < y->n_ids);
}

struct bench {
    const struct nn_shape *shape;
    struct nn_workspace *ws;
    struct nn_example *texts;
    float *params, *grad;
    struct nn_optimizer optimizer;
};

/* Multiplications and additions of the LSTM's products; training costs three times the forward pass. */
static double forward_flop(const struct nn_shape *s, double n_chars)
{
    return n_chars * 2 * 2 * 4.0 * s->hidden * (s->embed + s->hidden);
}

static void train_step(struct bench *b, const struct nn_example *batch, uint32_t n, uint64_t seed)
{
    static const struct nn_objective reg = {NN_CROSS_ENTROPY, 0.1f, 0.4f, 0.5f, 0.3f, 0.1f};
    double loss;

    memset(b->grad, 0, b->optimizer.n * sizeof *b->grad);
    nn_loss(b->ws, b->params, batch, n, &reg, seed, b->grad, &loss, NULL);
    nn_optimizer_step(&b->optimizer, b->params, b->grad, 1e-4);
}

/* One line: batches of n texts for about that many seconds. */
static void measure(struct bench *b, const char *what, bool train, uint32_t n, double seconds, double peak)
{
    float probs[MAX_BATCH * NN_MAX_CLASSES];
    double start = cpu_seconds(), n_samples = 0, n_chars = 0, spent;
    uint64_t step = 0;

    do {
        const struct nn_example *batch = b->texts + step * 7 * n % (N_TEXTS - n);
        if (train)
            train_step(b, batch, n, step);
        else
            nn_predict(b->ws, b->params, batch, n, probs);
        for (uint32_t i = 0; i < n; i++)
            n_chars += batch[i].n_ids;
        n_samples += n;
        step++;
    } while ((spent = cpu_seconds() - start) < seconds);
    double gflops = 1e-9 * forward_flop(b->shape, n_chars) * (train ? 3 : 1) / spent;
    printf("%-8s %-7s %5u %12.0f %10.3f %8.1f %9.0f%%\n", train ? "train" : "predict", what, n, n_samples / spent,
           1e3 * spent / (double)step, gflops, 100 * gflops / peak);
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {1, 22, 32, 64};
    nn_setup_blas(argv);
    double seconds = argc > 1 ? atof(argv[1]) : 3, peak = blas_peak(), mean = 0;
    struct bench b = {.shape = nn_shape_preset(NN_LSTM)};
    struct rng rng;

    rng_init(&rng, 1);
    b.ws = nn_workspace_new(b.shape, MAX_BATCH);
    nn_optimizer_init(&b.optimizer, NN_ADAM, nn_n_params(b.shape));
    b.optimizer.clip_norm = 1;
    b.params = xaligned(b.optimizer.n, sizeof *b.params);
    b.grad = xaligned(b.optimizer.n, sizeof *b.grad);
    nn_init(b.params, b.shape, 1);
    b.texts = xcalloc(N_TEXTS, sizeof *b.texts);
    for (size_t i = 0; i < N_TEXTS; i++) {
        b.texts[i] = random_text(&rng, b.shape);
        mean += (double)b.texts[i].n_ids / N_TEXTS;
    }
    printf("blas %s, %.1f GFLOP/s at %d^3; kernels %s; mean length %.1f\n", nn_blas_core(), peak, PEAK_SIZE,
           nn_kernel_isa(), mean);
    printf("%-8s %-7s %5s %12s %10s %8s %10s\n", "", "lengths", "batch", "samples/s", "ms/batch", "GFLOP/s", "of peak");
    for (int sorted = 0; sorted < 2; sorted++) { /* sorted: what batches cut from sorted pools look like */
        if (sorted)
            qsort(b.texts, N_TEXTS, sizeof *b.texts, by_length);
        for (size_t i = 0; i < COUNT_OF(sizes); i++)
            measure(&b, sorted ? "sorted" : "mixed", true, sizes[i], seconds, peak);
        for (size_t i = 0; i < COUNT_OF(sizes); i++)
            measure(&b, sorted ? "sorted" : "mixed", false, sizes[i], seconds, peak);
    }
    printf("peak after: %.1f GFLOP/s\n", blas_peak());
    for (size_t i = 0; i < N_TEXTS; i++) {
        free((void *)b.texts[i].ids);
        free((void *)b.texts[i].ngrams);
    }
    free(b.texts);
    free(b.params);
    free(b.grad);
    nn_optimizer_fini(&b.optimizer);
    nn_workspace_free(b.ws);
    return 0;
}
