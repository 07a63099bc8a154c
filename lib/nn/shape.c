/* shape.c - what sizes a classifier may have, where its tensors lie, and the starting point of training. */
#include "nn/nn.h"
#include "text/text.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct nn_shape nn_shape_default = {
    .vocab = TEXT_N_IDS, .embed = 64, .hidden = 64, .buckets = 65536, .classes = 2, .max_tokens = 200};

struct status nn_shape_check(const struct nn_shape *s)
{
    const struct {
        const char *name;
        uint32_t value, min, max;
    } members[] = {
        {"vocab", s->vocab, 2, NN_MAX_VOCAB},       {"embed", s->embed, 1, NN_MAX_UNITS},
        {"hidden", s->hidden, 1, NN_MAX_UNITS},     {"buckets", s->buckets, 2, NN_MAX_BUCKETS},
        {"classes", s->classes, 2, NN_MAX_CLASSES}, {"max_tokens", s->max_tokens, 1, NN_MAX_TOKENS},
    };

    for (size_t i = 0; i < COUNT_OF(members); i++) {
        if (members[i].value < members[i].min || members[i].value > members[i].max)
            return status_errorf(ST_INVALID, "model shape: %s is %u, must be %u to %u", members[i].name,
                                 members[i].value, members[i].min, members[i].max);
    }
    return status_ok();
}

size_t nn_tensors(const struct nn_shape *s, struct nn_tensor *tensors)
{
    uint32_t gates = 4 * s->hidden;
    const struct nn_tensor rows[NN_N_TENSORS] = {
        {.name = "embedding", .dims = {s->vocab, s->embed}}, {.name = "lstm.fw.wx", .dims = {s->embed, gates}},
        {.name = "lstm.fw.wh", .dims = {s->hidden, gates}},  {.name = "lstm.fw.b", .dims = {gates, 1}},
        {.name = "lstm.bw.wx", .dims = {s->embed, gates}},   {.name = "lstm.bw.wh", .dims = {s->hidden, gates}},
        {.name = "lstm.bw.b", .dims = {gates, 1}},           {.name = "out.w", .dims = {2 * s->hidden, s->classes}},
        {.name = "out.b", .dims = {s->classes, 1}},          {.name = "ngram", .dims = {s->buckets, s->classes}},
    };
    size_t offset = 0;

    for (size_t i = 0; i < NN_N_TENSORS; i++) {
        tensors[i] = rows[i];
        tensors[i].offset = offset;
        tensors[i].n = (size_t)rows[i].dims[0] * rows[i].dims[1];
        offset += tensors[i].n;
    }
    return offset;
}

size_t nn_n_params(const struct nn_shape *s)
{
    struct nn_tensor tensors[NN_N_TENSORS];
    return nn_tensors(s, tensors);
}

static void init_normal(nn_real *w, size_t n, double deviation, struct rng *rng)
{
    for (size_t i = 0; i < n; i++)
        w[i] = (nn_real)(deviation * rng_normal(rng));
}

static void init_uniform(nn_real *w, size_t n, double limit, struct rng *rng)
{
    for (size_t i = 0; i < n; i++)
        w[i] = (nn_real)(limit * (2 * rng_uniform(rng) - 1));
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* rows (n,n) becomes orthogonal: Gram and Schmidt, twice, which is exact to rounding ("twice is enough", Kahan). */
static void orthogonalise(double *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double *row = rows + i * n;
        for (size_t j = 0; j < 2 * i; j++) {
            const double *done = rows + j % i * n;
            double overlap = dot(row, done, n);
            for (size_t k = 0; k < n; k++)
                row[k] -= overlap * done[k];
        }
        double scale = 1 / sqrt(dot(row, row, n));
        for (size_t k = 0; k < n; k++)
            row[k] *= scale;
    }
}

/* wh (H,4H): a random rotation for each gate. */
static void init_recurrent(nn_real *wh, size_t hidden, struct rng *rng)
{
    double *block = xmalloc(hidden * hidden * sizeof *block);

    for (size_t gate = 0; gate < 4; gate++) {
        for (size_t i = 0; i < hidden * hidden; i++)
            block[i] = rng_normal(rng);
        orthogonalise(block, hidden);
        for (size_t row = 0; row < hidden; row++)
            for (size_t col = 0; col < hidden; col++)
                wh[(row * 4 + gate) * hidden + col] = (nn_real)block[row * hidden + col];
    }
    free(block);
}

void nn_init(nn_real *params, const struct nn_shape *s, uint64_t seed)
{
    struct nn_tensor t[NN_N_TENSORS];
    size_t n = nn_tensors(s, t);
    struct rng rng;

    rng_init(&rng, seed);
    memset(params, 0, n * sizeof *params);
    init_normal(params + t[NN_EMBEDDING].offset + s->embed, t[NN_EMBEDDING].n - s->embed, 0.1, &rng);
    for (size_t direction = NN_FW_WX; direction <= NN_BW_WX; direction += NN_BW_WX - NN_FW_WX) {
        const struct nn_tensor *wx = t + direction, *wh = wx + 1, *b = wx + 2;
        init_uniform(params + wx->offset, wx->n, sqrt(6.0 / (s->embed + s->hidden)), &rng);
        init_recurrent(params + wh->offset, s->hidden, &rng);
        for (size_t j = 0; j < s->hidden; j++)
            params[b->offset + s->hidden + j] = 1; /* the forget gate starts open */
    }
    init_normal(params + t[NN_OUT_W].offset, t[NN_OUT_W].n, 0.05, &rng);
}
