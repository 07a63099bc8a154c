/* main.c - bloginfer-inference: text classification over gRPC with the models that stand in production. Stateless;
 * any number of it reads one store. */
#include "base/base.h"
#include "batcher.h"
#include "builtin.h"
#include "classify.h"
#include "metrics/metrics.h"
#include "nn/nn.h"
#include "oip.h"
#include "rpc/rpc.h"
#include "served.h"

#include "bloginfer/v1/classify.pb-c.h"
#include "inference/grpc_service.pb-c.h"

#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>

struct settings {
    int64_t port, metrics_port, poll_ms;
    struct batcher_config batcher;
    char *store, *engine, *log_level;
    bool builtin;
};

static const struct config_option options[] = {
    {"port", CONFIG_INT, offsetof(struct settings, port), "50052", "port of the gRPC services; 0: any free one", 0,
     65535, NULL},
    {"metrics-port", CONFIG_INT, offsetof(struct settings, metrics_port), "9103",
     "port of /metrics, /healthz and /readyz; 0: any free one", 0, 65535, NULL},
    {"store", CONFIG_STR, offsetof(struct settings, store), "",
     "folder of the model store; empty: models under BLOGINFER_HOME (./var)", 0, 0, NULL},
    {"poll-ms", CONFIG_INT, offsetof(struct settings, poll_ms), "1000",
     "milliseconds between two looks at the store's pointers", 10, 3600000, NULL},
    {"engine", CONFIG_ENUM, offsetof(struct settings, engine), "auto",
     "arithmetic of the models: auto measures each one as it is loaded", 0, 0, "auto|fp32|int8"},
    {"builtin", CONFIG_BOOL, offsetof(struct settings, builtin), "true",
     "serve the built-in model, version 0, of a task that has nothing in production; --builtin=false: answer "
     "FAILED_PRECONDITION instead",
     0, 0, NULL},
    {"threads", CONFIG_INT, offsetof(struct settings, batcher.threads), "0",
     "threads that compute; 0: one for each CPU this process may use, at most 2, and of one CPU the thread that takes "
     "calls",
     0, 64, NULL},
    {"queue-texts", CONFIG_INT, offsetof(struct settings, batcher.queue_texts), "8192",
     "texts that wait for their turn at most; over it calls are refused", 256, 1 << 20, NULL},
    {"queue-bytes", CONFIG_INT, offsetof(struct settings, batcher.queue_bytes), "67108864",
     "bytes of the calls that wait at most", 1 << 20, (double)(1ull << 40), NULL},
    {"log-level", CONFIG_ENUM, offsetof(struct settings, log_level), "info", "least level that is logged", 0, 0,
     "debug|info|warn|error"},
};

/* The store's folder, to free(). */
static char *store_dir(const struct settings *set)
{
    const char *home = getenv("BLOGINFER_HOME");

    return set->store[0] ? xstrdup(set->store) : xasprintf("%s/models", home && home[0] ? home : "./var");
}

static void set_serving(struct rpc_server *server, bool yes)
{
    rpc_server_set_serving(server, "", yes);
    rpc_server_set_serving(server, CLASSIFY_SERVICE, yes);
    rpc_server_set_serving(server, OIP_SERVICE, yes);
}

static void serving(void *server)
{
    set_serving(server, true);
}

/* What this CPU was found to be good for, in the log and as a metric. */
static void show_cpu(void)
{
    log_info("cpu", log_s("blas", nn_blas_core()), log_s("kernels", nn_kernel_isa()));
    metric_set(metric_gauge("bloginfer_cpu_info", "Kernels in use, as labels; always 1.", "blas,kernels"), 1,
               nn_blas_core(), nn_kernel_isa());
}

int main(int argc, char **argv)
{
    struct settings set = {0};
    struct rpc_server_config rpc = {0};
    const struct config_part parts[] = {{options, COUNT_OF(options), &set},
                                        {rpc_server_options, rpc_server_n_options, &rpc}};
    const struct config_program program = {"bloginfer-inference", "text classification over gRPC", NULL};
    struct rpc_server *server;
    struct metrics_port *metrics;
    struct served *served;
    struct batcher *batcher;
    struct classify classify;
    struct oip oip;

    nn_setup_blas(argv);
    or_die(config_load(&program, parts, COUNT_OF(parts), &argc, argv));
    or_die(log_init("inference", set.log_level));
    rpc.port = set.port;
    lifecycle_init();
    rpc_init();
    mallopt(M_MMAP_THRESHOLD, 1 << 20); /* the blocks of a model go back to the system with it; calls need none of */
    mallopt(M_TRIM_THRESHOLD, 1 << 20); /* that size */
    config_log(parts, COUNT_OF(parts));
    show_cpu();

    batcher_start(&batcher, &set.batcher);
    if (!set.batcher.threads && cpus_allowed() == 1)
        rpc.work = (struct rpc_work){batcher_due, batcher_run, batcher};
    or_die(rpc_server_new(&server, &rpc));
    or_die(rpc_server_add(server, &bloginfer__v1__classify_service__descriptor, classify_methods, classify_n_methods,
                          &classify));
    or_die(rpc_server_add(server, &inference__grpcinference_service__descriptor, oip_methods, oip_n_methods, &oip));
    set_serving(server, false);
    char *dir = store_dir(&set);
    struct served_builtin builtin[BUILTIN_MODELS];
    builtin_models(builtin);
    struct served_config serve = {.dir = dir,
                                  .poll_ms = set.poll_ms,
                                  .first = serving,
                                  .ctx = server,
                                  .builtin = builtin,
                                  .n_builtin = set.builtin ? BUILTIN_MODELS : 0};
    or_die(engine_kind_parse(set.engine, &serve.engine));
    served_start(&served, &serve);
    classify_init(&classify, served, batcher);
    oip_init(&oip, served, batcher);
    or_die(rpc_server_start(server));
    const struct metrics_config admin = {rpc.listen, set.metrics_port, "bloginfer-inference", served_ready, served};
    or_die(metrics_start(&metrics, &admin));
    log_info("started", log_i("port", rpc_server_port(server)), log_i("metrics_port", metrics_port_number(metrics)),
             log_s("store", dir));

    lifecycle_wait();
    oip_drain(&oip);
    metrics_drain(metrics);
    served_freeze(served); /* a first model would be told to the server */
    rpc_server_stop(server);
    metrics_stop(metrics); /* it asks served_ready() */
    batcher_stop(batcher); /* its last jobs hold models */
    served_stop(served);
    rpc_fini();
    free(dir);
    config_free(parts, COUNT_OF(parts));
    return 0;
}
