/* main.c - bloginfer-detector: settings, models, server, probes; then waits for its end. */
#include "check.h"
#include "detect.h"
#include "metrics/metrics.h"
#include "nn/nn.h"
#include "oip.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct settings {
    char *models, *data, *home, *model, *serve, *engine, *precision, *resize, *admission, *log_level;
    int64_t networks, max_image_bytes, max_pixels, port, metrics_port;
    int64_t queue_bytes, queue_images, max_wait_ms, poll_ms;
    double threshold, nms;
    struct rpc_server_config rpc;
};

#define AT(member) offsetof(struct settings, member)
static const struct config_option options[] = {
    {"port", CONFIG_INT, AT(port), "50053", "port of the gRPC services; 0: any free one", 0, 65535, NULL},
    {"metrics-port", CONFIG_INT, AT(metrics_port), "9104", "port of /metrics, /healthz and /readyz", 0, 65535, NULL},
    {"models", CONFIG_STR, AT(models), "",
     "folders with .cfg, .weights and .names files, separated by colons; searched before DATA/models, "
     "HOME/data/models and those of Debian's darknet",
     0, 0, NULL},
    {"data", CONFIG_STR, AT(data), "", "a folder of own data (with a folder models)", 0, 0, NULL},
    {"home", CONFIG_STR, AT(home), "var", "the folder that ./bloginfer fetch fills", 0, 0, NULL},
    {"model", CONFIG_STR, AT(model), "yolov3-tiny", "the model of requests that name none: the name of its files", 0, 0,
     NULL},
    {"serve", CONFIG_STR, AT(serve), "",
     "further models, by name, separated by commas; all: every one in the folders with cfg and weights, at most 16", 0,
     0, NULL},
    {"poll-ms", CONFIG_INT, AT(poll_ms), "1000",
     "milliseconds between two looks at the models' files; SIGHUP looks at once", 10, 3600000, NULL},
    {"threshold", CONFIG_FLOAT, AT(threshold), "0", "lowest confidence reported; 0: each model's own", 0, 1, NULL},
    {"nms", CONFIG_FLOAT, AT(nms), "0.45", "of two boxes of a class that overlap more, the lesser is left out", 0.01, 1,
     NULL},
    {"engine", CONFIG_ENUM, AT(engine), "auto", "what computes the networks", 0, 0,
     "auto|fp32|bf16|int16|int8|openblas|darknet"},
    {"precision", CONFIG_ENUM, AT(precision), "auto", "what the engine that auto finds computes in", 0, 0,
     "auto|fp32|bf16|int16|int8"},
    {"resize", CONFIG_ENUM, AT(resize), "plain",
     "from a picture to a network's input: plain stretches both sides, letterbox keeps them in proportion as darknet's "
     "own "
     "program does, opencv is plain as cv2.dnn.blobFromImage() rounds it",
     0, 0, "plain|letterbox|opencv"},
    {"networks", CONFIG_INT, AT(networks), "0",
     "threads that compute, each with its own networks; 0: one for each CPU this process may use", 0,
     SERVED_MAX_WORKERS, NULL},
    {"admission", CONFIG_ENUM, AT(admission), "production",
     "production: refuses at once what would be through only after its deadline, and what is over the limits below; "
     "experiment: queues as much as fits into memory",
     0, 0, "production|experiment"},
    {"queue-images", CONFIG_INT, AT(queue_images), "256", "pictures that wait at most (production)", 1, 1000000, NULL},
    {"queue-bytes", CONFIG_INT, AT(queue_bytes), "0",
     "bytes of the calls that wait at most; 0: 64 MiB in production, by the memory limit in experiment", 0,
     (double)(1ull << 40), NULL},
    {"max-wait-ms", CONFIG_INT, AT(max_wait_ms), "10000",
     "deadline of calls that bring none or a later one (production)", 1, 3600000, NULL},
    {"max-image-bytes", CONFIG_INT, AT(max_image_bytes), "10485760", "largest image file", 1024, 1 << 28, NULL},
    {"max-pixels", CONFIG_INT, AT(max_pixels), "40000000", "most pixels in an image", 1024, 400000000, NULL},
    {"log-level", CONFIG_ENUM, AT(log_level), "info", "least important line to log", 0, 0, "debug|info|warn|error"},
};

#define OWN_PAGES (64 << 10)

/* What a change of the models is told to. */
struct program {
    struct detector *detector;
    pthread_mutex_t mu;        /* guards server, and that the latest state is told last */
    struct rpc_server *server; /* NULL: not up yet */
};

