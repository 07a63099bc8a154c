/* stream_test.c - answers that go on: what http.h promises of them, over real sockets. */
#include "http/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 60000

/* What the handlers of one test share. */
struct service {
    atomic_int open, n_over; /* streams; handlers whose stream ended before they did */
    atomic_bool release;
    atomic_int seen_code;
};

/* Two events, and the end once it is told. */
static struct status tell(struct http_call *call)
{
    struct service *s = http_service(call);

    http_set_header(call, "Cache-Control", "no-store");
    if (!http_stream_begin(call, "text/event-stream"))
        return status_ok();
    atomic_fetch_add(&s->open, 1);
    http_stream_write(call, "data: one\n\n", 11);
    while (http_stream_open(call) && !atomic_load(&s->release))
        clock_sleep_ms(1);
    if (!http_stream_write(call, "data: two\n\n", 11))
        atomic_fetch_add(&s->n_over, 1);
    atomic_fetch_sub(&s->open, 1);
    return status_ok();
}

static struct status break_off(struct http_call *call)
{
    http_stream_begin(call, "text/plain");
    http_stream_write(call, "half", 4);
    return status_errorf(ST_UNAVAILABLE, "the backend at 10.0.0.7 is gone");
}

/* More than any buffer takes, until a write fails. */
static struct status flood(struct http_call *call)
{
    struct service *s = http_service(call);
    static const char block[64 << 10];

    if (!http_stream_begin(call, "application/octet-stream"))
        return status_ok();
    atomic_fetch_add(&s->open, 1);
    while (http_stream_write(call, block, sizeof block))
        ;
    atomic_fetch_add(&s->n_over, 1);
    atomic_fetch_sub(&s->open, 1);
    return status_ok();
}

static struct status hello(struct http_call *call)
{
    http_reply(call, 200, "text/plain", "hello", 5);
    return status_ok();
}

static const struct http_route routes[] = {
    {"GET", "/tell", tell, 0, .light = true},
    {"GET", "/break", break_off, 0, .light = true},
    {"GET", "/flood", flood, 0, .light = true},
    {"GET", "/hello", hello, 0, .light = true},
};

static void observe(void *ctx, const char *method, const char *route, int code, double seconds)
{
    struct service *s = ctx;

    (void)method;
    (void)route;
    assert_true(seconds >= 0);
    atomic_store(&s->seen_code, code);
}

static struct http_server *server_of(struct service *service, int64_t timeout_ms)
{
    const struct http_config config = {
        .listen = "127.0.0.1",
        .threads = 1,
        .queue = 1,
        .connections = 16,
        .streams = 2,
        .timeout_ms = timeout_ms,
        .routes = routes,
        .n_routes = COUNT_OF(routes),
        .service = service,
        .quiet = true,
        .observer = observe,
        .observer_ctx = service,
    };
    struct http_server *s;
    struct status st = http_start(&s, &config);

    if (st.code)
        fail_msg("%s", st.msg);
    return s;
}

static int dial(const struct http_server *s, const char *request)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)http_port(s))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    return fd;
}

/* What comes until the text has come, or until the end (NULL). */
static char *read_until(int fd, const char *text)
{
    struct buf b = BUF_INIT((size_t)1 << 20);
    char c;

    while ((!text || !b.data || !strstr(b.data, text)) && recv(fd, &c, 1, 0) == 1)
        buf_putc(&b, c);
    if (!text)
        close(fd);
    return buf_take(&b);
}

static void expect(int fd, const char *until, const char *part)
{
    char *got = read_until(fd, until);

    if (!strstr(got, part))
        fail_msg("no \"%s\" in:\n%s", part, got);
    free(got);
}

static void await(atomic_int *value, int wanted)
{
    for (int64_t until = clock_after_ms(PATIENCE_MS); atomic_load(value) != wanted && clock_now() < until;)
        clock_sleep_ms(1);
    assert_int_equal(atomic_load(value), wanted);
}

