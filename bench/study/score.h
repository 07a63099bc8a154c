/* score.h - how good answers are, of all scored rows and of parts of them, and over several seeds. */
#ifndef BENCH_STUDY_SCORE_H
#define BENCH_STUDY_SCORE_H

#include "nn/nn.h"

#include <stdbool.h>

struct score {
    double accuracy, macro_f1; /* per cent */
};

/* probs (n,2). only (n,): the rows that count; NULL: all. */
struct score score_of(const float *probs, const struct nn_example *rows, size_t n, const bool *only);

/* One line about the scores of n_seeds runs over n_rows rows. */
void score_print(const char *what, const struct score *scores, size_t n_seeds, size_t n_rows);

#endif
