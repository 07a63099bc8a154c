/* soft.h - files of probabilities, one row a line: "SHA-1 of the text in hex, blank, P(second label)". */
#ifndef BENCH_STUDY_SOFT_H
#define BENCH_STUDY_SOFT_H

#include "client/data/corpus.h"

/* probs (part->n,2). With n_folds above 0 only rows i with i % n_folds == fold are written. */
struct status soft_write(const char *path, const struct corpus_part *part, const float *probs, uint32_t fold,
                         uint32_t n_folds);

/* targets (part->n,2), the caller's to free(): weight * mean of the files that know the row + (1 - weight) * the label.
 * Points rows[i].target at them. ST_NOT_FOUND: a row that no file knows. ST_INVALID: a malformed line. */
struct status soft_read(const char *paths, double weight, const struct corpus_part *part, struct nn_example *rows,
                        float **targets);

#endif
