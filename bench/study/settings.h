/* settings.h - the options of bloginfer-study: every choice of the recipe is one. */
#ifndef BENCH_STUDY_SETTINGS_H
#define BENCH_STUDY_SETTINGS_H

#include "fit.h"

#include "base/base.h"

#define MAX_SEEDS       100
#define MAX_SELF_ROUNDS 8

struct settings {
    char *data, *corpus, *unlabelled, *family, *loss;
    bool validation, local;
    int64_t labelled, copies;
    int64_t embed, hidden, buckets, max_tokens;
    int64_t epochs, batch, warm_up, seed, seeds;
    double learning_rate, final_rate, beta2, clip_norm, decay, ngram_decay, average, adversary, consistency;
    double token_dropout, embed_dropout, output_dropout, ngram_dropout, label_smoothing;
    int64_t longest_ngram, min_rows;
    double idf;
    char *self_labels;
    int64_t self_rounds, self_teachers;
    double self_confidence;
    bool self_balanced;
    int64_t pretrain, window, negatives;
    double pretrain_rate;
    double teacher_weight;
    char *start, *teacher, *fold, *score, *model, *probabilities, *train_probabilities;
    bool f16;
};

extern const struct config_option settings_options[];
extern const size_t settings_n_options;

/* The recipe that the settings ask for. ST_INVALID: options that do not go together, or a shape that does not exist. */
struct status settings_recipe(const struct settings *o, struct recipe *recipe);

#endif
