/* monitor.h - who of the backends is reachable: a thread asks every one once a second, so that probes are answered at
 * once whatever the backends do. Also in bloginfer_gateway_backend_up{backend}. Thread-safe. */
#ifndef GATEWAY_MONITOR_H
#define GATEWAY_MONITOR_H

#include "backend.h"

enum monitor_state {
    MONITOR_DOWN,        /* does not answer */
    MONITOR_NOT_SERVING, /* answers, and says that it cannot serve: no model yet, no weights, stopping */
    MONITOR_SERVING,
};

struct monitor_target {
    const struct backend *backend; /* its grpc.health.v1 ... */
    const char *http;              /* ... or the GET /healthz of "host:port" */
    const char *name;
};

struct monitor;

/* targets: borrowed for the monitor's life. All are down until they were asked once. */
struct monitor *monitor_start(const struct monitor_target *targets, size_t n);
void monitor_stop(struct monitor *m);

enum monitor_state monitor_state(struct monitor *m, const char *name);
const char *monitor_state_name(enum monitor_state state); /* "down", "not_serving", "serving" */

/* For readiness: OK while one of inference and detector is up. */
struct status monitor_ready(void *monitor);

#endif
