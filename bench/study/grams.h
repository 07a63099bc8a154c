/* grams.h - what might be done to n-grams beyond the rule of text/text.h, to see whether it would be worth a new rule. */
#ifndef BENCH_STUDY_GRAMS_H
#define BENCH_STUDY_GRAMS_H

#include "client/data/corpus.h"

/* Adds the hashed 4-grams of the texts, clipped as their tokens were. */
void grams_lengthen(struct corpus_examples *e, const struct corpus_part *part, uint32_t max_tokens, uint32_t n_buckets);

/* counts (n_buckets,), the caller's to free(): rows that have an n-gram of the bucket. */
uint32_t *grams_count(const struct corpus_examples *e, uint32_t n_buckets);

/* Leaves out n-grams whose bucket has fewer rows than that. */
void grams_drop_rare(struct corpus_examples *e, const uint32_t *counts, uint32_t min_rows);

/* weights (n_buckets,), the caller's to free(): (1 + ln((1 + rows) / (1 + count)))^power, divided by a number so that the
 * mean square over all that the rows hold is 1. */
float *grams_weights(const uint32_t *counts, uint32_t n_buckets, size_t n_rows, double power);

#endif
