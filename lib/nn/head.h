/* head.h - the part that is the same for all families: from a row's features and n-grams to its logits, its loss, and
 * back. Private to lib/nn. */
#ifndef NN_HEAD_H
#define NN_HEAD_H

#include "nn/ngrams.h"

struct head {
    size_t n_features, n_classes; /* F, C */
    size_t w, b, ngram;           /* where out.w (F,C), out.b (C,) and ngram (G,C) begin in the block */
    bool has_ngrams;
};

struct head head_of(const struct nn_shape *s);

/* A row's n-grams as the linear part takes them; none where the head has no table. */
struct ngrams head_ngrams(const struct head *h, const struct nn_example *x, size_t row,
                          const struct nn_objective *objective, uint64_t seed);

/* logits (C,) = out.b + features out.w + value * sum of the n-grams' rows. */
void head_logits(const struct head *h, const nn_real *params, const nn_real *features, const struct ngrams *g,
                 nn_real *logits);

/* From dlogits (C,): adds to the head's tensors in grad, and dfeatures (F,). */
void head_back(const struct head *h, const nn_real *params, const nn_real *features, const struct ngrams *g,
               const nn_real *dlogits, nn_real *dfeatures, nn_real *grad);

/* Loss of one of n rows; z (C,), logits, becomes the gradient of loss / n. */
double head_loss(nn_real *z, size_t C, const struct nn_example *x, const struct nn_objective *objective, size_t n);

/* Whether the label's logit is the largest; of equal ones the first counts. */
bool head_correct(const nn_real *z, size_t C, uint32_t label);

/* z (C,) becomes its softmax; returns the logarithm of the sum of exponentials. */
double head_softmax(nn_real *z, size_t C);

#endif
