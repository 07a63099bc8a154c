/* partition.c - seeded hashes for iid; proportions from gamma draws, cut over seeded order, for label skew. */
#include "partition.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DRAWS 10000

struct status partition_parse(struct partition *p, const char *spec)
{
    static const char prefix[] = "dirichlet:";
    char *end = NULL;

    p->alpha = 0;
    if (!spec || !*spec || !strcmp(spec, "iid"))
        return status_ok();
    if (!strncmp(spec, prefix, sizeof prefix - 1)) {
        double alpha = strtod(spec + sizeof prefix - 1, &end);
        if (end != spec + sizeof prefix - 1 && !*end && alpha >= 0.01 && alpha <= 1000) {
            p->alpha = alpha;
            return status_ok();
        }
    }
    return status_errorf(ST_INVALID, "partition \"%.64s\": iid or dirichlet:ALPHA, ALPHA between 0.01 and 1000", spec);
}

/* Digits only; false when there are none or the value is over max. */
static bool read_number(const char **s, uint32_t max, uint32_t *value)
{
    const char *start = *s;

    for (*value = 0; **s >= '0' && **s <= '9' && *value <= max; ++*s)
        *value = *value * 10 + (uint32_t)(**s - '0');
    return *s != start && *value <= max;
}

struct status partition_parse_shard(const char *spec, uint32_t *index, uint32_t *count)
{
    const char *s = spec;

    if (!read_number(&s, PARTITION_MAX_SHARDS - 1, index) || *s++ != '/' ||
        !read_number(&s, PARTITION_MAX_SHARDS, count) || *s)
        return status_errorf(ST_INVALID, "shard \"%.64s\": INDEX/COUNT such as 0/3, COUNT at most %d", spec,
                             PARTITION_MAX_SHARDS);
    if (*index >= *count)
        return status_errorf(ST_INVALID, "shard %.64s: the index counts from 0 and must be below the count", spec);
    return status_ok();
}

static uint64_t seeded(uint64_t hash, uint64_t seed)
{
    struct rng r;

    rng_init(&r, hash ^ seed * UINT64_C(0x9E3779B97F4A7C15));
    return rng_next(&r);
}

/* A row's place in the order that labels are cut in. */
struct place {
    uint64_t key;
    size_t row;
    uint32_t label;
};

static int by_label_and_key(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    if (x->label != y->label)
        return x->label < y->label ? -1 : 1;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static struct place *places_of(const struct partition *p, const struct partition_row *rows, size_t n,
                               size_t n_of_label[PARTITION_MAX_LABELS])
{
    struct place *places = xmalloc(n * sizeof *places);

    for (size_t i = 0; i < n; i++) {
        places[i] = (struct place){seeded(rows[i].hash, p->seed), i, rows[i].label};
        n_of_label[rows[i].label]++;
    }
    qsort(places, n, sizeof *places, by_label_and_key);
    return places;
}

/* ends[s]: where shard s ends among the n rows of one label, by proportions from the Dirichlet distribution. */
static void draw_ends(const struct partition *p, struct rng *r, size_t n, size_t *ends)
{
    double weights[PARTITION_MAX_SHARDS], sum = 0, part = 0;

    for (uint32_t s = 0; s < p->n_shards; s++)
        sum += weights[s] = rng_gamma(r, p->alpha);
    if (!(sum > 0)) /* every draw underflowed: the limit of a small alpha is one owner */
        sum = weights[rng_below(r, p->n_shards)] = 1;
    for (uint32_t s = 0; s < p->n_shards; s++) {
        part += weights[s];
        ends[s] = s + 1 == p->n_shards ? n : (size_t)(part / sum * (double)n);
    }
}

/* One draw for every label; returns the rows of the smallest shard. */
static size_t draw_all(const struct partition *p, struct rng *r, const size_t n_of_label[PARTITION_MAX_LABELS],
                       size_t *ends)
{
    size_t sizes[PARTITION_MAX_SHARDS] = {0}, smallest = SIZE_MAX;

    for (uint32_t label = 0; label < PARTITION_MAX_LABELS; label++) {
        size_t *of_label = ends + (size_t)label * p->n_shards;
        if (!n_of_label[label])
            continue;
        draw_ends(p, r, n_of_label[label], of_label);
        for (uint32_t s = 0; s < p->n_shards; s++)
            sizes[s] += of_label[s] - (s ? of_label[s - 1] : 0);
    }
    for (uint32_t s = 0; s < p->n_shards; s++)
        smallest = sizes[s] < smallest ? sizes[s] : smallest;
    return smallest;
}

/* (PARTITION_MAX_LABELS, n_shards) ends, to free(). */
static size_t *choose_ends(const struct partition *p, size_t n, const size_t n_of_label[PARTITION_MAX_LABELS])
{
    size_t n_ends = (size_t)PARTITION_MAX_LABELS * p->n_shards, quarter = n / p->n_shards / 4;
    size_t goal = quarter < PARTITION_MIN_ROWS ? quarter : PARTITION_MIN_ROWS, best = 0;
    size_t *ends = xcalloc(n_ends, sizeof *ends), *chosen = xcalloc(n_ends, sizeof *chosen);
    struct rng r;

    rng_init(&r, p->seed);
    for (int i = 0; i < MAX_DRAWS && (!i || best < goal); i++) {
        size_t smallest = draw_all(p, &r, n_of_label, ends);
        if (!i || smallest > best) {
            memcpy(chosen, ends, n_ends * sizeof *chosen);
            best = smallest;
        }
    }
    free(ends);
    return chosen;
}

static void assign_by_label(const struct partition *p, const struct partition_row *rows, size_t n, uint32_t *shards)
{
    size_t n_of_label[PARTITION_MAX_LABELS] = {0};
    struct place *places = places_of(p, rows, n, n_of_label);
    size_t *ends = choose_ends(p, n, n_of_label);

    for (size_t i = 0, first = 0; i < n; i++) {
        const size_t *of_label = ends + (size_t)places[i].label * p->n_shards;
        uint32_t s = 0;
        if (i && places[i].label != places[i - 1].label)
            first = i;
        while (i - first >= of_label[s])
            s++;
        shards[places[i].row] = s;
    }
    free(places);
    free(ends);
}

void partition_assign(const struct partition *p, const struct partition_row *rows, size_t n, uint32_t *shards)
{
    if (p->alpha > 0) {
        assign_by_label(p, rows, n, shards);
        return;
    }
    for (size_t i = 0; i < n; i++)
        shards[i] = (uint32_t)(seeded(rows[i].hash, p->seed) % p->n_shards);
}
