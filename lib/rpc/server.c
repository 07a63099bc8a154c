/* server.c - the life of a server: tables in, ports open, drain, end. Calls are in serve.c. */
#include "rpc/server.h"

#include "rpc/reflection.h"
#include "rpc/tls.h"

#include <assert.h>
#include <grpc/grpc_security.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_MESSAGE ((size_t)4 << 20)
#define MIN_ARENA       ((size_t)64 << 10)
#define DEFAULT_STREAMS 64
#define MAX_STEPS       256 /* that calls take while work is due, before it is done all the same */
#define ARMED_UNARY     8   /* calls of a method that gRPC may hand over before a poller asks for more */
#define ARMED_STREAM    2
#define MAX_METHODS     1000
#define SETTLE_MS       100 /* for calls that were on their way when the port closed */

static const ProtobufCServiceDescriptor *service_at(const struct rpc_server *s, size_t i)
{
    return *VEC_AT(&s->services, const ProtobufCServiceDescriptor *, i);
}

static struct method *method_at(const struct rpc_server *s, size_t i)
{
    return *VEC_AT(&s->methods, struct method *, i);
}

/* ---- making ---- */

static void server_free(struct rpc_server *s)
{
    for (size_t i = 0; i < s->methods.n; i++) {
        serve_free_spare(method_at(s, i));
        free(method_at(s, i)->path);
        free(method_at(s, i));
    }
    vec_fini(&s->methods);
    vec_fini(&s->services);
    if (s->credentials)
        grpc_server_credentials_release(s->credentials);
    health_free(s->health);
    descriptors_free(s->descriptors);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->mu);
    free(s->config.listen);
    free(s->host);
    free(s);
}

static struct rpc_server *server_alloc(const struct rpc_server_config *config)
{
    struct rpc_server *s = xcalloc(1, sizeof *s);
    char host[256] = "";

    s->config = *config;
    s->config.listen = xstrdup(config->listen && *config->listen ? config->listen : "127.0.0.1");
    gethostname(host, sizeof host - 1);
    s->host = xstrdup(host);
    s->services = (struct vec)VEC_INIT(sizeof(ProtobufCServiceDescriptor *), MAX_METHODS);
    s->methods = (struct vec)VEC_INIT(sizeof(struct method *), MAX_METHODS);
    account_init(&s->unknown, "unknown", "unknown");
    s->health = health_new();
    pthread_mutex_init(&s->mu, NULL);
    cond_init_monotonic(&s->changed);
    return s;
}

struct status rpc_server_new(struct rpc_server **out, const struct rpc_server_config *config)
{
    struct rpc_server *s = server_alloc(config);
    size_t size;
    const uint8_t *set = descriptors_embedded(&size);
    struct status st = descriptors_new(&s->descriptors, set, size);

    if (!st.code)
        st = tls_server(&s->credentials, config->tls_cert, config->tls_key, config->tls_ca);
    if (!st.code)
        st = health_register(s->health, s);
    if (!st.code)
        st = reflection_register(s);
    if (st.code) {
        server_free(s);
        return st;
    }
    health_set(s->health, "", true);
    *out = s;
    return st;
}

/* ---- tables ---- */

static const struct rpc_method *find(const struct rpc_method *methods, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(methods[i].name, name))
            return &methods[i];
    return NULL;
}

/* Against the proto: the method is known to the build, and its kind is the one of its `stream` words. */
static struct status check_method(const struct rpc_server *s, const char *service, const char *name,
                                  const struct rpc_method *def, bool opened, struct symbol *symbol)
{
    char *full = xasprintf("%s.%s", service, name);
    const struct symbol *found = descriptors_symbol(s->descriptors, full);
    bool known = found && found->kind == SYMBOL_METHOD;
    bool streams = known && (found->client_streams || found->server_streams);
    struct status st = status_ok();

    if (!known)
        st = status_errorf(ST_INVALID, "%s: not in the protos of this build", full);
    else if (!def)
        st = status_errorf(ST_INVALID, "%s: the table has no handler for it", full);
    else if (!opened && (!!def->unary + !!def->deferred + !!def->stream != 1 || streams != !!def->stream))
        st = status_errorf(ST_INVALID, "%s: needs a %s handler, as its proto says", full, streams ? "stream" : "unary");
    else
        *symbol = *found;
    free(full);
    return st;
}

