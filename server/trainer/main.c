/* bloginfer-trainer - the training daemon: takes requests to train, and is the only one who launches workers. */
#include "base/base.h"
#include "http/http.h"
#include "metrics/metrics.h"
#include "process_launcher.h"
#include "routes.h"
#include "rpc/rpc.h"
#include "supervisor.h"

struct settings {
    char *listen, *aggregator, *tls_ca, *tls_cert, *tls_key, *worker, *data, *log_dir, *log_level;
    int64_t port, metrics_port, threads, poll_interval_s, adopt_grace_s, stop_grace_s;
};

#define AT(member) offsetof(struct settings, member)
static const struct config_option options[] = {
    {"listen", CONFIG_STR, AT(listen), "127.0.0.1", "address to listen on"},
    {"port", CONFIG_INT, AT(port), "8000", "port of the HTTP routes, 0: any free one", 0, 65535},
    {"metrics-port", CONFIG_INT, AT(metrics_port), "9105", "port of /metrics, /healthz and /readyz", 0, 65535},
    {"threads", CONFIG_INT, AT(threads), "8", "HTTP requests at once", 1, 64},
    {"aggregator", CONFIG_STR, AT(aggregator), "127.0.0.1:50051", "the aggregator, HOST:PORT or dns:///HOST:PORT"},
    {"tls-ca", CONFIG_STR, AT(tls_ca), "", "PEM file of the authority of the aggregator's certificate: TLS on"},
    {"tls-cert", CONFIG_STR, AT(tls_cert), "", "PEM file of the own certificate, for mTLS"},
    {"tls-key", CONFIG_STR, AT(tls_key), "", "PEM file of its key"},
    {"worker", CONFIG_STR, AT(worker), "", "program of the workers; empty: bloginfer-worker beside this program"},
    {"data", CONFIG_STR, AT(data), "", "passed on to the workers as --data"},
    {"log-dir", CONFIG_STR, AT(log_dir), "", "folder of the workers' logs; empty: standard error"},
    {"train-poll-interval-seconds", CONFIG_INT, AT(poll_interval_s), "5", "time between looks at the aggregator's runs",
     1, 3600},
    {"adopt-grace-seconds", CONFIG_INT, AT(adopt_grace_s), "15",
     "how long workers that this trainer has not started may take to connect before they are started", 0, 3600},
    {"stop-grace-seconds", CONFIG_INT, AT(stop_grace_s), "10",
     "how long a worker may take to stop before it is made to", 0, 3600},
    {"log-level", CONFIG_ENUM, AT(log_level), "info", "least important line that is logged", 0, 0,
     "debug|info|warn|error"},
};

#define RESTART_BACKOFF_MS 1000

static struct aggregator *open_aggregator(const struct settings *settings)
{
    struct aggregator *aggregator;

    or_die(aggregator_open(&aggregator, &(struct rpc_client_config){.target = settings->aggregator,
                                                                    .tls_ca = settings->tls_ca,
                                                                    .tls_cert = settings->tls_cert,
                                                                    .tls_key = settings->tls_key,
                                                                    .max_message = 16 << 20}));
    return aggregator;
}

static struct launcher *open_launcher(const struct settings *settings)
{
    struct launcher *launcher;

    or_die(process_launcher_open(&launcher, &(struct process_launcher_config){.worker = settings->worker,
                                                                              .aggregator = settings->aggregator,
                                                                              .data = settings->data,
                                                                              .tls_ca = settings->tls_ca,
                                                                              .tls_cert = settings->tls_cert,
                                                                              .tls_key = settings->tls_key,
                                                                              .log_dir = settings->log_dir}));
    return launcher;
}

int main(int argc, char **argv)
{
    static const struct config_program program = {
        "bloginfer-trainer",
        "Takes requests to train (POST /train), starts the runs on the aggregator, launches and "
        "watches their workers.",
        NULL};
    struct settings settings = {0};
    const struct config_part parts[] = {{options, COUNT_OF(options), &settings}};
    struct http_server *http;
    struct metrics_port *metrics;

    or_die(config_load(&program, parts, COUNT_OF(parts), &argc, argv));
    or_die(log_init("trainer", settings.log_level));
    lifecycle_init();
    rpc_init();
    config_log(parts, COUNT_OF(parts));
    struct launcher *launcher = open_launcher(&settings);
    struct aggregator *aggregator = open_aggregator(&settings);
    struct supervisor *supervisor = supervisor_start(&(struct supervisor_config){
        .aggregator = aggregator,
        .poll_interval_ms = settings.poll_interval_s * 1000,
        .crew = {launcher, settings.adopt_grace_s * 1000, RESTART_BACKOFF_MS, settings.stop_grace_s * 1000}});
    struct routes_service service = {.aggregator = aggregator, .supervisor = supervisor};
    or_die(http_start(&http, &(struct http_config){.listen = settings.listen,
                                                   .port = settings.port,
                                                   .threads = settings.threads,
                                                   .timeout_ms = 30000,
                                                   .routes = routes,
                                                   .n_routes = routes_n,
                                                   .service = &service,
                                                   .arena_limit = 32 << 20,
                                                   .quiet = true,
                                                   .observer = metrics_observe_http}));
    /* Last: whoever waits for /healthz finds the rest listening. */
    or_die(metrics_start(
        &metrics,
        &(struct metrics_config){.listen = settings.listen, .port = settings.metrics_port, .program = "trainer"}));
    log_info("ready", log_i("port", http_port(http)), log_i("metrics_port", metrics_port_number(metrics)));
    lifecycle_wait();

    atomic_store(&service.draining, true);
    metrics_drain(metrics);
    http_stop(http);
    supervisor_stop(supervisor);
    metrics_stop(metrics);
    aggregator_close(aggregator);
    launcher->ops->close(launcher);
    rpc_fini();
    config_free(parts, COUNT_OF(parts));
    return 0;
}
