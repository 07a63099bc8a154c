/* infer_bench.c - how long the prepared engines of lib/nn take for an answer, ids ready, on one core.
 *
 *     infer_bench [--seconds S] [MODEL.safetensors]       (0.5: how long each line measures)
 *
 * Without a model: every family in its default shape, with random weights. Output is for people and for scripts: the
 * lines that start with "infer" are key=value pairs, one a measurement, "peak" is what the core can do, measured before
 * and after. Times are the thread's CPU time, median of single runs, so that a busy neighbour costs less; texts are
 * random characters, all of a batch equally long, as the peers get them, with 2.5 n-grams a character. */
#include "classifier/classifier.h"
#include "nn/predictor.h"
#include "peak.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BATCH 32
#define MAX_CHARS 200
#define N_BATCHES 64 /* different ones in turn, so that tables do not stay in the cache more than in service */
#define MAX_RUNS  20000

struct texts {
    struct nn_example rows[N_BATCHES * MAX_BATCH];
    uint16_t ids[N_BATCHES * MAX_BATCH][MAX_CHARS];
    uint32_t ngrams[N_BATCHES * MAX_BATCH][MAX_CHARS * 5 / 2];
};

static void texts_fill(struct texts *t, const struct nn_shape *s, uint32_t chars)
{
    struct rng rng;

    rng_init(&rng, chars);
    for (size_t i = 0; i < COUNT_OF(t->rows); i++) {
        uint32_t n_ngrams = s->buckets ? chars * 5 / 2 : 0;

        for (uint32_t k = 0; k < chars; k++)
            t->ids[i][k] = s->vocab ? (uint16_t)(1 + rng_below(&rng, s->vocab - 1)) : 1;
        for (uint32_t k = 0; k < n_ngrams; k++)
            t->ngrams[i][k] = (uint32_t)rng_below(&rng, s->buckets);
        t->rows[i] = (struct nn_example){t->ids[i], chars, t->ngrams[i], n_ngrams, 0};
    }
}

static int by_time(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void measure(const struct nn_predictor *p, const struct nn_shape *s, const char *engine, struct texts *texts,
                    uint32_t batch, uint32_t chars, double seconds)
{
    static int64_t times[MAX_RUNS];
    struct nn_scratch *scratch = nn_scratch_new(s, batch);
    float probs[MAX_BATCH * NN_MAX_CLASSES];
    int64_t begin = clock_thread();
    size_t n = 0;

    for (; n < MAX_RUNS && (n < 16 || (double)(clock_thread() - begin) < seconds * (double)CLOCK_SECOND); n++) {
        const struct nn_example *rows = texts->rows + n % N_BATCHES * MAX_BATCH;
        int64_t start = clock_thread();
        nn_predictor_run(p, scratch, rows, batch, probs, NULL, NULL);
        times[n] = clock_thread() - start;
    }
    qsort(times, n, sizeof *times, by_time);
    int64_t median = times[n / 2], slow = times[n * 99 / 100];
    double ms = (double)median / CLOCK_MS;
    printf("infer family=%s engine=%s batch=%u chars=%u p50_ms=%.5f p99_ms=%.5f texts_per_s=%.0f bytes=%zu\n",
           nn_family_name(s->family), engine, batch, chars, ms, (double)slow / CLOCK_MS, 1e3 * batch / ms,
           nn_predictor_bytes(p));
    fflush(stdout);
    nn_scratch_free(scratch);
}

static void measure_model(const struct nn_shape *s, const float *params, double seconds)
{
    static const uint32_t batches[] = {1, MAX_BATCH}, lengths[] = {25, 50, MAX_CHARS};
    struct texts *texts = xmalloc(sizeof *texts);

    for (int int8 = 0; int8 < 2; int8++) {
        struct nn_predictor *p = NULL;
        int64_t start = clock_thread();
        struct status st = nn_predictor_new(&p, s, params, int8 ? NN_INT8 : NN_FP32);

        if (st.code == ST_UNIMPLEMENTED)
            continue;
        or_die(st);
        printf("made family=%s engine=%s ms=%.2f bytes=%zu\n", nn_family_name(s->family), int8 ? "int8" : "fp32",
               (double)(clock_thread() - start) / CLOCK_MS, nn_predictor_bytes(p));
        for (size_t b = 0; b < COUNT_OF(batches); b++)
            for (size_t l = 0; l < COUNT_OF(lengths) && lengths[l] <= s->max_tokens; l++) {
                texts_fill(texts, s, lengths[l]);
                measure(p, s, int8 ? "int8" : "fp32", texts, batches[b], lengths[l], seconds);
            }
        nn_predictor_free(p);
    }
    free(texts);
}

static void measure_file(const char *path, double seconds)
{
    struct model *m = NULL;
    struct classifier *c = NULL;

    or_die(model_read(&m, path));
    or_die(classifier_from_model(&c, m));
    model_free(m);
    measure_model(&c->shape, c->params, seconds);
    classifier_free(c);
}

static void measure_presets(double seconds)
{
    for (int family = NN_LSTM; family < NN_LSTM + NN_N_FAMILIES; family++) {
        const struct nn_shape *s = nn_shape_preset((enum nn_family)family);

        if (nn_shape_check(s).code)
            continue;
        float *params = xaligned(nn_n_params(s), sizeof *params);
        nn_init(params, s, 1);
        measure_model(s, params, seconds);
        free(params);
    }
}

int main(int argc, char **argv)
{
    double seconds = 0.5;
    int arg = 1;

    nn_setup_blas(argv);
    if (argc > 2 && strcmp(argv[1], "--seconds") == 0) {
        seconds = atof(argv[2]);
        arg = 3;
    }
    printf("cpu isa=%s infer=%s blas=%s\n", nn_kernel_isa(), nn_predictor_isa(), nn_blas_core());
    printf("peak when=before gflops=%.1f\n", peak_sgemm());
    if (arg < argc)
        measure_file(argv[arg], seconds);
    else
        measure_presets(seconds);
    printf("peak when=after gflops=%.1f\n", peak_sgemm());
    return 0;
}
