/* registry.h - the families and series behind metrics.h, for the renderer. Private to lib/metrics. */
#ifndef METRICS_REGISTRY_H
#define METRICS_REGISTRY_H

#include "metrics/metrics.h"

#include <stdatomic.h>

#define REGISTRY_TABLE 256 /* lists of series in a family */

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct series {
    struct metric *metric;
    struct series *next; /* in its list of the family's table */
    char *values[METRIC_MAX_LABELS];
    _Atomic uint64_t value;    /* bits of a double; a histogram's sum */
    _Atomic uint64_t *buckets; /* n_bounds + 1 of a histogram, not cumulative */
};

struct metric {
    enum metric_kind kind;
    char *name, *help;
    char *labels[METRIC_MAX_LABELS];
    size_t n_labels;
    double *bounds;
    size_t n_bounds;
    _Atomic size_t n_series;
    _Atomic(struct series *) table[REGISTRY_TABLE];
    _Atomic(struct metric *) next;
};

/* The families in the order of their making; follow next. Families and series are never freed. */
struct metric *registry_first(void);

/* Appends the process_* families, read from /proc now. */
void process_render(struct buf *out);

#endif
