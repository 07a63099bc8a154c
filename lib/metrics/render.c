/* render.c - the page of /metrics in Prometheus text format 0.0.4: a family in one block, HELP and TYPE first, numbers
 * as Go's strconv reads them, histograms cumulative with +Inf equal to _count. */
#include "metrics/registry.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_number(struct buf *out, double v)
{
    char text[40];

    if (isnan(v) || isinf(v)) {
        buf_puts(out, isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
        return;
    }
    snprintf(text, sizeof text, "%.15g", v); /* 0.1, not 0.1000..01, where 15 digits are the number */
    if (strtod(text, NULL) != v)
        snprintf(text, sizeof text, "%.17g", v);
    buf_puts(out, text);
}

/* help: a quote needs no escape there. */
static void add_escaped(struct buf *out, const char *text, bool help)
{
    for (; *text; text++) {
        if (*text == '\n')
            buf_puts(out, "\\n");
        else if (*text == '\\' || (*text == '"' && !help))
            buf_printf(out, "\\%c", *text);
        else
            buf_putc(out, *text);
    }
}

/* {a="x",le="0.5"} or nothing. le: NULL but for a bucket. */
static void add_labels(struct buf *out, const struct series *s, const double *le)
{
    const struct metric *m = s->metric;

    if (!m->n_labels && !le)
        return;
    for (size_t i = 0; i < m->n_labels; i++) {
        buf_printf(out, "%c%s=\"", i ? ',' : '{', m->labels[i]);
        add_escaped(out, s->values[i], false);
        buf_putc(out, '"');
    }
    if (le) {
        buf_printf(out, "%cle=\"", m->n_labels ? ',' : '{');
        add_number(out, *le);
        buf_putc(out, '"');
    }
    buf_putc(out, '}');
}

static void add_sample(struct buf *out, const struct series *s, const char *suffix, const double *le, double value)
{
    buf_printf(out, "%s%s", s->metric->name, suffix);
    add_labels(out, s, le);
    buf_putc(out, ' ');
    add_number(out, value);
    buf_putc(out, '\n');
}

static void add_histogram(struct buf *out, const struct series *s)
{
    double sum;
    uint64_t bits, n = 0;

    for (size_t i = 0; i <= s->metric->n_bounds; i++) {
        double bound = i < s->metric->n_bounds ? s->metric->bounds[i] : INFINITY;

        n += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
        add_sample(out, s, "_bucket", &bound, (double)n);
    }
    bits = atomic_load_explicit(&s->value, memory_order_relaxed);
    memcpy(&sum, &bits, sizeof sum);
    add_sample(out, s, "_sum", NULL, sum);
    add_sample(out, s, "_count", NULL, (double)n);
}

static void add_family(struct buf *out, struct metric *m)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};

    if (!atomic_load(&m->n_series))
        return;
    buf_printf(out, "# HELP %s ", m->name);
    add_escaped(out, m->help, true);
    buf_printf(out, "\n# TYPE %s %s\n", m->name, types[m->kind]);
    for (size_t i = 0; i < REGISTRY_TABLE; i++)
        for (struct series *s = atomic_load_explicit(&m->table[i], memory_order_acquire); s; s = s->next) {
            if (m->kind == METRIC_HISTOGRAM)
                add_histogram(out, s);
            else
                add_sample(out, s, "", NULL, series_value(s));
        }
}

void metrics_render(struct buf *out)
{
    for (struct metric *m = registry_first(); m; m = atomic_load_explicit(&m->next, memory_order_acquire))
        add_family(out, m);
    process_render(out);
}
