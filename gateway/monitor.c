/* monitor.c - see monitor.h. */
#include "monitor.h"

#include "grpc/health/v1/health.pb-c.h"
#include "metrics/metrics.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static size_t drop(char *data, size_t size, size_t n, void *unused)
{
    (void)data;
    (void)unused;
    return size * n;
}

/* target: HOST:PORT or a URL. */
static enum monitor_state ask_http(const char *target)
{
    enum monitor_state state = MONITOR_DOWN;
    CURL *curl = curl_easy_init();
    long http_code = 0;
    char url[512];

    if (!curl)
        return state;
    snprintf(url, sizeof url, "%s/healthz", target);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_DEFAULT_PROTOCOL, "http");
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop);
    if (curl_easy_perform(curl) == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &http_code);
    if (http_code)
        state = http_code == 200 ? MONITOR_SERVING : MONITOR_NOT_SERVING;
    curl_easy_cleanup(curl);
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
