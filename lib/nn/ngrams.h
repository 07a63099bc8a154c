/* ngrams.h - a text's hashed n-grams as features of equal value, some of them dropped. Private to lib/nn. */
#ifndef NN_NGRAMS_H
#define NN_NGRAMS_H

#include "nn/dropout.h"
#include "nn/nn.h"

struct ngrams {
    const uint32_t *ids;
    size_t n;
    nn_real value; /* of those that stay */
    uint64_t seed;
    size_t row;
    uint32_t drop;
};

/* row: of the caller's batch. value: of each feature without dropout. */
static inline struct ngrams ngrams_of(const struct nn_example *x, size_t row, nn_real value,
                                      const struct nn_objective *objective, uint64_t seed)
{
    return (struct ngrams){.ids = x->ngrams,
                           .n = x->n_ngrams,
                           .value = value / (1 - (nn_real)objective->ngram_dropout),
                           .seed = seed,
                           .row = row,
                           .drop = dropout_limit(objective->ngram_dropout)};
}

static inline bool ngrams_dropped(const struct ngrams *g, size_t i)
{
    return g->drop && dropout_key(g->seed, DROPOUT_NGRAM, g->row, i) < g->drop;
}

#endif
