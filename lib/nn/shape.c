/* shape.c - where a model's tensors lie, and the starting point of training. */
#include "nn/encoder.h"

#include <math.h>
#include <string.h>

const struct nn_tensor *layout_add(struct layout *l, const char *name, uint32_t rows, uint32_t columns, bool sparse)
{
    struct nn_tensor *t = &l->tensors[l->n++];
    size_t n = (size_t)rows * columns;

    *t = (struct nn_tensor){.name = name, .dims = {rows, columns}, .sparse = sparse, .offset = l->n_floats, .n = n};
    l->n_floats += n;
    return t;
}

static struct layout lay_out(const struct nn_shape *s, struct nn_tensor *tensors)
{
    const struct family *f = family_of(s);
    struct layout l = {tensors, 0, 0};

    if (f->encoder) {
        f->encoder->lay_out(&l, s);
        layout_add(&l, "out.w", (uint32_t)f->encoder->n_features(s), s->classes, false);
    }
    layout_add(&l, "out.b", s->classes, 1, false);
    if (f->ngrams_in_head && s->buckets)
        layout_add(&l, "ngram", s->buckets, s->classes, true);
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

void init_normal(nn_real *w, size_t n, double deviation, struct rng *rng)
{
    for (size_t i = 0; i < n; i++)
        w[i] = (nn_real)(deviation * rng_normal(rng));
}

void init_uniform(nn_real *w, size_t n, double limit, struct rng *rng)
{
    for (size_t i = 0; i < n; i++)
        w[i] = (nn_real)(limit * (2 * rng_uniform(rng) - 1));
}

void init_embedding(nn_real *params, const struct nn_tensor *embedding, struct rng *rng)
{
    size_t width = embedding->dims[1];

    init_normal(params + embedding->offset + width, embedding->n - width, 0.1, rng);
}

void nn_init(nn_real *params, const struct nn_shape *s, uint64_t seed)
{
    const struct encoder *encoder = family_of(s)->encoder;
    struct nn_tensor tensors[NN_MAX_TENSORS];
    struct layout l = lay_out(s, tensors);
    struct rng rng;

    memset(params, 0, l.n_floats * sizeof *params);
    if (!encoder)
        return;
    rng_init(&rng, seed);
    encoder->init(params, s, tensors, &rng);
    const struct nn_tensor *w = nn_tensor_find(tensors, l.n, "out.w");
    init_normal(params + w->offset, w->n, 0.05, &rng);
}
