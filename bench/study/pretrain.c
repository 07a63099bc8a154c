/* pretrain.c - see pretrain.h. */
#include "pretrain.h"

#include "text/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DRAWS         (1u << 20) /* places of the table that characters are drawn from */
#define DRAW_POWER    0.75       /* of their frequency */
#define COMMON        1e-3       /* characters more frequent than this are foretold less often */
#define MAX_WIDTH     NN_MAX_UNITS
#define MAX_UNITS     3    /* vectors that begin at a place */
#define MAX_TEXT_SIZE 2000 /* characters of a text that count */

/* One text: what stands at each place, and the rows of the table that begin there. */
struct passage {
    uint32_t n;
    uint16_t *ids;   /* (n,) */
    uint32_t *units; /* (n,n_units): n-grams of 1 to n_units characters */
};

struct learner {
    const struct pretrain *p;
    struct rng rng;
    float *in; /* (rows,E), the table */
    size_t n_rows, E;
    uint32_t n_units, n_buckets; /* n_units 1: characters; n_buckets counts only with more */
    float *out;                  /* (TEXT_N_IDS,E) */
    struct passage *passages;
    size_t n_passages;
    uint16_t *draws; /* (DRAWS,) */
    float *foretold; /* (TEXT_N_IDS,): chance that a place with this character is foretold */
    bool *seen;      /* (rows,) */
    uint64_t n_places;
};

/* ---- texts ---- */

static void add_passage(struct learner *l, const struct corpus_row *row)
{
    uint32_t *points = xmalloc((row->size + 1) * sizeof *points);
    size_t n = text_clip(points, text_decode(row->text, row->size, points), MAX_TEXT_SIZE);
    struct passage *p = &l->passages[l->n_passages++];

    *p = (struct passage){(uint32_t)n, xcalloc(n + 1, sizeof *p->ids), xcalloc(n * l->n_units + 1, sizeof *p->units)};
    for (size_t i = 0; i < n; i++) {
        p->ids[i] = text_id(points[i]);
        for (size_t k = 0; k < l->n_units && i + k < n; k++) {
            uint32_t unit = l->n_units > 1 ? text_ngram(points + i, k + 1, l->n_buckets) : p->ids[i];
            p->units[i * l->n_units + k] = unit;
            l->seen[unit] = true;
        }
    }
    l->n_places += n;
    free(points);
}

static void add_passages(struct learner *l, const struct corpus_part *const *parts, size_t n_parts)
{
    size_t n = 0;

    for (size_t i = 0; i < n_parts; i++)
        n += parts[i]->n;
    l->passages = xcalloc(n + 1, sizeof *l->passages);
    for (size_t i = 0; i < n_parts; i++)
        for (size_t k = 0; k < parts[i]->n; k++)
            add_passage(l, &parts[i]->rows[k]);
}

static void count_characters(struct learner *l)
{
    double counts[TEXT_N_IDS] = {0}, sum = 0, done = 0;
    size_t place = 0;

    for (size_t i = 0; i < l->n_passages; i++)
        for (uint32_t k = 0; k < l->passages[i].n; k++)
            counts[l->passages[i].ids[k]]++;
    for (size_t c = 0; c < TEXT_N_IDS; c++) {
        double share = counts[c] / fmax(1, (double)l->n_places);
        l->foretold[c] = share > COMMON ? (float)sqrt(COMMON / share) : 1;
        sum += pow(counts[c], DRAW_POWER);
    }
    for (size_t c = 0; c < TEXT_N_IDS; c++)
        for (done += pow(counts[c], DRAW_POWER); place < DRAWS && (double)place < done / sum * DRAWS; place++)
            l->draws[place] = (uint16_t)c;
}

/* ---- learning ---- */

/* One character foretold from the mean h (E,): 1 it stands there, 0 it was drawn. Adds to dh (E,). */
static void foretell(struct learner *l, uint16_t id, float wanted, const float *h, float *dh, float rate)
{
    float *o = l->out + (size_t)id * l->E, dot = 0;

    for (size_t e = 0; e < l->E; e++)
        dot += h[e] * o[e];
    float step = rate * (wanted - 1 / (1 + expf(-dot)));
    for (size_t e = 0; e < l->E; e++) {
        dh[e] += step * o[e];
        o[e] += step * h[e];
    }
}

/* The rows of the table that lie wholly in the window of a place, and not on it. */
static size_t units_around(const struct learner *l, const struct passage *p, uint32_t at, uint32_t window,
                           uint32_t *units)
{
    uint32_t first = at > window ? at - window : 0, end = p->n - at > window ? at + window + 1 : p->n;
    size_t n = 0;

    for (uint32_t i = first; i < end; i++)
        for (uint32_t k = 0; k < l->n_units && i + k < end; k++)
            if (i > at || i + k < at)
                units[n++] = p->units[i * l->n_units + k];
    return n;
}