#define REQUEST(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static void test_a_stream_comes_in_pieces_and_has_an_end(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 5000);
    int fd = dial(s, REQUEST("/tell"));
    char *a = read_until(fd, "one\n\n\r\n"); /* at once, and not with what follows */

    (void)state;
    assert_ptr_equal(strstr(a, "HTTP/1.1 200 "), a);
    assert_non_null(strstr(a, "Content-Type: text/event-stream\r\n"));
    assert_non_null(strstr(a, "Transfer-Encoding: chunked\r\n"));
    assert_non_null(strstr(a, "Cache-Control: no-store\r\n"));
    assert_non_null(strstr(a, "X-Served-By: "));
    assert_non_null(strstr(a, "Connection: close\r\n"));
    assert_null(strstr(a, "Content-Length"));
    assert_non_null(strstr(a, "\r\n\r\nb\r\ndata: one\n\n\r\n"));
    free(a);
    atomic_store(&service.release, true);
    a = read_until(fd, NULL);
    assert_string_equal(a, "b\r\ndata: two\n\n\r\n0\r\n\r\n");
    free(a);
    await(&service.seen_code, 200);
    assert_int_equal(service.n_over, 0);
    http_stop(s);
}

static void test_http_1_0_gets_no_chunks_and_head_no_body(void **state)
{
    struct service service = {.release = true};
    struct http_server *s = server_of(&service, 5000);
    char *a = read_until(dial(s, "GET /tell HTTP/1.0\r\n\r\n"), NULL);

    (void)state;
    assert_null(strstr(a, "chunked"));
    assert_non_null(strstr(a, "\r\n\r\ndata: one\n\ndata: two\n\n"));
    free(a);
    a = read_until(dial(s, "HEAD /tell HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), NULL);
    assert_non_null(strstr(a, "Content-Type: text/event-stream\r\n"));
    assert_string_equal(a + strlen(a) - 4, "\r\n\r\n");
    free(a);
    assert_int_equal(service.open, 0);
    http_stop(s);
}

/* One thread for handlers, and two streams: requests are served beside them, and a third stream is not. */
static void test_streams_hold_no_turn_and_are_bounded(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 5000);
    int first = dial(s, REQUEST("/tell")), second = dial(s, REQUEST("/tell"));
    char *a;

    (void)state;
    await(&service.open, 2);
    expect(dial(s, "GET /hello HTTP/1.0\r\n\r\n"), NULL, "\r\n\r\nhello");
    a = read_until(dial(s, "GET /tell HTTP/1.0\r\n\r\n"), NULL);
    assert_non_null(strstr(a, " 503 "));
    assert_non_null(strstr(a, "Retry-After: 1\r\n"));
    assert_non_null(strstr(a, "RESOURCE_EXHAUSTED"));
    free(a);
    close(first); /* its handler learns of it, and its place is free */
    await(&service.open, 1);
    await(&service.n_over, 1);
    first = dial(s, REQUEST("/tell"));
    expect(first, "one\n\n", " 200 ");
    atomic_store(&service.release, true);
    await(&service.open, 0);
    close(first);
    close(second);
    http_stop(s);
}

static void test_an_error_breaks_it_visibly(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 5000);
    char *a = read_until(dial(s, REQUEST("/break")), NULL);

    (void)state;
    assert_non_null(strstr(a, "\r\n\r\n4\r\nhalf\r\n"));
    assert_null(strstr(a, "0\r\n\r\n"));
    assert_null(strstr(a, "10.0.0.7"));
    free(a);
    http_stop(s);
}

static void test_who_does_not_read_is_cut_off(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 300);
    int fd = dial(s, REQUEST("/flood"));

    (void)state;
    await(&service.n_over, 1);
    await(&service.open, 0);
    close(fd);
    http_stop(s);
}

static void test_draining_ends_streams_in_order(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 5000);
    int fd = dial(s, REQUEST("/tell"));
    char *a;

    (void)state;
    expect(fd, "one\n\n\r\n", " 200 ");
    http_drain(s);
    a = read_until(fd, NULL);
    assert_string_equal(a, "0\r\n\r\n");
    free(a);
    a = read_until(dial(s, REQUEST("/tell")), NULL);
    assert_non_null(strstr(a, " 503 "));
    free(a);
    http_stop(s);
}

static void test_stop_waits_for_no_stream(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 5000);
    int fd = dial(s, REQUEST("/tell"));

    (void)state;
    await(&service.open, 1);
    http_stop(s); /* joins its thread */
    assert_int_equal(service.open, 0);
    expect(fd, NULL, "\r\n0\r\n\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stream_comes_in_pieces_and_has_an_end),
        cmocka_unit_test(test_http_1_0_gets_no_chunks_and_head_no_body),
        cmocka_unit_test(test_streams_hold_no_turn_and_are_bounded),
        cmocka_unit_test(test_an_error_breaks_it_visibly),
        cmocka_unit_test(test_who_does_not_read_is_cut_off),
        cmocka_unit_test(test_draining_ends_streams_in_order),
        cmocka_unit_test(test_stop_waits_for_no_stream),
    };

    log_init("stream_test", "error");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