static void add_method(struct rpc_server *s, const ProtobufCServiceDescriptor *d, const ProtobufCMethodDescriptor *md,
                       const struct rpc_method *def, const struct symbol *symbol, void *service,
                       void (*open)(struct rpc_call *call))
{
    struct method *m = xcalloc(1, sizeof *m);
    struct method **slot = vec_push(&s->methods);

    m->server = s;
    m->def = def;
    m->service = service;
    account_init(&m->account, d->name, md->name);
    m->path = xasprintf("/%s/%s", d->name, md->name);
    m->input = md->input;
    m->output = md->output;
    m->client_streams = symbol->client_streams;
    m->server_streams = symbol->server_streams;
    m->open = open;
    m->max_message = def->max_request ? def->max_request : DEFAULT_MESSAGE;
    m->arena_limit = def->arena_limit ? def->arena_limit : 8 * m->max_message;
    if (m->arena_limit < MIN_ARENA)
        m->arena_limit = MIN_ARENA;
    m->max_streams = def->max_streams ? def->max_streams : DEFAULT_STREAMS;
    *slot = m;
}

struct status server_add(struct rpc_server *s, const ProtobufCServiceDescriptor *d, const struct rpc_method *methods,
                         size_t n_methods, void *service, const char *open_name, void (*open)(struct rpc_call *call))
{
    for (size_t i = 0; i < n_methods; i++)
        if (!protobuf_c_service_descriptor_get_method_by_name(d, methods[i].name))
            return status_errorf(ST_INVALID, "%s: has no method %s", d->name, methods[i].name);
    if (s->methods.n + d->n_methods > MAX_METHODS)
        return status_errorf(ST_INVALID, "%s: more than %d methods", d->name, MAX_METHODS);
    for (size_t i = 0; i < s->services.n; i++)
        if (!strcmp(service_at(s, i)->name, d->name))
            return status_errorf(ST_EXISTS, "%s: added twice", d->name);
    for (unsigned i = 0; i < d->n_methods; i++) {
        const char *name = d->methods[i].name;
        const struct rpc_method *def = find(methods, n_methods, name);
        bool opened = open && !strcmp(name, open_name);
        struct symbol symbol = {.kind = SYMBOL_METHOD};
        struct status st = check_method(s, d->name, name, def, opened, &symbol);

        if (st.code)
            return st;
        add_method(s, d, &d->methods[i], def, &symbol, service, opened ? open : NULL);
    }
    *(const ProtobufCServiceDescriptor **)vec_push(&s->services) = d;
    health_set(s->health, d->name, true);
    return status_ok();
}

struct status rpc_server_add(struct rpc_server *s, const ProtobufCServiceDescriptor *descriptor,
                             const struct rpc_method *methods, size_t n_methods, void *service)
{
    assert(!s->started);
    return server_add(s, descriptor, methods, n_methods, service, NULL, NULL);
}

void rpc_server_set_serving(struct rpc_server *s, const char *service, bool serving)
{
    health_set(s->health, service, serving);
}

int rpc_server_port(const struct rpc_server *s)
{
    return s->port;
}

/* ---- start ---- */

static size_t largest_message(const struct rpc_server *s)
{
    size_t largest = 0;

    for (size_t i = 0; i < s->methods.n; i++)
        if (method_at(s, i)->max_message > largest)
            largest = method_at(s, i)->max_message;
    return largest;
}

static grpc_arg arg_int(const char *key, int value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = value};
}

