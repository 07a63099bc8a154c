/* fit.h - trains one model in this process, as a worker and an aggregator would together, and scores it. */
#ifndef BENCH_STUDY_FIT_H
#define BENCH_STUDY_FIT_H

#include "nn/nn.h"

struct recipe {
    struct nn_shape shape;
    struct nn_objective objective;
    uint32_t epochs, batch, warm_up;  /* warm_up: steps */
    double learning_rate, final_rate; /* falls linearly to final_rate times itself */
    bool local;                       /* steps of nn/trainer.h, as in local epochs: what stands below does not count */
    double beta2, clip_norm;
    double decay;       /* of all parameters, decoupled from the gradient */
    double ngram_decay; /* of the n-gram table in its place */
    double average;     /* 0..1: weights are averaged over the steps with this memory; 0: the last ones count */
    double consistency; /* this share of what a row trains towards is the model's own answer without dropout */
    double adversary;   /* 0: none; else the length of the step against the embedding (Miyato et al. 2017) */
};

struct fit {
    struct recipe recipe;
    float *params; /* (n_params,): start with nn_init() or a model's; the result */
    size_t n_params;
    const struct nn_example *train;
    size_t n_train;
    const float *ngram_weights; /* (G,): an n-gram's feature is multiplied by that of its bucket; NULL: by 1. In the
                                   result they are part of the n-gram table, so that it predicts as any model does */
    uint64_t seed;
    void (*after_epoch)(void *arg, uint32_t epoch, double loss, const float *params);
    void *arg;
};

/* Returns the CPU seconds of the training alone. */
double fit_run(struct fit *f);

/* probs (n,C) for the rows. */
void fit_predict(const struct nn_shape *shape, const float *params, const struct nn_example *rows, size_t n,
                 float *probs);

#endif
