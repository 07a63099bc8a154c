/* rpc_bench.c - what lib/rpc costs: unary calls a second at 1, 16 and 64 callers and the bytes a second of a client
 * stream of 1 MiB messages, server and clients in two processes on loopback. The machine's own limit stands beside
 * each: the same callers and bytes over plain TCP (the stream answered message by message), so that the ratio can be
 * compared between machines.
 *
 * Here client and server are both ours. To load a server with next to no work for the client, so that the server alone
 * is measured, take h2load of Debian's nghttp2-client; body.bin is a byte 0, the message's length in 4 bytes, big end
 * first, and the message:
 *
 *     taskset -c 1 h2load -n 100000 -c 64 -t 1 -d body.bin -H 'content-type: application/grpc' -H 'te: trailers' \
 *         http://127.0.0.1:50052/bloginfer.v1.ClassifyService/Classify
 *
 *     rpc_bench [SECONDS a measurement, default 2] */
#include "rpc/testing.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PING_BYTES   64 /* about what a small unary call carries, without headers */
#define STREAM_BYTES ((size_t)1 << 20)

struct ports {
    int rpc, tcp;
};

struct caller {
    const struct ports *ports;
    struct rpc_client *client;
    int64_t until;
    long n;
};

/* ---- the server's process ---- */

static bool read_all(int fd, void *data, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t n = read(fd, (char *)data + at, size - at);

        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

static void *echo(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char ping[PING_BYTES];
    char *bulk = xmalloc(STREAM_BYTES);

    while (read_all(fd, ping, sizeof ping) && (*ping != 's' || read_all(fd, bulk, STREAM_BYTES)))
        if (write(fd, ping, sizeof ping) != (ssize_t)sizeof ping)
            break;
    free(bulk);
    close(fd);
    return NULL;
}

static void *accept_all(void *arg)
{
    int listener = (int)(intptr_t)arg, one = 1, fd;

    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        pthread_detach(thread_start("echo", 0, echo, (void *)(intptr_t)fd));
    }
    return NULL;
}

static int listen_tcp(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) || listen(fd, 128) ||
        getsockname(fd, (struct sockaddr *)&address, &size))
        or_die(status_errno("listen"));
    *port = ntohs(address.sin_port);
    return fd;
}

static void serve(int out)
{
    struct testing t;
    struct ports ports;
    int listener = listen_tcp(&ports.tcp);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    rpc_init();
    testing_start(&t, &(struct rpc_server_config){.queue = 1024});
    ports.rpc = t.port;
    thread_start("accept", 0, accept_all, (void *)(intptr_t)listener);
    if (write(out, &ports, sizeof ports) != (ssize_t)sizeof ports)
        exit(1);
    pause(); /* until the parent kills it */
}

/* ---- the clients ---- */

static int connect_tcp(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
        or_die(status_errno("connect"));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void *call_tcp(void *arg)
{
    struct caller *c = arg;
    int fd = connect_tcp(c->ports->tcp);
    char ping[PING_BYTES] = "p";

    for (; clock_now() < c->until; c->n++)
        if (write(fd, ping, sizeof ping) != (ssize_t)sizeof ping || !read_all(fd, ping, sizeof ping))
            or_die(status_errno("ping"));
    close(fd);
    return NULL;
}

static void *call_rpc(void *arg)
{
    struct caller *c = arg;
    struct status st;

    for (; clock_now() < c->until; c->n++) {
        testing_classify(c->client, "echo", "text", (struct rpc_options){.wait_for_ready = true}, &st);
        or_die(st);
    }
    return NULL;
}

static double calls_a_second(struct caller proto, void *(*run)(void *), int n, double seconds)
{
    struct caller callers[64];
    pthread_t threads[64];
    int64_t begin = clock_now();
    long total = 0;

    proto.until = begin + (int64_t)(seconds * CLOCK_SECOND);
    for (int i = 0; i < n; i++) {
        callers[i] = proto;
        threads[i] = thread_start("caller", 0, run, &callers[i]);
    }
    for (int i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        total += callers[i].n;
    }
    return (double)total / clock_seconds(begin);
}

static double stream_rpc(struct rpc_client *client, double seconds)
{
    Bloginfer__V1__UpdateChunk chunk = BLOGINFER__V1__UPDATE_CHUNK__INIT;
    Bloginfer__V1__SubmitRequest req = BLOGINFER__V1__SUBMIT_REQUEST__INIT;
    struct rpc_call *call;
    const void *in;
    size_t n = 0;
    int64_t begin = clock_now();

    req.body_case = BLOGINFER__V1__SUBMIT_REQUEST__BODY_CHUNK;
    req.chunk = &chunk;
    chunk.data.len = STREAM_BYTES;
    chunk.data.data = xcalloc(STREAM_BYTES, 1);
    or_die(rpc_stream_open(&call, client, FEDERATION, "Submit", &(struct rpc_options){.timeout_ms = 600000}));
    for (; clock_seconds(begin) < seconds && n < 1000; n++) /* Submit takes 1 GiB */
        or_die(rpc_send(call, &req));
    or_die(rpc_send_done(call));
    or_die(rpc_recv(call, &in));
    double mb = (double)n * STREAM_BYTES / 1e6 / clock_seconds(begin);
    or_die(rpc_stream_finish(call));
    free(chunk.data.data);
    return mb;
}

static double stream_tcp(int port, double seconds)
{
    char *bulk = xcalloc(PING_BYTES + STREAM_BYTES, 1);
    int fd = connect_tcp(port);
    size_t n = 0;
    int64_t begin = clock_now();

    *bulk = 's';
    for (; clock_seconds(begin) < seconds; n++)
        if (write(fd, bulk, PING_BYTES + STREAM_BYTES) != (ssize_t)(PING_BYTES + STREAM_BYTES) ||
            !read_all(fd, bulk, PING_BYTES))
            or_die(status_errno("stream"));
    double mb = (double)n * STREAM_BYTES / 1e6 / clock_seconds(begin);
    close(fd);
    free(bulk);
    return mb;
}

static void measure(const struct ports *ports, double seconds)
{
    char target[64];
    const int counts[] = {1, 16, 64};

    snprintf(target, sizeof target, "127.0.0.1:%d", ports->rpc);
    struct caller c = {.ports = ports, .client = testing_client(target)};
    calls_a_second(c, call_rpc, 1, 0.2); /* connects, warms up */
    printf("%-24s %12s %12s %8s\n", "", "rpc", "plain TCP", "ratio");
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        double rpc = calls_a_second(c, call_rpc, counts[i], seconds);
        double tcp = calls_a_second(c, call_tcp, counts[i], seconds);

        printf("unary calls/s, %2d callers %11.0f %12.0f %8.3f\n", counts[i], rpc, tcp, rpc / tcp);
    }
    double rpc = stream_rpc(c.client, seconds), tcp = stream_tcp(ports->tcp, seconds);
    printf("client stream, MB/s      %12.0f %12.0f %8.3f\n", rpc, tcp, rpc / tcp);
    rpc_client_free(c.client);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 2;
    struct ports ports = {0};
    int fds[2];

    log_init("rpc_bench", "error");
    if (pipe(fds))
        or_die(status_errno("pipe"));
    pid_t child = fork(); /* before gRPC starts a thread */
    if (!child)
        serve(fds[1]);
    if (child < 0 || !read_all(fds[0], &ports, sizeof ports))
        or_die(status_errno("server"));
    rpc_init();
    measure(&ports, seconds > 0 ? seconds : 2);
    rpc_fini();
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return 0;
}
