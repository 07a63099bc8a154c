/* registry.c - families and series, see metrics.h. Readers take no lock: both are added under one mutex, published by
 * an atomic pointer and never freed; values are atomics. So a hot path that keeps its series pays one atomic add. */
#include "metrics/registry.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER; /* guards additions to what follows */
static _Atomic(struct metric *) first;

static const double default_bounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};

struct metric *registry_first(void)
{
    return atomic_load_explicit(&first, memory_order_acquire);
}

static void set_labels(struct metric *m, const char *labels)
{
    while (labels && *labels) {
        size_t n = strcspn(labels, ",");

        assert(n && m->n_labels < METRIC_MAX_LABELS);
        m->labels[m->n_labels++] = xstrndup(labels, n);
        labels += n + (labels[n] == ',');
    }
}

static void set_bounds(struct metric *m, const double *bounds, size_t n)
{
    if (!bounds) {
        bounds = default_bounds;
        n = COUNT_OF(default_bounds);
    }
    m->bounds = xcalloc(n, sizeof *m->bounds);
    m->n_bounds = n;
    memcpy(m->bounds, bounds, n * sizeof *bounds);
}

static struct metric *find_or_add(enum metric_kind kind, const char *name, const char *help, const char *labels,
                                  const double *bounds, size_t n_bounds)
{
    _Atomic(struct metric *) *end = &first;
    struct metric *m;

    pthread_mutex_lock(&mu);
    while ((m = atomic_load(end)) && strcmp(m->name, name) != 0)
        end = &m->next;
    if (!m) {
        m = xcalloc(1, sizeof *m);
        m->kind = kind;
        m->name = xstrdup(name);
        m->help = xstrdup(help);
        set_labels(m, labels);
        if (kind == METRIC_HISTOGRAM)
            set_bounds(m, bounds, n_bounds);
        atomic_store_explicit(end, m, memory_order_release);
    }
    pthread_mutex_unlock(&mu);
    assert(m->kind == kind);
    return m;
}

struct metric *metric_counter(const char *name, const char *help, const char *labels)
{
    return find_or_add(METRIC_COUNTER, name, help, labels, NULL, 0);
}

struct metric *metric_gauge(const char *name, const char *help, const char *labels)
{
    return find_or_add(METRIC_GAUGE, name, help, labels, NULL, 0);
}

struct metric *metric_histogram(const char *name, const char *help, const char *labels, const double *bounds,
                                size_t n_bounds)
{
    return find_or_add(METRIC_HISTOGRAM, name, help, labels, bounds, n_bounds);
}

/* FNV-1a over all values, each with its end. */
static size_t slot(const char *const *values, size_t n)
{
    uint64_t h = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < n; i++)
        for (const char *p = values[i];; p++) {
            h = (h ^ (unsigned char)*p) * UINT64_C(1099511628211);
            if (!*p)
                break;
        }
    return (h ^ h >> 32) % REGISTRY_TABLE;
}

static struct series *find(struct metric *m, const char *const *values, size_t at)
{
    struct series *s = atomic_load_explicit(&m->table[at], memory_order_acquire);

    for (; s; s = s->next) {
        size_t i = 0;

        while (i < m->n_labels && !strcmp(s->values[i], values[i]))
            i++;
        if (i == m->n_labels)
            return s;
    }
    return NULL;
}

static struct series *add_locked(struct metric *m, const char *const *values, size_t at)
{
    struct series *s = xcalloc(1, sizeof *s);

    s->metric = m;
    for (size_t i = 0; i < m->n_labels; i++)
        s->values[i] = xstrdup(values[i]);
    if (m->kind == METRIC_HISTOGRAM)
        s->buckets = xcalloc(m->n_bounds + 1, sizeof *s->buckets);
    s->next = atomic_load(&m->table[at]);
    atomic_store_explicit(&m->table[at], s, memory_order_release);
    atomic_fetch_add(&m->n_series, 1);
    return s;
}

static struct series *find_or_add_series(struct metric *m, const char *const *values)
{
    static const char *const others[METRIC_MAX_LABELS] = {"other", "other", "other", "other"};
    size_t at = slot(values, m->n_labels);
    struct series *s = find(m, values, at);

    if (s)
        return s;
    pthread_mutex_lock(&mu);
    s = find(m, values, at);
    if (!s && m->n_labels && atomic_load(&m->n_series) >= METRIC_MAX_SERIES - 1) {
        values = others;
        at = slot(values, m->n_labels);
        s = find(m, values, at);
    }
    if (!s)
        s = add_locked(m, values, at);
    pthread_mutex_unlock(&mu);
    return s;
}

struct series *metric_series(struct metric *m, ...)
{
    const char *values[METRIC_MAX_LABELS] = {"", "", "", ""};
    va_list ap;

    va_start(ap, m);
    for (size_t i = 0; i < m->n_labels; i++) {
        const char *value = va_arg(ap, const char *);

        values[i] = value ? value : "";
    }
    va_end(ap);
    return find_or_add_series(m, values);
}

static double from_bits(uint64_t bits)
{
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t to_bits(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

void series_add(struct series *s, double value)
{
    uint64_t old = atomic_load_explicit(&s->value, memory_order_relaxed);

    assert(s->metric->kind != METRIC_COUNTER || value >= 0);
    while (!atomic_compare_exchange_weak_explicit(&s->value, &old, to_bits(from_bits(old) + value),
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

void series_set(struct series *s, double value)
{
    assert(s->metric->kind == METRIC_GAUGE);
    atomic_store_explicit(&s->value, to_bits(value), memory_order_relaxed);
}

void series_observe(struct series *s, double value)
{
    size_t i = 0;

    assert(s->metric->kind == METRIC_HISTOGRAM);
    if (isnan(value))
        return;
    while (i < s->metric->n_bounds && value > s->metric->bounds[i])
        i++;
    atomic_fetch_add_explicit(&s->buckets[i], 1, memory_order_relaxed);
    series_add(s, value);
}

double series_value(const struct series *s)
{
    uint64_t n = 0;

    if (s->metric->kind != METRIC_HISTOGRAM)
        return from_bits(atomic_load_explicit(&s->value, memory_order_relaxed));
    for (size_t i = 0; i <= s->metric->n_bounds; i++)
        n += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
    return (double)n;
}