/* Measured reasons: shared ports hide a second server, compression lets half a megabyte become 500, the bandwidth
 * probe lets memory peak at three times, and dead clients would hold their streams for ever. What no call uses, the
 * filters for compression and the records for channelz, only costs. Connections end at max_connection_age with
 * GOAWAY, without a grace that would cut a training stream. */
static grpc_server *make_server(const struct rpc_server *s)
{
    grpc_arg args[24];
    size_t n = 0;

    args[n++] = arg_int(GRPC_ARG_ALLOW_REUSEPORT, 0);
    args[n++] = arg_int(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1);
    args[n++] = arg_int(GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0);
    args[n++] = arg_int(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
    args[n++] = arg_int(GRPC_ARG_ENABLE_CHANNELZ, 0);
    args[n++] =
        arg_int(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, largest_message(s) < INT_MAX ? (int)largest_message(s) : INT_MAX);
    args[n++] = arg_int(GRPC_ARG_MAX_METADATA_SIZE, RPC_METADATA_LIMIT);
    args[n++] = arg_int(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    args[n++] = arg_int(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1 << 20);
    args[n++] = arg_int(GRPC_ARG_MAX_CONCURRENT_STREAMS, 4096);
    args[n++] = arg_int(GRPC_ARG_KEEPALIVE_TIME_MS, 30000);
    args[n++] = arg_int(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
    args[n++] = arg_int(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    args[n++] = arg_int(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    args[n++] = arg_int(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000);
    args[n++] = arg_int(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10000);
    if (s->config.max_connection_age_s > 0 && s->config.max_connection_age_s < INT_MAX / 1000)
        args[n++] = arg_int(GRPC_ARG_MAX_CONNECTION_AGE_MS, (int)s->config.max_connection_age_s * 1000);
    assert(n <= COUNT_OF(args));
    return grpc_server_create(&(grpc_channel_args){n, args}, NULL);
}

/* "[::1]:50051", "127.0.0.1:50051". */
static char *with_port(const char *address, size_t size, int port)
{
    bool bare = memchr(address, ':', size) && *address != '[';

    return xasprintf(bare ? "[%.*s]:%d" : "%.*s:%d", (int)size, address, port);
}

/* Binds every address; with port 0 the first picks the port for all. */
static struct status listen_all(struct rpc_server *s)
{
    const char *at = s->config.listen;

    s->port = (int)s->config.port;
    while (*at) {
        size_t size = strcspn(at, ",");
        char *address = with_port(at, size, s->port);
        int port = grpc_server_add_http2_port(s->server, address, s->credentials);
        struct status st = status_errorf(ST_UNAVAILABLE,
                                         "cannot listen on %s: is the port taken, or the address not "
                                         "one of this machine?",
                                         address);

        free(address);
        if (!port)
            return st;
        s->port = port;
        at += size + (at[size] == ',');
    }
    return status_ok();
}

static void *poll_calls(void *arg)
{
    struct rpc_server *s = arg;
    const struct rpc_work *work = &s->config.work;
    int n_steps = 0; /* since work was due */

    for (;;) {
        int64_t due = work->due ? work->due(work->ctx) : CLOCK_NEVER;
        bool now = due == RPC_WORK_NOW || n_steps == MAX_STEPS;
        if (!now && due > 0 && due > clock_now())
            serve_watch();
        if (!now && queue_step(s->queue, due))
            n_steps = due == CLOCK_NEVER ? 0 : n_steps + 1;
        else if (due == CLOCK_NEVER)
            return NULL; /* the queue is shut down */
        else {
            work->run(work->ctx);
            serve_watch();
            n_steps = 0;
        }
    }
}

static void arm_all(struct rpc_server *s)
{
    for (size_t i = 0; i < s->methods.n; i++) {
        struct method *m = method_at(s, i);

        for (int k = 0; k < (m->def->stream ? ARMED_STREAM : ARMED_UNARY); k++)
            serve_arm(m);
    }
    serve_arm_unknown(s);
    serve_arm_unknown(s);
}

/* Those that this process may use. */
static int n_cpus(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

static int n_workers(const struct rpc_server *s)
{
    if (s->config.workers > 0)
        return (int)s->config.workers;
    return n_cpus() < 2 ? 2 : n_cpus();
}

/* A poller that gets something to do first wakes another one to wait in its place: on a CPU or two that hand-over
 * costs more than it brings (a single caller: 5 switches of threads a call instead of one). */
static int n_pollers(const struct rpc_server *s)
{
    int n = n_cpus() / 2;

    return n < 1 ? 1 : n < (int)COUNT_OF(s->pollers) ? n : (int)COUNT_OF(s->pollers);
}

struct status rpc_server_start(struct rpc_server *s)
{
    s->server = make_server(s);
    s->queue = grpc_completion_queue_create_for_next(NULL);
    grpc_server_register_completion_queue(s->server, s->queue, NULL);
    for (size_t i = 0; i < s->methods.n; i++) {
        struct method *m = method_at(s, i);

        m->handle = grpc_server_register_method(
            s->server, m->path, NULL,
            m->client_streams ? GRPC_SRM_PAYLOAD_NONE : GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
    }
    struct status st = listen_all(s);
    for (int n = n_pollers(s); s->n_pollers < n;)
        s->pollers[s->n_pollers++] = thread_start("rpc-poll", 0, poll_calls, s);
    if (st.code)
        return st;
    pool_start(&s->pool, n_workers(s), s->config.queue > 0 ? (size_t)s->config.queue : 64, call_run);
    grpc_server_start(s->server);
    arm_all(s);
    s->started = true;
    log_info("listening", log_s("address", s->config.listen), log_i("port", s->port));
    return st;
}

/* ---- stop ---- */

/* Waits until every call has gone, or gRPC says that nothing is left, or until then. */
static void wait_calls(struct rpc_server *s, int64_t until)
{
    struct timespec ts = clock_timespec(until);

    pthread_mutex_lock(&s->mu);
    while (s->n_calls && !s->shut && clock_now() < until)
        pthread_cond_timedwait(&s->changed, &s->mu, &ts);
    pthread_mutex_unlock(&s->mu);
}

static void step_shut(struct rpc_call *call, bool ok)
{
    struct rpc_server *s = call->server;

    (void)ok;
    pthread_mutex_lock(&s->mu);
    s->shut = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mu);
}

/* Health first, so that balancers look elsewhere; then what would never end by itself; then the port. */
static void drain(struct rpc_server *s, struct rpc_call *shutdown)
{
    int64_t grace = clock_after_ms(s->config.drain_wait_ms + (s->config.drain_ms > 0 ? s->config.drain_ms : 0));

    health_set_all(s->health, false);
    if (s->config.drain_wait_ms > 0 && s->started)
        clock_sleep_ms(s->config.drain_wait_ms);
    health_end_watches(s->health);
    serve_end_endless(s);
    shutdown->arrived = (struct tag){step_shut, shutdown};
    shutdown->server = s;
    TAG_GIVEN(&shutdown->arrived);
    grpc_server_shutdown_and_notify(s->server, s->queue, &shutdown->arrived);
    if (s->started) {
        clock_sleep_ms(SETTLE_MS);
        wait_calls(s, grace);
    }
    grpc_server_cancel_all_calls(s->server);
    pthread_mutex_lock(&s->mu);
    while (s->n_calls || !s->shut)
        pthread_cond_wait(&s->changed, &s->mu);
    pthread_mutex_unlock(&s->mu);
}

void rpc_server_stop(struct rpc_server *s)
{
    if (!s)
        return;
    if (s->server) {
        struct rpc_call shutdown = {.server = s};

        drain(s, &shutdown);
        pool_stop(&s->pool);
        serve_join_streams(s);
        grpc_server_destroy(s->server);
        grpc_completion_queue_shutdown(s->queue);
        for (int i = 0; i < s->n_pollers; i++)
            pthread_join(s->pollers[i], NULL);
        grpc_completion_queue_destroy(s->queue);
    }
    server_free(s);
}
