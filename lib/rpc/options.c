/* options.c - the settings that every server has. */
#include "rpc/rpc.h"

#define AT(member) offsetof(struct rpc_server_config, member)

const struct config_option rpc_server_options[] = {
    {"listen", CONFIG_STR, AT(listen), "127.0.0.1", "addresses to listen on, separated by commas", 0, 0, NULL},
    {"workers", CONFIG_INT, AT(workers), "0", "threads for calls; 0: one for each CPU, at least 2", 0, 1024, NULL},
    {"queue", CONFIG_INT, AT(queue), "256", "calls that may wait for a thread", 1, 1000000, NULL},
    {"tls-cert", CONFIG_STR, AT(tls_cert), "", "PEM file: certificate chain; turns TLS on", 0, 0, NULL},
    {"tls-key", CONFIG_STR, AT(tls_key), "", "PEM file: its private key", 0, 0, NULL},
    {"tls-ca", CONFIG_STR, AT(tls_ca), "", "PEM file: clients must show a certificate signed by it", 0, 0, NULL},
    {"max-connection-age-s", CONFIG_INT, AT(max_connection_age_s), "0",
     "seconds until a connection is asked to move on, so that new replicas get calls; 0: never", 0, 1000000, NULL},
    {"drain-wait-ms", CONFIG_INT, AT(drain_wait_ms), "0", "at the stop: still takes new calls that long", 0, 600000,
     NULL},
    {"drain-ms", CONFIG_INT, AT(drain_ms), "10000", "at the stop: lets running calls finish that long", 0, 600000,
     NULL},
};
const size_t rpc_server_n_options = COUNT_OF(rpc_server_options);
