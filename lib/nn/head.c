/* head.c - see head.h. */
#include "nn/head.h"
#include "nn/encoder.h"

#include <math.h>
#include <string.h>

#define NGRAM_SCALE 5 /* a text's n-gram features are 5 / sqrt(their number) each */

struct head head_of(const struct nn_shape *s)
{
    struct nn_tensor tensors[NN_MAX_TENSORS];
    size_t n = nn_tensors(s, tensors);
    const struct nn_tensor *w = nn_tensor_find(tensors, n, "out.w"), *ngram = nn_tensor_find(tensors, n, "ngram");

    return (struct head){.n_features = w ? w->dims[0] : 0,
                         .n_classes = s->classes,
                         .w = w ? w->offset : 0,
                         .b = nn_tensor_find(tensors, n, "out.b")->offset,
                         .ngram = ngram ? ngram->offset : 0,
                         .has_ngrams = ngram != NULL};
}

struct ngrams head_ngrams(const struct head *h, const struct nn_example *x, size_t row,
                          const struct nn_objective *objective, uint64_t seed)
{
    if (!h->has_ngrams || !x->n_ngrams)
        return (struct ngrams){0};
    return ngrams_of(x, row, NGRAM_SCALE / (nn_real)sqrt(x->n_ngrams), objective, seed);
}

void head_logits(const struct head *h, const nn_real *params, const nn_real *features, const struct ngrams *g,
                 nn_real *logits)
{
    const nn_real *w = params + h->w, *b = params + h->b, *table = params + h->ngram;
    nn_real sums[NN_MAX_CLASSES] = {0};
    size_t C = h->n_classes;

    for (size_t i = 0; i < g->n; i++) {
        if (ngrams_dropped(g, i))
            continue;
        for (size_t k = 0; k < C; k++)
            sums[k] += table[g->ids[i] * C + k];
    }
    for (size_t k = 0; k < C; k++)
        logits[k] = b[k] + g->value * sums[k];
    for (size_t j = 0; j < h->n_features; j++) {
        for (size_t k = 0; k < C; k++)
            logits[k] += features[j] * w[j * C + k];
    }
}

void head_back(const struct head *h, const nn_real *params, const nn_real *features, const struct ngrams *g,
               const nn_real *dlogits, nn_real *dfeatures, nn_real *grad)
{
    const nn_real *w = params + h->w;
    nn_real *dw = grad + h->w, *db = grad + h->b, *dtable = grad + h->ngram;
    size_t C = h->n_classes;

    for (size_t k = 0; k < C; k++)
        db[k] += dlogits[k];
    for (size_t j = 0; j < h->n_features; j++) {
        dfeatures[j] = 0;
        for (size_t k = 0; k < C; k++) {
            dfeatures[j] += dlogits[k] * w[j * C + k];
            dw[j * C + k] += dlogits[k] * features[j];
        }
    }
    for (size_t i = 0; i < g->n; i++) {
        if (ngrams_dropped(g, i))
            continue;
        for (size_t k = 0; k < C; k++)
            dtable[g->ids[i] * C + k] += g->value * dlogits[k];
    }
}

double head_softmax(nn_real *z, size_t C)
{
    nn_real top = z[0];
    double sum = 0;

    for (size_t k = 1; k < C; k++)
        top = z[k] > top ? z[k] : top;
    for (size_t k = 0; k < C; k++)
        sum += exp((double)(z[k] - top));
    for (size_t k = 0; k < C; k++)
        z[k] = (nn_real)(exp((double)(z[k] - top)) / sum);
    return top + log(sum);
}

bool head_correct(const nn_real *z, size_t C, uint32_t label)
{
    for (size_t k = 0; k < C; k++) {
        if (k < label ? z[k] >= z[label] : z[k] > z[label])
            return false;
    }
    return true;
}

/* Against (1 - s) target + s / C, target being one-hot or the example's own. */
static double cross_entropy(nn_real *z, size_t C, const struct nn_example *x, double smoothing, size_t n)
{
    nn_real logits[NN_MAX_CLASSES];
    double loss = 0;

    memcpy(logits, z, C * sizeof *z);
    double log_sum = head_softmax(z, C);
    for (size_t k = 0; k < C; k++) {
        double wanted = x->target ? (1 - smoothing) * (double)x->target[k] : k == x->label ? 1 - smoothing : 0;
        double target = smoothing / (double)C + wanted;
        loss += target * (log_sum - (double)logits[k]);
        z[k] = (nn_real)(((double)z[k] - target) / (double)n);
    }
    return loss;
}

/* max(0, 1 - z_label + max of the other z)^2 */
static double squared_hinge(nn_real *z, size_t C, uint32_t label, size_t n)
{
    size_t rival = label == 0;

    for (size_t k = 0; k < C; k++)
        rival = k != label && z[k] > z[rival] ? k : rival;
    double miss = fmax(0, 1 - (double)z[label] + (double)z[rival]), slope = 2 * miss / (double)n;
    memset(z, 0, C * sizeof *z);
    z[label] = (nn_real)-slope;
    z[rival] = (nn_real)slope;
    return miss * miss;
}

double head_loss(nn_real *z, size_t C, const struct nn_example *x, const struct nn_objective *objective, size_t n)
{
    if (objective->loss == NN_HINGE)
        return squared_hinge(z, C, x->label, n);
    return cross_entropy(z, C, x, objective->label_smoothing, n);
}
