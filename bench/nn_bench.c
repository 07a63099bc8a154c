/* nn_bench.c - training and inference speed of every family of text models on one core, beside the core's BLAS peak.
 *
 *     nn_bench [SECONDS [FAMILY]]       (2: how long each line measures; all families)
 *
 * Texts are random with the lengths of ChnSentiCorp (mean 98 characters when clipped to 200) and characters as frequent
 * as in real text (the k-th in proportion to 1/k), hashed into n-grams as real ones are; sorted by length, as batches
 * are cut from sorted pools. Training is nn_trainer_step() with the recipe's dropout, n-grams ready. Time is the
 * thread's CPU time, so that a busy neighbour costs less; the peak is measured before and after. */
#include "nn/nn.h"
#include "nn/trainer.h"
#include "peak.h"
#include "text/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_TEXTS   4096
#define MAX_BATCH 64

static struct nn_example random_text(struct rng *rng, const struct nn_shape *s)
{
    double length = 84 * exp(0.8 * rng_normal(rng)), n_characters = s->vocab ? s->vocab - 1 : TEXT_N_IDS - 1;
    uint32_t n_ids = length < 3 ? 3 : length > s->max_tokens ? s->max_tokens : (uint32_t)length;
    uint16_t *ids = xcalloc(n_ids, sizeof *ids);
    uint32_t *points = xcalloc(n_ids, sizeof *points), *ngrams = xcalloc(3 * (size_t)n_ids, sizeof *ngrams);

    for (uint32_t i = 0; i < n_ids; i++)
        points[i] = ids[i] = (uint16_t)pow(n_characters, rng_uniform(rng));
    uint32_t n_ngrams = (uint32_t)text_ngrams(points, n_ids, s->buckets, ngrams);
    free(points);
    return (struct nn_example){ids, n_ids, ngrams, n_ngrams, (uint32_t)rng_below(rng, s->classes)};
}

static int by_length(const void *a, const void *b)
{
    const struct nn_example *x = a, *y = b;
    return (x->n_ids > y->n_ids) - (x->n_ids < y->n_ids);
}

struct bench {
    const struct nn_shape *shape;
    struct nn_example *texts;
    struct nn_workspace *ws;
    struct nn_trainer *trainer;
    double seconds, peak;
};

/* Multiplications and additions of the products of a forward pass. */
static double forward_flop(const struct nn_shape *s, double n_chars)
{
    double lstm = n_chars * 2 * 4.0 * s->hidden * (s->embed + s->hidden);

    switch (s->family) {
    case NN_LSTM:
        return 2 * lstm;
    case NN_LSTM_PLAIN:
        return lstm;
    case NN_TEXTCNN:
        return n_chars * 2 * (2 + 3 + 4) * s->embed * s->hidden;
    default:
        return 0;
    }
}

/* The way back costs an LSTM two products more for each; a TextCNN next to nothing. */
static double flop(const struct nn_shape *s, double n_chars, bool train)
{
    return forward_flop(s, n_chars) * (train && s->family != NN_TEXTCNN ? 3 : 1);
}

static void print_line(const struct bench *b, bool train, uint32_t n, double n_batches, double n_chars, double spent)
{
    double gflops = 1e-9 * flop(b->shape, n_chars, train) / spent;

    printf("%-10s %-8s %5u %11.0f %11.0f %9.3f", nn_family_name(b->shape->family), train ? "train" : "predict", n,
           n_batches * n / spent, n_chars / spent, 1e3 * spent / n_batches);
    if (gflops > 0)
        printf(" %8.1f %7.0f%%\n", gflops, 100 * gflops / b->peak);
    else
        printf(" %8s %8s\n", "-", "-");
    fflush(stdout);
}

/* Batches of n texts for about b->seconds. */
static void measure(const struct bench *b, bool train, uint32_t n)
{
    float probs[MAX_BATCH * NN_MAX_CLASSES];
    double n_chars = 0, spent, loss;
    int64_t start = clock_thread();
    uint64_t step = 0;

    do {
        const struct nn_example *batch = b->texts + step * 7 * n % (N_TEXTS - n);
        if (train)
            nn_trainer_step(b->trainer, batch, n, 1e-4, step, &loss, NULL);
        else
            nn_predict(b->ws, nn_trainer_params(b->trainer), batch, n, probs);
        for (uint32_t i = 0; i < n; i++)
            n_chars += batch[i].n_ids;
        step++;
    } while ((spent = clock_thread_seconds(start)) < b->seconds);
    print_line(b, train, n, (double)step, n_chars, spent);
}

static void bench_family(enum nn_family family, double seconds, double peak)
{
    static const struct nn_objective objective = {NN_CROSS_ENTROPY, 0.1f, 0.4f, 0.5f, 0.3f, 0.1f};
    static const uint32_t train_sizes[] = {32, 64}, predict_sizes[] = {1, 32, 64};
    struct bench b = {.shape = nn_shape_preset(family), .seconds = seconds, .peak = peak};
    float *params = xaligned(nn_n_params(b.shape), sizeof *params);
    struct rng rng;

    rng_init(&rng, 1);
    b.texts = xcalloc(N_TEXTS, sizeof *b.texts);
    for (size_t i = 0; i < N_TEXTS; i++)
        b.texts[i] = random_text(&rng, b.shape);
    qsort(b.texts, N_TEXTS, sizeof *b.texts, by_length);
    b.ws = nn_workspace_new(b.shape, MAX_BATCH);
    b.trainer = nn_trainer_new(b.shape, &objective, MAX_BATCH);
    nn_init(params, b.shape, 1);
    nn_trainer_start(b.trainer, params);
    for (size_t i = 0; i < COUNT_OF(train_sizes); i++)
        measure(&b, true, train_sizes[i]);
    for (size_t i = 0; i < COUNT_OF(predict_sizes); i++)
        measure(&b, false, predict_sizes[i]);
    for (size_t i = 0; i < N_TEXTS; i++) {
        free((void *)b.texts[i].ids);
        free((void *)b.texts[i].ngrams);
    }
    free(b.texts);
    free(params);
    nn_trainer_free(b.trainer);
    nn_workspace_free(b.ws);
}

int main(int argc, char **argv)
{
    enum nn_family only = 0;

    nn_setup_blas(argv);
    double seconds = argc > 1 ? atof(argv[1]) : 2, peak = peak_sgemm();
    struct status st = argc > 2 ? nn_family_parse(argv[2], &only) : status_ok();

    if (st.code || seconds <= 0) {
        fprintf(stderr, "%s\nusage: nn_bench [SECONDS [FAMILY]]\n", st.msg);
        return 2;
    }
    printf("blas %s, %.1f GFLOP/s at %d^3; kernels %s\n", nn_blas_core(), peak, PEAK_SGEMM, nn_kernel_isa());
    printf("%-10s %-8s %5s %11s %11s %9s %8s %8s\n", "family", "", "batch", "samples/s", "tokens/s", "ms/batch",
           "GFLOP/s", "of peak");
    for (enum nn_family family = NN_LSTM; family < NN_LSTM + NN_N_FAMILIES; family++)
        if (!only || family == only)
            bench_family(family, seconds, peak);
    printf("peak after: %.1f GFLOP/s\n", peak_sgemm());
    return 0;
}
