/* main.c - bloginfer-gateway: REST and the pages, in front of the gRPC services. */
#include "gateway.h"
#include "metrics/metrics.h"

#include <assert.h>
#include <curl/curl.h>
#include <stddef.h>
#include <string.h>

#define MAX_ROUTES 128

#define BYTES_OF_CONNECTION ((int64_t)64 << 10) /* its thread's and the kernel's */

struct settings {
    char *listen, *inference, *detector, *aggregator, *trainer, *tls_ca, *tls_cert, *tls_key, *admission, *log_level;
    char *admin_token;
    int64_t port, metrics_port, threads, connections, streams, beat_ms, deadline_ms, max_image_bytes, max_bodies_mb,
        drain_wait_ms;
    bool model_control;
};

#define AT(member) offsetof(struct settings, member)
static const struct config_option options[] = {
    {"listen", CONFIG_STR, AT(listen), "127.0.0.1", "IPv4 address to listen on"},
    {"port", CONFIG_INT, AT(port), "8080", "port of the REST API and the pages; 0: any free one", 0, 65535},
    {"metrics-port", CONFIG_INT, AT(metrics_port), "9101", "port of /metrics, /healthz and /readyz", 0, 65535},
    {"inference", CONFIG_STR, AT(inference), "127.0.0.1:50052", "gRPC target of the text inference"},
    {"detector", CONFIG_STR, AT(detector), "127.0.0.1:50053", "gRPC target of the detector"},
    {"aggregator", CONFIG_STR, AT(aggregator), "127.0.0.1:50051", "gRPC target of the aggregator"},
    {"trainer", CONFIG_STR, AT(trainer), "127.0.0.1:8000", "HOST:PORT or URL of the trainer"},
    {"admission", CONFIG_ENUM, AT(admission), "production",
     "production: refuses at once what is over the limits below or would wait past its deadline; experiment: refuses "
     "nothing, and reads bodies as memory allows",
     .words = "production|experiment"},
    {"threads", CONFIG_INT, AT(threads), "64", "requests that are worked on at once (production)", 1, 1024},
    {"connections", CONFIG_INT, AT(connections), "0",
     "connections that are open at once, a thread each; 0: 128, and 2100 in experiment", 0, 16384},
    {"streams", CONFIG_INT, AT(streams), "32",
     "of these, streams of runs' events that are open at once; at most half of them", 1, 8192},
    {"heartbeat-ms", CONFIG_INT, AT(beat_ms), "15000",
     "silence in such a stream before a comment is sent, so that proxies keep the connection", 100, 600000},
    {"deadline-ms", CONFIG_INT, AT(deadline_ms), "0",
     "time for a request, backends included; 0: 10 s, and 10 minutes in experiment", 0, 600000},
    {"max-image-bytes", CONFIG_INT, AT(max_image_bytes), "10485760", "largest picture, decoded", 1024, 67108864},
    {"max-bodies-mb", CONFIG_INT, AT(max_bodies_mb), "0",
     "MiB of all bodies in memory at once, over it 503; 0: 64. In experiment the others wait unread; 0: half of what "
     "the "
     "memory limit leaves",
     0, 65536},
    {"model-control", CONFIG_BOOL, AT(model_control), "false",
     "callers may load and unload models below /v2/repository"},
    {"admin-token", CONFIG_SECRET, AT(admin_token), "",
     "whoever sends it as Authorization: Bearer may change models and start runs; at least 16 characters; empty: "
     "nobody"},
    {"drain-wait-ms", CONFIG_INT, AT(drain_wait_ms), "0", "how long to serve on after readiness went off", 0, 60000},
    {"tls-ca", CONFIG_STR, AT(tls_ca), "", "PEM file: TLS to the backends, which its authority signed"},
    {"tls-cert", CONFIG_STR, AT(tls_cert), "", "PEM file: our certificate for the backends"},
    {"tls-key", CONFIG_STR, AT(tls_key), "", "PEM file: its key"},
    {"log-level", CONFIG_ENUM, AT(log_level), "info", "least level that is logged", .words = "debug|info|warn|error"},
};

static struct status connect_backend(struct backend *b, const struct settings *s, const char *name, const char *target,
                                     const char *service)
{
    struct rpc_client_config config = {
        .target = target,
        .tls_ca = s->tls_ca,
        .tls_cert = s->tls_cert,
        .tls_key = s->tls_key,
        .max_message = (size_t)16 << 20,
    };

    *b = (struct backend){.name = name, .target = target, .service = service};
    return status_prefix(rpc_client_new(&b->client, &config), "%s", name);
}

static const struct http_route own_routes[] = {
    {"POST", "/predict", predict_post, PREDICT_MAX_BODY, .light = true},
    {"POST", "/{model}/predict", predict_model_post, PREDICT_MAX_BODY, .light = true},
    {"POST", "/explain", explain_post, PREDICT_MAX_BODY, .light = true},
    {"POST", "/api/object_detection", detect_post, 0, .light = true},
    {"GET", "/api/detectors", detectors_get, 0, .light = true},
    {"GET", "/api/status", status_show, 0, .light = true},
    {"GET", "/healthz", status_healthz, 0, .light = true},
    {"GET", "/readyz", status_readyz, 0, .light = true},
    {"GET", "/", pages_get, 0, .light = true},
    {"GET", "/docs", pages_get, 0, .light = true},
    {"GET", "/openapi.json", pages_get, 0, .light = true},
    {"GET", "/static/{name}", pages_get, 0, .light = true},
};

