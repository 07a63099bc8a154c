/* self.c - see self.h. */
#include "self.h"

#include <stdlib.h>
#include <string.h>

/* What the likelier label of a text has, and which one it is. */
static double certainty(const float *probs, uint32_t *label)
{
    *label = probs[1] >= probs[0];
    return (double)probs[*label];
}

static int downwards(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? 1 : x > y ? -1 : 0;
}

/* floors (2,): the certainty that a text of each label needs, so that the labels have the shares that they should. */
static void find_floors(const struct self_rule *rule, size_t n_texts, const float *probs, double *floors)
{
    double *certain[2] = {xcalloc(n_texts + 1, sizeof(double)), xcalloc(n_texts + 1, sizeof(double))};
    double shares[2] = {1 - rule->share, rule->share};
    size_t n[2] = {0, 0};
    uint32_t label;

    for (size_t i = 0; i < n_texts; i++) {
        double c = certainty(probs + 2 * i, &label);
        if (c >= rule->confidence)
            certain[label][n[label]++] = c;
    }
    for (int k = 0; k < 2; k++) {
        double most = (double)n[!k] * shares[k] / shares[!k];
        floors[k] = rule->confidence;
        qsort(certain[k], n[k], sizeof(double), downwards);
        if (most < (double)n[k])
            floors[k] = most < 1 ? 2 : certain[k][(size_t)most - 1];
    }
    free(certain[0]);
    free(certain[1]);
}

void self_label(struct self_rows *s, const struct self_rule *rule, const struct corpus_examples *texts,
                const float *probs)
{
    double floors[2] = {rule->confidence, rule->confidence};
    uint32_t label;

    *s = (struct self_rows){.rows = xcalloc(texts->n + 1, sizeof *s->rows),
                            .targets = xcalloc(2 * texts->n + 1, sizeof *s->targets)};
    if (rule->share > 0 && rule->share < 1)
        find_floors(rule, texts->n, probs, floors);
    memcpy(s->targets, probs, 2 * texts->n * sizeof *probs);
    for (size_t i = 0; i < texts->n; i++) {
        double c = certainty(probs + 2 * i, &label);

        if (c < floors[label])
            continue;
        struct nn_example *x = &s->rows[s->n++];
        *x = texts->rows[i];
        s->n_as_withheld += x->label == label;
        x->label = label;
        x->target = rule->hard ? NULL : s->targets + 2 * i;
    }
}

void self_fini(struct self_rows *s)
{
    free(s->rows);
    free(s->targets);
    *s = (struct self_rows){0};
}
