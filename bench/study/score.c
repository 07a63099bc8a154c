/* score.c - see score.h. */
#include "score.h"

#include "classifier/classifier.h"

#include <math.h>
#include <stdio.h>

struct score score_of(const float *probs, const struct nn_example *rows, size_t n, const bool *only)
{
    double counts[2][2] = {{0}}, f1 = 0, all = 0;

    for (size_t i = 0; i < n; i++) {
        if (only && !only[i])
            continue;
        counts[rows[i].label][probs[2 * i + 1] >= CLASSIFIER_THRESHOLD]++;
        all++;
    }
    for (int c = 0; c < 2; c++)
        f1 += counts[c][c] / fmax(1, 2 * counts[c][c] + counts[0][1] + counts[1][0]);
    return (struct score){100 * (counts[0][0] + counts[1][1]) / fmax(1, all), 100 * f1};
}

void score_print(const char *what, const struct score *scores, size_t n_seeds, size_t n_rows)
{
    double sum = 0, f1 = 0, low = 100, high = 0, n = (double)n_seeds;

    for (size_t i = 0; i < n_seeds; i++) {
        sum += scores[i].accuracy;
        f1 += scores[i].macro_f1;
        low = fmin(low, scores[i].accuracy);
        high = fmax(high, scores[i].accuracy);
    }
    double p = sum / n / 100, sigma = 100 * sqrt(p * (1 - p) / (double)n_rows);
    printf("%saccuracy %.2f (%.2f-%.2f, n=%.0f), macro-F1 %.2f; 1 sigma of %zu rows %.2f", what, sum / n, low, high, n,
           f1 / n, n_rows, sigma);
}
