/* metrics.h - counters, gauges and histograms of the process, in Prometheus text format 0.0.4, and the small HTTP
 * port that serves them with the probes:  GET /metrics, /healthz (the process lives), /readyz (it may get traffic).
 * Format: https://prometheus.io/docs/instrumenting/exposition_formats/. Names start with bloginfer_, units are base
 * units (_seconds, _bytes), counters end in _total. Thread-safe throughout.
 *
 *     static struct metric *calls;
 *     calls = metric_counter("bloginfer_rpc_server_calls_total", "Calls finished.", "method,code");
 *     metric_add(calls, 1, "Classify", "OK");                        // looks the series up by its labels
 *     struct series *s = metric_series(calls, "Classify", "OK");     // or once, for a hot path
 *     series_add(s, 1);
 *
 * The standard process_* metrics (resident memory, CPU seconds, start time, open descriptors) are always there. */
#ifndef METRICS_METRICS_H
#define METRICS_METRICS_H

#include "base/base.h"

#include <stdbool.h>

struct metric; /* a family; lives as long as the process */
struct series; /* one combination of label values; lives as long as the process */

#define METRIC_MAX_LABELS 4
#define METRIC_MAX_SERIES 2000 /* a family; later combinations fall into one series with every label "other" */

/* The same name gives the same family. labels: names separated by commas, NULL or "" for none. */
struct metric *metric_counter(const char *name, const char *help, const char *labels);
struct metric *metric_gauge(const char *name, const char *help, const char *labels);

/* bounds: upper bounds in increasing order, +Inf is added; NULL: 0.5 ms to 10 s in steps of about 2. */
struct metric *metric_histogram(const char *name, const char *help, const char *labels, const double *bounds,
                                size_t n_bounds);

/* As many const char * label values as the family has labels. */
struct series *metric_series(struct metric *m, ...);

void series_add(struct series *s, double value);     /* counter (value >= 0) or gauge */
void series_set(struct series *s, double value);     /* gauge */
void series_observe(struct series *s, double value); /* histogram */
double series_value(const struct series *s);         /* counter or gauge; a histogram's count */

#define metric_add(m, value, ...)     series_add(metric_series((m), ##__VA_ARGS__), (value))
#define metric_set(m, value, ...)     series_set(metric_series((m), ##__VA_ARGS__), (value))
#define metric_observe(m, value, ...) series_observe(metric_series((m), ##__VA_ARGS__), (value))

/* Appends the whole page. */
void metrics_render(struct buf *out);

struct metrics_port;

struct metrics_config {
    const char *listen;
    int64_t port;        /* 0: any free one */
    const char *program; /* for bloginfer_build_info{program,version} */

    /* OK: ready. Otherwise the message is shown in the 503 of /readyz. Any thread; NULL: always ready. */
    struct status (*ready)(void *ctx);
    void *ready_ctx;
};

/* While draining (metrics_drain()), /readyz answers 503 and /healthz still 200. */
struct status metrics_start(struct metrics_port **out, const struct metrics_config *config);
int metrics_port_number(const struct metrics_port *p);
void metrics_drain(struct metrics_port *p);
void metrics_stop(struct metrics_port *p);

/* An http_config.observer that counts into bloginfer_http_requests_total and bloginfer_http_request_duration_seconds. */
void metrics_observe_http(void *ctx, const char *method, const char *route, int http_code, double seconds);

#endif
