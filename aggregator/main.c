/* bloginfer-aggregator: runs federated training and keeps the registry of models. */
#include "federation.h"
#include "registry.h"
#include "runs.h"

#include "bloginfer/v1/registry.pb-c.h"
#include "metrics/metrics.h"
#include "nn/nn.h"

#include <stdlib.h>

struct settings {
    char *state, *store;
    int64_t port, metrics_port, keep_versions, join_timeout_s, heartbeat_ms;
    char *log_level;
    struct rpc_server_config rpc;
};

static const struct config_option options[] = {
    {"port", CONFIG_INT, offsetof(struct settings, port), "50051", "port of the gRPC services", 0, 65535},
    {"metrics-port", CONFIG_INT, offsetof(struct settings, metrics_port), "9102",
     "port of /metrics, /healthz and /readyz", 0, 65535},
    {"state", CONFIG_STR, offsetof(struct settings, state), "var/state", "folder of the runs and their checkpoints"},
    {"store", CONFIG_STR, offsetof(struct settings, store), "var/models", "folder of the published models"},
    {"keep-versions", CONFIG_INT, offsetof(struct settings, keep_versions), "20",
     "versions of a task that stay in the store; 0: all", 0, 100000},
    {"join-timeout-s", CONFIG_INT, offsetof(struct settings, join_timeout_s), "120",
     "seconds that a run waits for workers to come, or to come back", 1, 86400},
    {"heartbeat-ms", CONFIG_INT, offsetof(struct settings, heartbeat_ms), "2000",
     "workers are asked to speak this often; three silent ones and their place is free", 100, 600000},
    {"log-level", CONFIG_ENUM, offsetof(struct settings, log_level), "info", "least level logged",
     .words = "debug|info|warn|error"},
};

static const struct config_program program = {
    .name = "bloginfer-aggregator",
    .synopsis = "Runs federated training: averages the workers' updates, publishes models, serves their registry.",
};

int main(int argc, char **argv)
{
    struct settings s = {0};
    const struct config_part parts[] = {{options, COUNT_OF(options), &s},
                                        {rpc_server_options, rpc_server_n_options, &s.rpc}};
    struct registry *registry;
    struct runs *runs;
    struct rpc_server *server;
    struct metrics_port *metrics;

    nn_setup_blas(argv);
    lifecycle_init();
    or_die(config_load(&program, parts, COUNT_OF(parts), &argc, argv));
    or_die(log_init("aggregator", s.log_level));
    config_log(parts, COUNT_OF(parts));
    s.rpc.port = s.port;
    rpc_init();
    or_die(registry_open(&registry, s.store, (uint64_t)s.keep_versions));
    or_die(runs_open(&runs, &(struct runs_config){.state_dir = s.state,
                                                  .registry = registry,
                                                  .join_timeout_ms = (uint32_t)s.join_timeout_s * 1000,
                                                  .heartbeat_ms = (uint32_t)s.heartbeat_ms}));
    or_die(rpc_server_new(&server, &s.rpc));
    or_die(federation_add(server, runs));
    or_die(rpc_server_add(server, &bloginfer__v1__model_registry_service__descriptor, registry_methods,
                          registry_n_methods, registry));
    or_die(rpc_server_start(server));
    or_die(metrics_start(
        &metrics, &(struct metrics_config){.listen = s.rpc.listen, .port = s.metrics_port, .program = program.name}));
    log_info("serving", log_i("port", rpc_server_port(server)), log_i("metrics_port", metrics_port_number(metrics)));

    lifecycle_wait();
    metrics_drain(metrics);
    rpc_server_stop(server);
    runs_close(runs);
    registry_close(registry);
    metrics_stop(metrics);
    rpc_fini();
    config_free(parts, COUNT_OF(parts));
    return EXIT_SUCCESS;
}
