/* model_fixture.h - for the tests: a small model of each family with parameters of all kinds of values, and a batch of
 * texts of all kinds of lengths. Not part of the library. */
#ifndef NN_MODEL_FIXTURE_H
#define NN_MODEL_FIXTURE_H

#include "nn/nn.h"

#include <stdlib.h>

#define FIXTURE_ROWS    7
#define FIXTURE_MAX_IDS 13
#define FIXTURE_CLASSES 3

static const struct nn_shape fixture_shapes[] = {
    {.family = NN_LSTM, .vocab = 12, .embed = 9, .hidden = 19, .buckets = 16, .classes = 3, .max_tokens = 13},
    {.family = NN_LSTM, .vocab = 12, .embed = 9, .hidden = 19, .classes = 3, .max_tokens = 13},
    {.family = NN_LSTM_PLAIN, .vocab = 12, .embed = 9, .hidden = 19, .classes = 3, .max_tokens = 13},
    {.family = NN_LSTM_PLAIN, .vocab = 12, .embed = 5, .hidden = 6, .buckets = 16, .classes = 3, .max_tokens = 13},
    {.family = NN_TEXTCNN, .vocab = 12, .embed = 9, .hidden = 11, .classes = 3, .max_tokens = 13},
    {.family = NN_TEXTCNN, .vocab = 12, .embed = 4, .hidden = 17, .buckets = 16, .classes = 3, .max_tokens = 13},
    {.family = NN_LINEAR, .buckets = 16, .classes = 3, .max_tokens = 13},
    {.family = NN_BAG, .embed = 7, .buckets = 16, .classes = 3, .max_tokens = 13},
};

struct fixture {
    const struct nn_shape *shape;
    nn_real *params;
    double *exact; /* the same values */
    size_t n;
    struct nn_workspace *ws;
    struct nn_example rows[FIXTURE_ROWS];
    uint16_t ids[FIXTURE_ROWS][FIXTURE_MAX_IDS];
    uint32_t ngrams[FIXTURE_ROWS][5];
    nn_real target[FIXTURE_CLASSES];
};

static inline void fixture_rows(struct fixture *f, struct rng *rng)
{
    static const uint32_t lengths[FIXTURE_ROWS] = {4, 13, 1, 7, 4, 12, 2},
                          n_ngrams[FIXTURE_ROWS] = {3, 5, 0, 1, 4, 5, 2};
    uint32_t vocab = f->shape->vocab ? f->shape->vocab : 12;

    for (size_t r = 0; r < FIXTURE_ROWS; r++) {
        for (size_t i = 0; i < lengths[r]; i++)
            f->ids[r][i] = (uint16_t)(1 + rng_below(rng, vocab - 1));
        for (size_t i = 0; i < n_ngrams[r]; i++)
            f->ngrams[r][i] = (uint32_t)(3 * i + rng_below(rng, 3));
        f->rows[r] = (struct nn_example){f->ids[r], lengths[r], f->ngrams[r], n_ngrams[r], (uint32_t)(r % 3)};
    }
    f->target[0] = (nn_real)0.5;
    f->target[1] = (nn_real)0.125;
    f->target[2] = (nn_real)0.375;
    f->rows[1].target = f->target;
}

static inline struct fixture *fixture_new(const struct nn_shape *shape)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    struct rng rng;

    rng_init(&rng, 5);
    f->shape = shape;
    f->n = nn_n_params(shape);
    f->params = xcalloc(f->n, sizeof *f->params);
    f->exact = xcalloc(f->n, sizeof *f->exact);
    f->ws = nn_workspace_new(shape, FIXTURE_ROWS);
    nn_init(f->params, shape, 3);
    for (size_t i = shape->vocab ? shape->embed : 0; i < f->n; i++)
        f->params[i] += (nn_real)(0.3 * rng_normal(&rng));
    for (size_t i = 0; i < f->n; i++)
        f->exact[i] = f->params[i];
    fixture_rows(f, &rng);
    return f;
}

static inline void fixture_free(struct fixture *f)
{
    nn_workspace_free(f->ws);
    free(f->params);
    free(f->exact);
    free(f);
}

#endif
