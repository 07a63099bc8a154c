/* plain_model.c - see plain_model.h. */
#include "nn/plain_model.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_UNITS = 32, MAX_FEATURES = 3 * MAX_UNITS };

static const double *tensor(const struct nn_shape *s, const double *p, const char *name)
{
    struct nn_tensor t[NN_MAX_TENSORS];
    const struct nn_tensor *found = nn_tensor_find(t, nn_tensors(s, t), name);

    return found ? p + found->offset : NULL;
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* result (H,): the maximum over time of one direction, or its last state. */
static void lstm(const struct nn_shape *s, const double *p, const char *direction, bool last,
                 const struct nn_example *x, double *result)
{
    char wx_name[32], wh_name[32], b_name[32];
    double h[MAX_UNITS] = {0}, c[MAX_UNITS] = {0}, a[4 * MAX_UNITS];
    size_t E = s->embed, H = s->hidden;
    bool reverse = !strcmp(direction, "bw");

    snprintf(wx_name, sizeof wx_name, "lstm.%s.wx", direction);
    snprintf(wh_name, sizeof wh_name, "lstm.%s.wh", direction);
    snprintf(b_name, sizeof b_name, "lstm.%s.b", direction);
    const double *wx = tensor(s, p, wx_name), *wh = tensor(s, p, wh_name), *b = tensor(s, p, b_name);
    const double *table = tensor(s, p, "embedding");
    for (size_t j = 0; j < H; j++)
        result[j] = -INFINITY;
    for (size_t step = 0; step < x->n_ids; step++) {
        const double *v = table + x->ids[reverse ? x->n_ids - 1 - step : step] * E;
        for (size_t k = 0; k < 4 * H; k++) {
            a[k] = b[k];
            for (size_t i = 0; i < E; i++)
                a[k] += v[i] * wx[i * 4 * H + k];
            for (size_t i = 0; i < H; i++)
                a[k] += h[i] * wh[i * 4 * H + k];
        }
        for (size_t j = 0; j < H; j++) {
            c[j] = sigmoid(a[H + j]) * c[j] + sigmoid(a[j]) * tanh(a[2 * H + j]);
            h[j] = sigmoid(a[3 * H + j]) * tanh(c[j]);
            result[j] = last ? h[j] : fmax(result[j], h[j]);
        }
    }
}

/* features (H,): of one width. */
static void convolution(const struct nn_shape *s, const double *p, size_t width, const struct nn_example *x,
                        double *features)
{
    char w_name[16], b_name[16];
    size_t E = s->embed, H = s->hidden, n_steps = x->n_ids < width ? 1 : x->n_ids - width + 1;

    snprintf(w_name, sizeof w_name, "conv%zu.w", width);
    snprintf(b_name, sizeof b_name, "conv%zu.b", width);
    const double *w = tensor(s, p, w_name), *b = tensor(s, p, b_name), *table = tensor(s, p, "embedding");
    for (size_t j = 0; j < H; j++) {
        features[j] = 0; /* ReLU */
        for (size_t t = 0; t < n_steps; t++) {
            double z = b[j];
            for (size_t k = 0; k < width && t + k < x->n_ids; k++)
                for (size_t i = 0; i < E; i++)
                    z += table[x->ids[t + k] * E + i] * w[(k * E + i) * H + j];
            features[j] = fmax(features[j], z);
        }
    }
}

/* Returns F. */
static size_t features_of(const struct nn_shape *s, const double *p, const struct nn_example *x, double *features)
{
    const double *bag = tensor(s, p, "bag");
    size_t H = s->hidden, E = s->embed;

    assert(H <= MAX_UNITS && E <= MAX_UNITS);
    switch (s->family) {
    case NN_LSTM:
        lstm(s, p, "fw", false, x, features);
        lstm(s, p, "bw", false, x, features + H);
        return 2 * H;
    case NN_LSTM_PLAIN:
        lstm(s, p, "fw", true, x, features);
        return H;
    case NN_TEXTCNN:
        for (size_t width = 2; width <= 4; width++)
            convolution(s, p, width, x, features + (width - 2) * H);
        return 3 * H;
    case NN_BAG:
        memset(features, 0, E * sizeof *features);
        for (size_t i = 0; i < x->n_ngrams; i++)
            for (size_t j = 0; j < E; j++)
                features[j] += bag[x->ngrams[i] * E + j] / x->n_ngrams;
        return E;
    case NN_LINEAR:
        break;
    }
    return 0;
}

void plain_logits(const struct nn_shape *s, const double *p, const struct nn_example *x, double *logits)
{
    const double *w = tensor(s, p, "out.w"), *b = tensor(s, p, "out.b"), *table = tensor(s, p, "ngram");
    double features[MAX_FEATURES];
    size_t F = features_of(s, p, x, features), C = s->classes;

    for (size_t k = 0; k < C; k++) {
        logits[k] = b[k];
        for (size_t j = 0; j < F; j++)
            logits[k] += features[j] * w[j * C + k];
        for (size_t i = 0; table && i < x->n_ngrams; i++)
            logits[k] += 5 / sqrt(x->n_ngrams) * table[x->ngrams[i] * C + k];
    }
}

void plain_probs(const struct nn_shape *s, const double *p, const struct nn_example *x, double *probs)
{
    double sum = 0;

    plain_logits(s, p, x, probs);
    for (size_t k = 0; k < s->classes; k++)
        sum += probs[k] = exp(probs[k]);
    for (size_t k = 0; k < s->classes; k++)
        probs[k] /= sum;
}

static double cross_entropy(const struct nn_shape *s, const double *p, const struct nn_example *x, double smoothing)
{
    double probs[NN_MAX_CLASSES], sum = 0;

    plain_probs(s, p, x, probs);
    for (size_t k = 0; k < s->classes; k++) {
        double wanted = x->target ? (double)x->target[k] : k == x->label;
        sum -= (smoothing / s->classes + (1 - smoothing) * wanted) * log(probs[k]);
    }
    return sum;
}

static double squared_hinge(const struct nn_shape *s, const double *p, const struct nn_example *x)
{
    double z[NN_MAX_CLASSES], rival = -INFINITY;

    plain_logits(s, p, x, z);
    for (size_t k = 0; k < s->classes; k++)
        rival = k == x->label ? rival : fmax(rival, z[k]);
    double miss = fmax(0, 1 - z[x->label] + rival);
    return miss * miss;
}

double plain_loss(const struct nn_shape *s, const double *p, const struct nn_example *rows, size_t n,
                  enum nn_loss_kind loss, double smoothing)
{
    double sum = 0;

    for (size_t r = 0; r < n; r++)
        sum += loss == NN_HINGE ? squared_hinge(s, p, &rows[r]) : cross_entropy(s, p, &rows[r], smoothing);
    return sum / (double)n;
}
