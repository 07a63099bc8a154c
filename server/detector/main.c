/* main.c - bloginfer-detector: settings, model, server, probes; then waits for its end. */
#include "detect.h"
#include "metrics/metrics.h"
#include "nn/nn.h"

#include <stdlib.h>

struct settings {
    char *models, *data, *home, *model, *engine, *log_level;
    int64_t networks, max_image_bytes, max_pixels, port, metrics_port;
    double threshold;
    struct rpc_server_config rpc;
};

#define AT(member) offsetof(struct settings, member)
static const struct config_option options[] = {
    {"port", CONFIG_INT, AT(port), "50053", "port of the gRPC service; 0: any free one", 0, 65535, NULL},
    {"metrics-port", CONFIG_INT, AT(metrics_port), "9104", "port of /metrics, /healthz and /readyz", 0, 65535, NULL},
    {"models", CONFIG_STR, AT(models), "",
     "folders with .cfg, .weights and .names files, separated by colons; searched before DATA/models, "
     "HOME/data/models and those of Debian's darknet",
     0, 0, NULL},
    {"data", CONFIG_STR, AT(data), "", "a folder of own data (with a folder models)", 0, 0, NULL},
    {"home", CONFIG_STR, AT(home), "var", "the folder that ./bloginfer fetch fills", 0, 0, NULL},
    {"model", CONFIG_STR, AT(model), "yolov3-tiny", "name of the model's files", 0, 0, NULL},
    {"threshold", CONFIG_FLOAT, AT(threshold), "0", "lowest confidence reported; 0: the model's own", 0, 1, NULL},
    {"engine", CONFIG_ENUM, AT(engine), "auto", "what computes the network", 0, 0, "auto|fp32|openblas|darknet"},
    {"networks", CONFIG_INT, AT(networks), "0", "pictures at once; 0: one for each worker thread", 0, 64, NULL},
    {"max-image-bytes", CONFIG_INT, AT(max_image_bytes), "10485760", "largest image file", 1024, 1 << 28, NULL},
    {"max-pixels", CONFIG_INT, AT(max_pixels), "40000000", "most pixels in an image", 1024, 400000000, NULL},
    {"log-level", CONFIG_ENUM, AT(log_level), "info", "least important line to log", 0, 0, "debug|info|warn|error"},
};

static struct status ready(void *ctx)
{
    return detector_ready(ctx);
}

static char *search_path(const struct settings *s)
{
    static const char debian[] = "/usr/share/darknet/cfg:/usr/share/darknet/data";

    return xasprintf("%s%s%s%s%s/data/models:%s", s->models, *s->models ? ":" : "", s->data, *s->data ? "/models:" : "",
                     s->home, debian);
}

static struct detector *open_detector(struct settings *s)
{
    char *path = search_path(s);
    struct detector *d;
    struct detector_config config = {
        .model = s->model,
        .path = path,
        .engine = s->engine,
        .n_engines = s->networks,
        .threshold = s->threshold,
        .max_image_bytes = s->max_image_bytes,
        .max_pixels = s->max_pixels,
    };

    or_die(detector_open(&d, &config));
    free(path);
    return d;
}

static void serve(const struct settings *s, struct detector *d)
{
    struct rpc_server *server;
    struct detect_service service;
    struct metrics_port *probes;
    const struct metrics_config metrics = {s->rpc.listen, s->metrics_port, "bloginfer-detector", ready, d};

    or_die(rpc_server_new(&server, &s->rpc));
    or_die(detect_service_add(server, &service, d, s->max_image_bytes));
    or_die(rpc_server_start(server));
    detect_service_show(server, &service);
    or_die(metrics_start(&probes, &metrics));
    log_info("serving", log_i("port", rpc_server_port(server)), log_i("metrics_port", metrics_port_number(probes)));
    lifecycle_wait();
    metrics_drain(probes);
    rpc_server_stop(server);
    metrics_stop(probes);
}

int main(int argc, char **argv)
{
    static const struct config_program program = {"bloginfer-detector", "finds objects in pictures", NULL};
    struct settings s = {0};
    const struct config_part parts[] = {{options, COUNT_OF(options), &s},
                                        {rpc_server_options, rpc_server_n_options, &s.rpc}};

    nn_setup_blas(argv);
    or_die(config_load(&program, parts, COUNT_OF(parts), &argc, argv));
    or_die(log_init("detector", s.log_level));
    lifecycle_init();
    config_log(parts, COUNT_OF(parts));
    s.rpc.port = s.port;
    if (s.rpc.workers == 0)
        s.rpc.workers = s.networks ? s.networks : 2;
    if (s.networks == 0)
        s.networks = s.rpc.workers < 64 ? s.rpc.workers : 64;
    struct detector *d = open_detector(&s); /* before rpc_init(): it forks, and there are no threads yet */
    rpc_init();
    serve(&s, d);
    rpc_fini();
    detector_close(d);
    config_free(parts, COUNT_OF(parts));
    return 0;
}
