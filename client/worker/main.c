/* bloginfer-worker: trains on its own shard for one run, then ends. Started by the trainer, as a process or a pod. */
#include "worker.h"

#include "nn/nn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FOLDERS 16

struct settings {
    char *aggregator, *run, *shard, *data;
    char *tls_ca, *tls_cert, *tls_key;
    int64_t patience_s;
    char *log_level;
};

static const struct config_option options[] = {
    {"aggregator", CONFIG_STR, offsetof(struct settings, aggregator), "127.0.0.1:50051", "the aggregator's HOST:PORT"},
    {"run", CONFIG_STR, offsetof(struct settings, run), NULL, "the run to take part in"},
    {"shard", CONFIG_STR, offsetof(struct settings, shard), "0/1", "the own shard, INDEX/COUNT, from 0"},
    {"data", CONFIG_STR, offsetof(struct settings, data), "var/data",
     "folders with training data, separated by colons; the first that has a source counts, the built-in sample where "
     "none has"},
    {"patience-s", CONFIG_INT, offsetof(struct settings, patience_s), "120",
     "seconds without the aggregator before giving up", 1, 86400},
    {"tls-ca", CONFIG_STR, offsetof(struct settings, tls_ca), "", "PEM file: TLS to the aggregator"},
    {"tls-cert", CONFIG_STR, offsetof(struct settings, tls_cert), "", "PEM file: this worker's certificate"},
    {"tls-key", CONFIG_STR, offsetof(struct settings, tls_key), "", "PEM file: its key"},
    {"log-level", CONFIG_ENUM, offsetof(struct settings, log_level), "info", "least level logged",
     .words = "debug|info|warn|error"},
};

static const struct config_program program = {
    .name = "bloginfer-worker",
    .synopsis = "Takes part in one run of federated training with its own shard of the rows, which never leave it.",
};

static struct status parse_shard(const char *text, struct worker_config *config)
{
    unsigned index, count;
    char rest;

    /* sscanf alone would take signs and blanks */
    if (strspn(text, "0123456789/") != strlen(text) || sscanf(text, "%5u/%5u%c", &index, &count, &rest) != 2 ||
        !count || index >= count)
        return status_errorf(ST_INVALID, "--shard \"%s\": must be INDEX/COUNT with INDEX below COUNT, such as 0/3",
                             text);
    config->shard_index = index;
    config->shard_count = count;
    return status_ok();
}

/* Cuts the list at its colons, in place. */
static struct status split_folders(char *list, const char **folders, size_t *n)
{
    for (char *folder; (folder = strsep(&list, ":"));) {
        if (!*folder)
            continue;
        if (*n == MAX_FOLDERS)
            return status_errorf(ST_INVALID, "--data: more than %d folders", MAX_FOLDERS);
        folders[(*n)++] = folder;
    }
    return status_ok();
}

int main(int argc, char **argv)
{
    struct settings s = {0};
    const struct config_part part = {options, COUNT_OF(options), &s};
    const char *folders[MAX_FOLDERS];
    struct worker_config config = {.folders = folders};
    struct rpc_client *client;

    nn_setup_blas(argv);
    lifecycle_init();
    or_die(config_load(&program, &part, 1, &argc, argv));
    or_die(log_init("worker", s.log_level));
    or_die(parse_shard(s.shard, &config));
    config_log(&part, 1);
    or_die(split_folders(s.data, folders, &config.n_folders));
    log_info("kernels", log_s("blas", nn_blas_core()), log_s("isa", nn_kernel_isa()));
    rpc_init();
    or_die(rpc_client_new(
        &client, &(struct rpc_client_config){
                     .target = s.aggregator, .tls_ca = s.tls_ca, .tls_cert = s.tls_cert, .tls_key = s.tls_key}));
    config.client = client;
    config.run_id = s.run;
    config.patience_ms = s.patience_s * 1000;
    struct worker *worker = worker_start(&config);

    lifecycle_wait();
    struct status st = worker_stop(worker);
    if (st.code)
        log_error("worker_failed", log_s("run", s.run), log_s("error", st.msg));
    rpc_client_free(client);
    rpc_fini();
    config_free(&part, 1);
    return st.code ? EXIT_FAILURE : EXIT_SUCCESS;
}
