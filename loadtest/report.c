/* report.c - see report.h. */
#include "report.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double rate(const struct load_result *r)
{
    return r->window_seconds > 0 ? (double)r->n_window / r->window_seconds : 0;
}

static double share_ok(const struct load_result *r)
{
    uint64_t n = r->n_ok + r->n_failed;

    return n ? (double)r->n_ok / (double)n : 0;
}

/* Of one CPU, over the time until the end of the window. */
static double cpu_share(const struct report *r)
{
    return r->result->seconds > 0 ? r->cpu_seconds / r->result->seconds : 0;
}

/* ---- for a person ---- */

static void print_latency(const char *name, const struct histogram *h)
{
    if (h->n)
        printf("%-14s mean %.1f  min %.1f  p50 %.1f  p90 %.1f  p95 %.1f  p99 %.1f  max %.1f ms\n", name,
               histogram_mean(h) / 1e3, (double)h->min_us / 1e3, (double)histogram_quantile(h, 0.5) / 1e3,
               (double)histogram_quantile(h, 0.9) / 1e3, (double)histogram_quantile(h, 0.95) / 1e3,
               (double)histogram_quantile(h, 0.99) / 1e3, (double)h->max_us / 1e3);
}

static void print_failures(const struct load_result *r)
{
    if (!r->n_failed)
        return;
    printf("failures      ");
    for (int v = 1; v < N_VERDICTS; v++)
        if (r->failures[v] && v != VERDICT_HTTP)
            printf(" %s %llu", verdict_name((enum verdict)v), (unsigned long long)r->failures[v]);
    for (size_t code = 0; code < COUNT_OF(r->statuses); code++)
        if (r->statuses[code])
            printf(" http_%zu %llu", code, (unsigned long long)r->statuses[code]);
    printf("\nfirst failure  after %.1f s with %lld users: %s: %s\n", r->first_seconds, (long long)r->first_users,
           verdict_name(r->first_kind), r->first_detail);
}

void report_print(const struct report *report)
{
    const struct load_result *r = report->result;

    printf("\nusers          %lld%s, %zu pictures from %s\n", (long long)r->users, r->stopped ? " (stopped)" : "",
           report->config->pictures->n, report->pictures_from);
    printf("requests       %llu, of them good %llu = %.3f %%, failed %llu\n", (unsigned long long)r->n_sent,
           (unsigned long long)r->n_ok, 100 * share_ok(r), (unsigned long long)r->n_failed);
    print_failures(r);
    if (r->window_seconds > 0)
        printf("throughput     %.2f images/s in a window of %.1f s\n", rate(r), r->window_seconds);
    print_latency("response time", r->window.n ? &r->window : &r->all);
    printf("detections     %llu in all\n", (unsigned long long)r->n_objects);
    printf("connections    %llu made, %llu requests sent again on a new one\n", (unsigned long long)r->n_connects,
           (unsigned long long)r->n_resent);
    for (size_t i = 0; i < r->n_servers; i++)
        printf("%-14s %s %.1f %%\n", i ? "" : "served by", r->servers[i].name,
               100 * (double)r->servers[i].n / (double)r->n_ok);
    printf("this program   %.1f %% of a CPU\n", 100 * cpu_share(report));
}

/* ---- for a program ---- */

static json_t *latency_json(const struct histogram *h)
{
    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "n", (json_int_t)h->n, "mean", histogram_mean(h) / 1e3,
                     "min", (double)h->min_us / 1e3, "p50", (double)histogram_quantile(h, 0.5) / 1e3, "p90",
                     (double)histogram_quantile(h, 0.9) / 1e3, "p95", (double)histogram_quantile(h, 0.95) / 1e3, "p99",
                     (double)histogram_quantile(h, 0.99) / 1e3, "max", (double)h->max_us / 1e3);
}

static json_t *failures_json(const struct load_result *r)
{
    json_t *out = json_object();
    char name[16];

    for (int v = 1; v < N_VERDICTS; v++)
        if (r->failures[v] && v != VERDICT_HTTP)
            json_object_set_new(out, verdict_name((enum verdict)v), json_integer((json_int_t)r->failures[v]));
    for (size_t code = 0; code < COUNT_OF(r->statuses); code++)
        if (r->statuses[code]) {
            snprintf(name, sizeof name, "http_%zu", code);
            json_object_set_new(out, name, json_integer((json_int_t)r->statuses[code]));
        }
    return out;
}

static json_t *first_failure_json(const struct load_result *r)
{
    if (!r->first_kind)
        return json_null();
    return json_pack("{s:s, s:f, s:I, s:s}", "kind", verdict_name(r->first_kind), "seconds", r->first_seconds, "users",
                     (json_int_t)r->first_users, "detail", r->first_detail);
}

static json_t *servers_json(const struct load_result *r)
{
    json_t *out = json_object();

    for (size_t i = 0; i < r->n_servers; i++)
        json_object_set_new(out, r->servers[i].name, json_integer((json_int_t)r->servers[i].n));
    return out;
}

static void set(json_t *out, const char *name, json_t *value)
{
    json_object_set_new(out, name, value ? value : json_null()); /* NULL: text of a server that is not UTF-8 */
}

static json_t *report_json(const struct report *report)
{
    const struct load_config *c = report->config;
    const struct load_result *r = report->result;
    json_t *out = json_object();

    set(out, "generator", json_string("bloginfer-load " BLOGINFER_VERSION));
    set(out, "url", json_string(report->url));
    set(out, "pictures", json_integer((json_int_t)c->pictures->n));
    set(out, "users", json_integer(r->users));
    set(out, "users_wanted", json_integer(c->users));
    set(out, "spawn_rate", json_real(c->spawn_rate));
    set(out, "seconds", json_real(r->seconds));
    set(out, "window_seconds", json_real(r->window_seconds));
    set(out, "requests", json_integer((json_int_t)r->n_sent));
    set(out, "ok", json_integer((json_int_t)r->n_ok));
    set(out, "failed", json_integer((json_int_t)r->n_failed));
    set(out, "success", json_real(share_ok(r)));
    set(out, "failures", failures_json(r));
    set(out, "first_failure", first_failure_json(r));
    set(out, "window_ok", json_integer((json_int_t)r->n_window));
    set(out, "images_per_second", json_real(rate(r)));
    set(out, "latency_ms", latency_json(&r->window));
    set(out, "latency_all_ms", latency_json(&r->all));
    set(out, "objects", json_integer((json_int_t)r->n_objects));
    set(out, "connections", json_integer((json_int_t)r->n_connects));
    set(out, "resent", json_integer((json_int_t)r->n_resent));
    set(out, "bytes_out", json_integer((json_int_t)r->bytes_out));
    set(out, "bytes_in", json_integer((json_int_t)r->bytes_in));
    set(out, "served_by", servers_json(r));
    set(out, "cpu_share", json_real(cpu_share(report)));
    set(out, "stopped", json_boolean(r->stopped));
    return out;
}

struct status report_write(const struct report *report, const char *path)
{
    json_t *out = report_json(report);
    char *text = json_dumps(out, JSON_REAL_PRECISION(9));
    char *line = xasprintf("%s\n", text ? text : "{}");
    bool to_file = strcmp(path, "-") != 0;
    FILE *f = to_file ? fopen(path, "we") : stdout; /* in place: it may be a pod's /dev/termination-log */
    struct status st = status_ok();

    if (!f || fputs(line, f) < 0 || fflush(f))
        st = status_errno("%s", to_file ? path : "standard output");
    if (to_file && f)
        fclose(f);
    free(line);
    free(text);
    json_decref(out);
    return st;
}