static void add_routes(struct http_route *all, size_t *n, const struct http_route *routes, size_t n_routes)
{
    assert(*n + n_routes <= MAX_ROUTES);
    memcpy(all + *n, routes, n_routes * sizeof *all);
    *n += n_routes;
}

/* Ours, those of models/ and of /v2, with the size of a picture as it is configured. */
static const struct http_route *routes_all(size_t max_picture, size_t *n)
{
    static struct http_route all[MAX_ROUTES];

    *n = 0;
    add_routes(all, n, own_routes, COUNT_OF(own_routes));
    add_routes(all, n, models_routes, models_n_routes);
    add_routes(all, n, v2_routes, v2_n_routes);
    for (size_t i = 0; i < *n; i++)
        if (all[i].handler == detect_post)
            all[i].max_body = max_picture;
    return all;
}

/* Half, because a body is for a moment there twice, as it came and as it goes on. */
static size_t experiment_bodies(const struct settings *s)
{
    int64_t left = memory_limit() - memory_used() - s->connections * BYTES_OF_CONNECTION;

    return left > 0 ? (size_t)left / 2 : 0;
}

static void apply_admission(struct settings *s, struct http_config *config)
{
    bool experiment = !strcmp(s->admission, "experiment");

    s->connections = s->connections ? s->connections : experiment ? 2100 : 128;
    s->connections = s->connections < 4 ? 4 : s->connections;
    s->deadline_ms = s->deadline_ms ? s->deadline_ms : experiment ? 600000 : 10000;
    config->connections = s->connections;
    config->streams = s->streams;
    config->threads = experiment ? s->connections : s->threads;
    config->max_wait_ms = experiment ? 0 : s->deadline_ms;
    config->body_wait_ms = experiment ? s->deadline_ms : 0;
    config->max_bodies = (size_t)s->max_bodies_mb << 20;
    if (!config->max_bodies)
        config->max_bodies = experiment ? experiment_bodies(s) : (size_t)64 << 20;
}

static struct status start_http(struct http_server **out, const struct settings *s, struct http_config *config)
{
    size_t largest = detect_max_body(s->max_image_bytes);

    config->listen = s->listen;
    config->port = s->port;
    config->arena_limit = (size_t)s->max_image_bytes + ((size_t)8 << 20);
    config->observer = metrics_observe_http;
    config->plain_errors = "/v2";
    if (config->max_bodies < largest)
        config->max_bodies = largest;
    config->routes = routes_all(largest, &config->n_routes);
    log_info("gateway_admission", log_s("profile", s->admission), log_i("connections", s->connections),
             log_i("deadline_ms", s->deadline_ms), log_i("max_bodies_mb", (int64_t)(config->max_bodies >> 20)));
    return http_start(out, config);
}

int main(int argc, char **argv)
{
    static const struct config_program program = {"bloginfer-gateway", "REST API and web pages of bloginfer", NULL};
    struct settings s = {0};
    struct config_part part = {options, COUNT_OF(options), &s};
    struct gateway g = {0};
    struct http_config web = {.service = &g};
    struct http_server *http;
    struct metrics_port *metrics;

    lifecycle_init();
    or_die(config_load(&program, &part, 1, &argc, argv));
    or_die(log_init("gateway", s.log_level));
    config_log(&part, 1);
    rpc_init();
    curl_global_init(CURL_GLOBAL_DEFAULT);
    apply_admission(&s, &web);
    or_die(admin_token_set(&g.admin_token, s.admin_token));
    g.trainer = s.trainer;
    g.deadline_ms = s.deadline_ms;
    g.beat_ms = s.beat_ms;
    g.max_image_bytes = s.max_image_bytes;
    g.model_control = s.model_control;
    or_die(connect_backend(&g.inference, &s, "inference", s.inference, "bloginfer.v1.ClassifyService"));
    or_die(connect_backend(&g.detector, &s, "detector", s.detector, "bloginfer.v1.DetectService"));
    g.detector.insistent = !strcmp(s.admission, "experiment");
    or_die(connect_backend(&g.aggregator, &s, "aggregator", s.aggregator, "bloginfer.v1.ModelRegistryService"));
    const struct monitor_target targets[] = {
        {&g.inference, NULL, "inference"},
        {&g.detector, NULL, "detector"},
        {&g.aggregator, NULL, "aggregator"},
        {NULL, s.trainer, "trainer"},
    };
    g.monitor = monitor_start(targets, COUNT_OF(targets));
    const struct metrics_config metrics_config = {s.listen, s.metrics_port, "gateway", monitor_ready, g.monitor};
    or_die(start_http(&http, &s, &web));
    or_die(metrics_start(&metrics, &metrics_config)); /* last: whose /healthz answers takes requests */

    lifecycle_wait();
    atomic_store(&g.draining, true);
    metrics_drain(metrics);
    http_drain(http);
    clock_sleep_ms(s.drain_wait_ms);
    http_stop(http);
    metrics_stop(metrics); /* it asks the monitor */
    monitor_stop(g.monitor);
    rpc_client_free(g.aggregator.client);
    rpc_client_free(g.detector.client);
    rpc_client_free(g.inference.client);
    curl_global_cleanup();
    rpc_fini();
    config_free(&part, 1);
    return 0;
}
