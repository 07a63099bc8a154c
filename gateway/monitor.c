/* monitor.c - see monitor.h. */
#include "monitor.h"

#include "grpc/health/v1/health.pb-c.h"
#include "metrics/metrics.h"

#include <netdb.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PERIOD_MS   1000
#define TIMEOUT_MS  1000
#define MAX_TARGETS 8

struct monitor {
    const struct monitor_target *targets;
    size_t n;
    _Atomic enum monitor_state states[MAX_TARGETS];
    struct metric *up;
    pthread_t thread;
    pthread_mutex_t mu; /* guards stopping */
    pthread_cond_t wake;
    bool stopping;
};

static enum monitor_state ask_grpc(const struct backend *b)
{
    Grpc__Health__V1__HealthCheckRequest req = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    const Grpc__Health__V1__HealthCheckResponse *rep;
    struct rpc_options options = {.timeout_ms = TIMEOUT_MS};
    enum monitor_state state = MONITOR_DOWN;
    struct arena arena;
    const void *out;

    arena_init(&arena, 4096);
    options.arena = &arena;
    req.service = (char *)b->service;
    struct status st = rpc_unary(b->client, &grpc__health__v1__health__descriptor, "Check", &req, &out, &options);
    if (!st.code) {
        rep = out;
        state = rep->status == GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING ? MONITOR_SERVING
                                                                                                : MONITOR_NOT_SERVING;
    } else if (st.code == ST_NOT_FOUND || st.code == ST_UNIMPLEMENTED || st.code == ST_EXHAUSTED) {
        state = MONITOR_NOT_SERVING;
    }
    arena_fini(&arena);
    return state;
}

static bool wait_for(int fd, short events, int64_t until)
{
    struct pollfd p = {fd, events, 0};
    int64_t left = (until - clock_now()) / CLOCK_MS;

    return left > 0 && poll(&p, 1, (int)left) == 1;
}

/* A request and the first line of its answer, on a connected or connecting socket. */
static bool healthz_ok(int fd, const char *host, int64_t until)
{
    char line[256];
    int error = 0, n;
    socklen_t size = sizeof error;

    if (!wait_for(fd, POLLOUT, until) || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) || error)
        return false;
    n = snprintf(line, sizeof line, "GET /healthz HTTP/1.1\r\nHost: %.128s\r\nConnection: close\r\n\r\n", host);
    if (send(fd, line, (size_t)n, MSG_NOSIGNAL) != n || !wait_for(fd, POLLIN, until))
        return false;
    return recv(fd, line, sizeof line, 0) >= 12 && !memcmp(line, "HTTP/1.1 200", 12);
}

static enum monitor_state ask_http(const char *target)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all = NULL;
    int64_t until = clock_after_ms(TIMEOUT_MS);
    const char *colon = strrchr(target, ':');
    enum monitor_state state = MONITOR_DOWN;
    char host[256];

    snprintf(host, sizeof host, "%.*s", colon ? (int)(colon - target) : 0, target);
    if (!colon || getaddrinfo(host, colon + 1, &hints, &all))
        return MONITOR_DOWN;
    int fd = socket(all->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        (void)!connect(fd, all->ai_addr, all->ai_addrlen); /* its outcome is in SO_ERROR */
        if (healthz_ok(fd, target, until))
            state = MONITOR_SERVING;
        close(fd);
    }
    freeaddrinfo(all);
    return state;
}

static void ask_all(struct monitor *m)
{
    for (size_t i = 0; i < m->n; i++) {
        const struct monitor_target *t = &m->targets[i];
        enum monitor_state was = atomic_load(&m->states[i]);
        enum monitor_state is = t->backend ? ask_grpc(t->backend) : ask_http(t->http);

        atomic_store(&m->states[i], is);
        metric_set(m->up, is != MONITOR_DOWN, t->name);
        if (is != was)
            log_info("backend_state", log_s("backend", t->name), log_s("state", monitor_state_name(is)));
    }
}

static void *monitor_thread(void *arg)
{
    struct monitor *m = arg;

    pthread_mutex_lock(&m->mu);
    while (!m->stopping) {
        pthread_mutex_unlock(&m->mu);
        ask_all(m);
        struct timespec until = clock_timespec(clock_after_ms(PERIOD_MS));
        pthread_mutex_lock(&m->mu);
        if (!m->stopping)
            pthread_cond_timedwait(&m->wake, &m->mu, &until);
    }
    pthread_mutex_unlock(&m->mu);
    return NULL;
}

struct monitor *monitor_start(const struct monitor_target *targets, size_t n)
{
    struct monitor *m = xcalloc(1, sizeof *m);

    m->targets = targets;
    m->n = n < MAX_TARGETS ? n : MAX_TARGETS;
    m->up = metric_gauge("bloginfer_gateway_backend_up", "1 while the backend answers its health check.", "backend");
    pthread_mutex_init(&m->mu, NULL);
    cond_init_monotonic(&m->wake);
    m->thread = thread_start("gw-monitor", 1 << 20, monitor_thread, m);
    return m;
}

void monitor_stop(struct monitor *m)
{
    if (!m)
        return;
    pthread_mutex_lock(&m->mu);
    m->stopping = true;
    pthread_cond_signal(&m->wake);
    pthread_mutex_unlock(&m->mu);
    pthread_join(m->thread, NULL);
    pthread_cond_destroy(&m->wake);
    pthread_mutex_destroy(&m->mu);
    free(m);
}

enum monitor_state monitor_state(struct monitor *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (!strcmp(m->targets[i].name, name))
            return atomic_load(&m->states[i]);
    return MONITOR_DOWN;
}

const char *monitor_state_name(enum monitor_state state)
{
    static const char *const names[] = {"down", "not_serving", "serving"};

    return names[state];
}

struct status monitor_ready(void *monitor)
{
    if (monitor_state(monitor, "inference") || monitor_state(monitor, "detector"))
        return status_ok();
    return status_errorf(ST_UNAVAILABLE, "neither inference nor the detector can be reached");
}
