/* pretrain.h - the embedding of a model, learned from texts without labels before the training: vectors whose mean over
 * the characters around a place foretells the character that stands there (CBOW with negative sampling, Mikolov et al.
 * 2013). For bag the vectors are those of the n-grams around it, as in sent2vec (Pagliardini et al. 2018). */
#ifndef BENCH_STUDY_PRETRAIN_H
#define BENCH_STUDY_PRETRAIN_H

#include "client/data/corpus.h"

struct pretrain {
    uint32_t epochs;
    uint32_t window;    /* characters to either side */
    uint32_t negatives; /* characters drawn against each one that stands there */
    double rate;        /* at the start; falls to 0 */
    uint64_t seed;
};

/* Learns the table `embedding` or `bag` of params, as nn_init() left it, from all texts. In the end it is scaled to the
 * spread that it had. Rows that no text holds stay as they are. Does nothing for linear, which has neither. */
void pretrain_run(float *params, const struct nn_shape *shape, const struct pretrain *p,
                  const struct corpus_part *const *parts, size_t n_parts);

#endif
