/* port.c - the small HTTP port of every service: /metrics, /healthz, /readyz. It has threads of its own, so that
 * probes are answered while the service is busy. */
#include "http/http.h"
#include "metrics/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_MAX ((size_t)16 << 20)

struct metrics_port {
    struct metrics_config config;
    struct http_server *http;
    atomic_bool draining;
};

static struct status show_metrics(struct http_call *call)
{
    struct buf page = BUF_INIT(PAGE_MAX);

    metrics_render(&page);
    http_reply(call, 200, "text/plain; version=0.0.4; charset=utf-8", page.data, page.size);
    buf_fini(&page);
    return status_ok();
}

static struct status show_health(struct http_call *call)
{
    http_reply(call, 200, "text/plain; charset=utf-8", "ok\n", 3);
    return status_ok();
}

static struct status show_ready(struct http_call *call)
{
    struct metrics_port *p = http_service(call);
    struct status st = status_ok();

    if (atomic_load(&p->draining))
        st = status_errorf(ST_UNAVAILABLE, "stopping");
    else if (p->config.ready)
        st = p->config.ready(p->config.ready_ctx);
    if (st.code) {
        http_reply_error(call, 503, st.msg, code_name(st.code));
        return status_ok();
    }
    return show_health(call);
}

static const struct http_route routes[] = {
    {"GET", "/metrics", show_metrics, 0},
    {"GET", "/healthz", show_health, 0},
    {"GET", "/readyz", show_ready, 0},
};

struct status metrics_start(struct metrics_port **out, const struct metrics_config *config)
{
    struct metrics_port *p = xcalloc(1, sizeof *p);
    struct http_config http = {
        .listen = config->listen,
        .port = config->port,
        .threads = 2,
        .connections = 16,
        .routes = routes,
        .n_routes = COUNT_OF(routes),
        .service = p,
        .quiet = true,
    };
    struct status st;

    p->config = *config;
    st = http_start(&p->http, &http);
    if (st.code) {
        free(p);
        return status_prefix(st, "metrics");
    }
    metric_set(metric_gauge("bloginfer_build_info", "The program and its version; always 1.", "program,version"), 1,
               config->program, BLOGINFER_VERSION);
    *out = p;
    return st;
}

int metrics_port_number(const struct metrics_port *p)
{
    return http_port(p->http);
}

void metrics_drain(struct metrics_port *p)
{
    atomic_store(&p->draining, true);
}

void metrics_stop(struct metrics_port *p)
{
    if (!p)
        return;
    http_stop(p->http);
    free(p);
}

static struct metric *requests, *durations;

static void make_http_metrics(void)
{
    requests = metric_counter("bloginfer_http_requests_total", "HTTP requests answered.", "method,route,code");
    durations = metric_histogram("bloginfer_http_request_duration_seconds",
                                 "Time from the headers of a request to the end of its answer.", "route", NULL, 0);
}

void metrics_observe_http(void *ctx, const char *method, const char *route, int http_code, double seconds)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char code[16];

    (void)ctx;
    pthread_once(&once, make_http_metrics);
    snprintf(code, sizeof code, "%d", http_code);
    metric_add(requests, 1, method, route, code);
    metric_observe(durations, seconds, route);
}