static void changed(void *program)
{
    struct program *p = program;

    pthread_mutex_lock(&p->mu);
    if (p->server) {
        bool serving = models_ready(detector_models(p->detector)).code == ST_OK;
        rpc_server_set_serving(p->server, DETECT_SERVICE, serving);
        rpc_server_set_serving(p->server, OIP_SERVICE, serving);
        rpc_server_set_serving(p->server, "", serving);
    }
    pthread_mutex_unlock(&p->mu);
}

static struct status ready(void *program)
{
    struct program *p = program;

    return models_ready(detector_models(p->detector));
}

static void hang_up(void *program)
{
    struct program *p = program;

    detector_reload(p->detector);
}

/* Blocks of OWN_PAGES and more are mapped one by one and go back to the system when they are freed: a picture that waits
 * then costs its own bytes, and the holes that requests leave between each other cost nothing. With rpc_init()'s thresholds
 * 200 waiting pictures of 164 KB took 70 to 100 MB and kept it; so they take 38 MB while they wait. A mapping costs some
 * 20 us of a picture's tens of milliseconds. */
static void return_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, OWN_PAGES);
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
}

static char *search_path(const struct settings *s)
{
    static const char debian[] = "/usr/share/darknet/cfg:/usr/share/darknet/data";

    return xasprintf("%s%s%s%s%s/data/models:%s", s->models, *s->models ? ":" : "", s->data, *s->data ? "/models:" : "",
                     s->home, debian);
}

static struct queue_config queue_settings(const struct settings *s)
{
    struct queue_config c = {
        .experiment = strcmp(s->admission, "experiment") == 0,
        .max_bytes = s->queue_bytes,
        .max_images = s->queue_images,
        .max_wait_ms = s->max_wait_ms,
        .stages = {(size_t)s->max_image_bytes, (uint64_t)s->max_pixels, RESIZE_PLAIN, (float)s->nms},
    };

    if (!c.experiment && !c.max_bytes)
        c.max_bytes = 64 << 20;
    resize_mode_parse(&c.stages.resize, s->resize);
    return c;
}

static void open_detector(struct program *p, const struct settings *s, const char *path)
{
    const struct detector_config config = {
        .models = {.model = s->model,
                   .others = s->serve,
                   .serve = {.path = path,
                             .engine = s->engine,
                             .precision = s->precision,
                             .n_workers = (size_t)(s->networks ? s->networks : cpus_allowed()),
                             .threshold = (float)s->threshold}},
        .queue = queue_settings(s),
        .poll_ms = s->poll_ms,
        .changed = changed,
        .ctx = p,
    };

    or_die(detector_open(&p->detector, &config));
}

static void serve(struct program *p, const struct settings *s)
{
    struct rpc_server *server;
    struct detect_service service;
    struct oip_service oip;
    struct metrics_port *probes;
    const struct metrics_config metrics = {s->rpc.listen, s->metrics_port, "bloginfer-detector", ready, p};

    or_die(rpc_server_new(&server, &s->rpc));
    or_die(detect_service_add(server, &service, p->detector, s->max_image_bytes));
    or_die(oip_service_add(server, &oip, p->detector, s->max_image_bytes));
    or_die(rpc_server_start(server));
    pthread_mutex_lock(&p->mu);
    p->server = server;
    pthread_mutex_unlock(&p->mu);
    changed(p);
    or_die(metrics_start(&probes, &metrics));
    lifecycle_on_hangup(hang_up, p);
    log_info("serving", log_i("port", rpc_server_port(server)), log_i("metrics_port", metrics_port_number(probes)));
    lifecycle_wait();
    oip_service_drain(&oip);
    metrics_drain(probes);
    detector_freeze(p->detector); /* a change would be told to the server */
    rpc_server_stop(server);
    metrics_stop(probes);
}

int main(int argc, char **argv)
{
    static const struct config_program about = {"bloginfer-detector", "finds objects in pictures", NULL};
    struct settings s = {0};
    struct program p = {.mu = PTHREAD_MUTEX_INITIALIZER};
    int exit_code;
    const struct config_part parts[] = {{options, COUNT_OF(options), &s},
                                        {rpc_server_options, rpc_server_n_options, &s.rpc}};

    if (check_main(argc, argv, &exit_code))
        return exit_code;
    nn_setup_blas(argv);
    or_die(config_load(&about, parts, COUNT_OF(parts), &argc, argv));
    or_die(log_init("detector", s.log_level));
    lifecycle_init();
    config_log(parts, COUNT_OF(parts));
    s.rpc.port = s.port;
    char *path = search_path(&s);
    open_detector(&p, &s, path); /* before rpc_init(): it forks, and there are no threads yet */
    rpc_init();
    return_memory();
    serve(&p, &s);
    detector_close(p.detector);
    rpc_fini();
    free(path);
    config_free(parts, COUNT_OF(parts));
    return 0;
}
