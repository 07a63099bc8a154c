/* grams.c - see grams.h. */
#include "grams.h"

#include "text/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* From the two 3-grams that a 4-gram consists of. */
static uint32_t four_gram(const uint32_t *points, uint32_t n_buckets)
{
    uint32_t x = text_ngram(points, 3, UINT32_MAX) * 0x9E3779B1u ^ text_ngram(points + 1, 3, UINT32_MAX);

    x ^= x >> 15;
    x *= 0x2C1B3C6Du;
    x ^= x >> 12;
    return 1 + x % (n_buckets - 1);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static uint32_t sort_unique(uint32_t *a, uint32_t n)
{
    uint32_t kept = 0;

    if (n)
        qsort(a, n, sizeof *a, by_value);
    for (uint32_t i = 0; i < n; i++)
        if (!i || a[i] != a[i - 1])
            a[kept++] = a[i];
    return kept;
}

static size_t room(const struct corpus_examples *e, uint32_t max_tokens)
{
    size_t n = 1;

    for (size_t i = 0; i < e->n; i++)
        n += e->rows[i].n_ngrams + max_tokens;
    return n;
}

void grams_lengthen(struct corpus_examples *e, const struct corpus_part *part, uint32_t max_tokens, uint32_t n_buckets)
{
    uint32_t *block = xmalloc(room(e, max_tokens) * sizeof *block), *to = block;

    for (size_t i = 0; i < e->n; i++) {
        struct nn_example *x = &e->rows[i];
        uint32_t *points = xmalloc((part->rows[i].size + 1) * sizeof *points), n = x->n_ngrams;
        size_t n_points = text_clip(points, text_decode(part->rows[i].text, part->rows[i].size, points), max_tokens);

        memcpy(to, x->ngrams, n * sizeof *to);
        for (size_t at = 0; at + 4 <= n_points; at++)
            to[n++] = four_gram(points + at, n_buckets);
        x->ngrams = to;
        x->n_ngrams = sort_unique(to, n);
        to += x->n_ngrams;
        free(points);
    }
    free(e->ngrams);
    e->ngrams = block;
}

uint32_t *grams_count(const struct corpus_examples *e, uint32_t n_buckets)
{
    uint32_t *counts = xcalloc(n_buckets, sizeof *counts);

    for (size_t i = 0; i < e->n; i++)
        for (uint32_t k = 0; k < e->rows[i].n_ngrams; k++)
            counts[e->rows[i].ngrams[k]]++;
    return counts;
}

void grams_drop_rare(struct corpus_examples *e, const uint32_t *counts, uint32_t min_rows)
{
    uint32_t *to = e->ngrams; /* rows lie in it in their order, so that what is written was read before */

    for (size_t i = 0; i < e->n; i++) {
        struct nn_example *x = &e->rows[i];
        uint32_t *first = to;

        for (uint32_t k = 0; k < x->n_ngrams; k++)
            if (counts[x->ngrams[k]] >= min_rows)
                *to++ = x->ngrams[k];
        x->ngrams = first;
        x->n_ngrams = (uint32_t)(to - first);
    }
}

float *grams_weights(const uint32_t *counts, uint32_t n_buckets, size_t n_rows, double power)
{
    float *weights = xcalloc(n_buckets, sizeof *weights);
    double sum = 0, n = 0;

    for (uint32_t g = 0; g < n_buckets; g++) {
        double w = pow(1 + log((1 + (double)n_rows) / (1 + (double)counts[g])), power);
        weights[g] = (float)w;
        sum += counts[g] * w * w;
        n += counts[g];
    }
    for (uint32_t g = 0; g < n_buckets && sum > 0; g++)
        weights[g] /= (float)sqrt(sum / n);
    return weights;
}