static void learn_place(struct learner *l, const struct passage *p, uint32_t at, uint32_t *units, float rate)
{
    float h[MAX_WIDTH] = {0}, dh[MAX_WIDTH] = {0};
    uint32_t window = 1 + (uint32_t)rng_below(&l->rng, l->p->window);
    size_t n = units_around(l, p, at, window, units);

    if (!n)
        return;
    for (size_t i = 0; i < n; i++)
        for (size_t e = 0; e < l->E; e++)
            h[e] += l->in[units[i] * l->E + e];
    for (size_t e = 0; e < l->E; e++)
        h[e] /= (float)n;
    foretell(l, p->ids[at], 1, h, dh, rate);
    for (uint32_t k = 0; k < l->p->negatives; k++) {
        uint16_t drawn = l->draws[rng_next(&l->rng) % DRAWS];
        if (drawn != p->ids[at])
            foretell(l, drawn, 0, h, dh, rate);
    }
    for (size_t i = 0; i < n; i++)
        for (size_t e = 0; e < l->E; e++)
            l->in[units[i] * l->E + e] += dh[e];
}

static void learn(struct learner *l)
{
    uint32_t *order = xcalloc(l->n_passages + 1, sizeof *order),
             *units = xcalloc((2 * (size_t)l->p->window + 1) * MAX_UNITS, sizeof *units);
    double places = 0, all = fmax(1, (double)l->n_places * l->p->epochs);

    for (size_t i = 0; i < l->n_passages; i++)
        order[i] = (uint32_t)i;
    for (uint32_t epoch = 0; epoch < l->p->epochs; epoch++) {
        rng_shuffle(&l->rng, order, l->n_passages);
        for (size_t i = 0; i < l->n_passages; i++) {
            const struct passage *p = &l->passages[order[i]];
            float rate = (float)(l->p->rate * (1 - places / all));
            for (uint32_t at = 0; at < p->n; at++)
                if (rng_uniform(&l->rng) < (double)l->foretold[p->ids[at]])
                    learn_place(l, p, at, units, rate);
            places += p->n;
        }
    }
    free(order);
    free(units);
}

/* ---- the table ---- */

static double spread(const struct learner *l)
{
    double sum = 0, n = 0;

    for (size_t r = 0; r < l->n_rows; r++)
        for (size_t e = 0; e < l->E && l->seen[r]; e++, n++)
            sum += (double)l->in[r * l->E + e] * (double)l->in[r * l->E + e];
    return sqrt(sum / fmax(1, n));
}

static void scale_seen(struct learner *l, double factor)
{
    for (size_t r = 0; r < l->n_rows; r++)
        for (size_t e = 0; e < l->E && l->seen[r]; e++)
            l->in[r * l->E + e] *= (float)factor;
}

static void learner_fini(struct learner *l)
{
    for (size_t i = 0; i < l->n_passages; i++) {
        free(l->passages[i].ids);
        free(l->passages[i].units);
    }
    free(l->passages);
    free(l->out);
    free(l->draws);
    free(l->foretold);
    free(l->seen);
}

void pretrain_run(float *params, const struct nn_shape *shape, const struct pretrain *p,
                  const struct corpus_part *const *parts, size_t n_parts)
{
    struct nn_tensor tensors[NN_MAX_TENSORS];
    size_t n = nn_tensors(shape, tensors);
    const struct nn_tensor *characters = nn_tensor_find(tensors, n, "embedding"),
                           *table = characters ? characters : nn_tensor_find(tensors, n, "bag");

    if (!table)
        return;
    struct learner l = {.p = p,
                        .in = params + table->offset,
                        .n_rows = table->dims[0],
                        .E = table->dims[1],
                        .n_units = characters ? 1 : MAX_UNITS,
                        .n_buckets = shape->buckets,
                        .out = xcalloc((size_t)TEXT_N_IDS * table->dims[1], sizeof *l.out),
                        .draws = xcalloc(DRAWS, sizeof *l.draws),
                        .foretold = xcalloc(TEXT_N_IDS, sizeof *l.foretold),
                        .seen = xcalloc(table->dims[0], sizeof *l.seen)};
    rng_init(&l.rng, p->seed);
    add_passages(&l, parts, n_parts);
    count_characters(&l);
    double before = spread(&l);
    learn(&l);
    scale_seen(&l, before / fmax(spread(&l), 1e-12));
    learner_fini(&l);
}
