/* shape.c - what sizes a classifier may have, where its tensors lie, and the starting point of training. */
#include "nn/lstm.h"
#include "text/text.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    struct nn_shape preset;
} families[NN_N_FAMILIES] = {
    {"lstm",
     {.family = NN_LSTM,
      .vocab = TEXT_N_IDS,
      .embed = 64,
      .hidden = 64,
      .buckets = 65536,
      .classes = 2,
      .max_tokens = 200}},
    {"lstm-plain",
     {.family = NN_LSTM_PLAIN, .vocab = TEXT_N_IDS, .embed = 128, .hidden = 128, .classes = 2, .max_tokens = 200}},
    {"textcnn",
     {.family = NN_TEXTCNN, .vocab = TEXT_N_IDS, .embed = 64, .hidden = 100, .classes = 2, .max_tokens = 200}},
    {"linear", {.family = NN_LINEAR, .buckets = 1u << 18, .classes = 2, .max_tokens = 400}},
    {"bag", {.family = NN_BAG, .embed = 16, .buckets = 1u << 16, .classes = 2, .max_tokens = 400}},
};

static bool family_known(enum nn_family family)
{
    return family >= NN_LSTM && family < NN_LSTM + NN_N_FAMILIES;
}

const char *nn_family_name(enum nn_family family)
{
    return family_known(family) ? families[family - NN_LSTM].name : "unknown";
}

struct status nn_family_parse(const char *name, enum nn_family *family)
{
    for (size_t i = 0; i < NN_N_FAMILIES; i++)
        if (!strcmp(families[i].name, name)) {
            *family = (enum nn_family)(NN_LSTM + i);
            return status_ok();
        }
    return status_errorf(ST_INVALID, "architecture \"%.32s\": must be lstm, lstm-plain, textcnn, linear or bag", name);
}

const struct nn_shape *nn_shape_preset(enum nn_family family)
{
    assert(family_known(family));
    return &families[family - NN_LSTM].preset;
}

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

    if (s->family != NN_LSTM)
        return status_errorf(ST_INVALID, "model shape: family %s is not built", nn_family_name(s->family));
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        if (members[i].value < members[i].min || members[i].value > members[i].max)
            return status_errorf(ST_INVALID, "model shape: %s is %u, must be %u to %u", members[i].name,
                                 members[i].value, members[i].min, members[i].max);
    }
    return status_ok();
}

struct layout {
    struct nn_tensor *tensors;
    size_t n, n_floats;
};

static void add(struct layout *l, const char *name, uint32_t rows, uint32_t columns, bool sparse)
{
    size_t n = (size_t)rows * columns;

    l->tensors[l->n++] =
        (struct nn_tensor){.name = name, .dims = {rows, columns}, .sparse = sparse, .offset = l->n_floats, .n = n};
    l->n_floats += n;
}

static struct layout lay_out(const struct nn_shape *s, struct nn_tensor *tensors)
{
    struct layout l = {tensors, 0, 0};
    uint32_t gates = 4 * s->hidden;

    add(&l, "embedding", s->vocab, s->embed, true);
    add(&l, "lstm.fw.wx", s->embed, gates, false);
    add(&l, "lstm.fw.wh", s->hidden, gates, false);
    add(&l, "lstm.fw.b", gates, 1, false);
    add(&l, "lstm.bw.wx", s->embed, gates, false);
    add(&l, "lstm.bw.wh", s->hidden, gates, false);
    add(&l, "lstm.bw.b", gates, 1, false);
    add(&l, "out.w", 2 * s->hidden, s->classes, false);
    add(&l, "out.b", s->classes, 1, false);
    add(&l, "ngram", s->buckets, s->classes, true);
    return l;
}

size_t nn_tensors(const struct nn_shape *s, struct nn_tensor tensors[NN_MAX_TENSORS])
{
    return lay_out(s, tensors).n;
}

size_t nn_n_params(const struct nn_shape *s)
{
    struct nn_tensor tensors[NN_MAX_TENSORS];
    return lay_out(s, tensors).n_floats;
}

const struct nn_tensor *nn_tensor_find(const struct nn_tensor *tensors, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(tensors[i].name, name))
            return &tensors[i];
    return NULL;
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
    struct nn_tensor t[NN_MAX_TENSORS];
    size_t n = lay_out(s, t).n_floats;
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
