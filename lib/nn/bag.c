/* bag.c - the encoder of the family bag: the mean over a text's n-grams of their embeddings (Joulin et al. 2016). */
#include "nn/encoder.h"
#include "nn/ngrams.h"

#include <string.h>

struct bag_state {
    size_t width; /* E */
};

static size_t n_features(const struct nn_shape *s)
{
    return s->embed;
}

static void lay_out(struct layout *l, const struct nn_shape *s)
{
    layout_add(l, "bag", s->buckets, s->embed, true);
}

/* fastText's start: uniform +-1/E. */
static void init(nn_real *params, const struct nn_shape *s, const struct nn_tensor *tensors, struct rng *rng)
{
    init_uniform(params, tensors->n, 1.0 / s->embed, rng);
}

static void place(void *memory, const struct nn_shape *s, size_t max_batch, struct block *b)
{
    (void)max_batch;
    (void)b;
    ((struct bag_state *)memory)->width = s->embed;
}

static struct ngrams row_ngrams(const struct pass *p, size_t r)
{
    const struct nn_example *x = &p->batch[p->order[r]];

    return ngrams_of(x, p->order[r], x->n_ngrams ? 1 / (nn_real)x->n_ngrams : 0, p->objective, p->seed);
}

static void forward(void *memory, struct pass *p, bool keep)
{
    size_t E = ((struct bag_state *)memory)->width;

    (void)keep;
    memset(p->features, 0, p->n * E * sizeof *p->features);
    for (size_t r = 0; r < p->n; r++) {
        struct ngrams g = row_ngrams(p, r);
        for (size_t i = 0; i < g.n; i++)
            if (!ngrams_dropped(&g, i))
                p->kernels->add_scaled(p->features + r * E, p->params + g.ids[i] * E, E, g.value);
    }
}

static void backward(void *memory, const struct pass *p, const nn_real *dfeatures, nn_real *grad)
{
    size_t E = ((struct bag_state *)memory)->width;

    for (size_t r = 0; r < p->n; r++) {
        struct ngrams g = row_ngrams(p, r);
        for (size_t i = 0; i < g.n; i++)
            if (!ngrams_dropped(&g, i))
                p->kernels->add_scaled(grad + g.ids[i] * E, dfeatures + r * E, E, g.value);
    }
}

const struct encoder encoder_bag = {
    .n_features = n_features,
    .lay_out = lay_out,
    .init = init,
    .state_size = sizeof(struct bag_state),
    .place = place,
    .forward = forward,
    .backward = backward,
};
