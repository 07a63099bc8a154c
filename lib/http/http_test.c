/* http_test.c - the promises of http.h, over real sockets. */
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_MAX ((size_t)1 << 20)

/* What the handlers of one test share. */
struct service {
    atomic_int running, seen_code, n_observed;
    atomic_bool release;
    char seen_route[32];
};

static struct status echo(struct http_call *call)
{
    size_t size;
    const char *body = http_body(call, &size);

    http_set_header(call, "X-Evil", "a\r\nSet-Cookie: b");
    http_set_header(call, "X-Good", "yes");
    http_reply(call, 200, "text/plain", body, size);
    return status_ok();
}

static struct status show(struct http_call *call)
{
    const char *q = http_query(call, "q"), *host = http_header(call, "hOST"), *rest = http_param(call, "*");
    char *text = arena_printf(http_arena(call), "%s|%s|%s|%s|%s", http_param(call, "task"), rest ? rest : "-",
                              q ? q : "-", host ? "host" : "-", http_method(call));

    http_reply(call, 200, "text/plain", text, strlen(text));
    return status_ok();
}

static struct status failing(struct http_call *call)
{
    const char *code = http_query(call, "code");

    return status_errorf((enum code)atoi(code ? code : "0"), "secret \"thing\" of /etc/x");
}

static struct status hold(struct http_call *call)
{
    struct service *s = http_service(call);

    atomic_fetch_add(&s->running, 1);
    while (!atomic_load(&s->release))
        clock_sleep_ms(1);
    atomic_fetch_sub(&s->running, 1);
    http_reply(call, 200, "text/plain", "held", 4);
    return status_ok();
}

/* Runs until its client hangs up; told by running. */
static struct status until_left(struct http_call *call)
{
    struct service *s = http_service(call);

    assert_false(http_abandoned(call));
    atomic_fetch_add(&s->running, 1);
    while (!http_abandoned(call) && !atomic_load(&s->release))
        clock_sleep_ms(1);
    atomic_fetch_sub(&s->running, 1);
    return status_errorf(ST_CANCELLED, "left");
}

static const struct http_route routes[] = {
    {"POST", "/echo", echo, 1 << 16},
    {"GET", "/echo", echo, 0},
    {"GET", "/models/{task}", show, 0},
    {"GET", "/files/{task}/*", show, 0},
    {"GET", "/fail", failing, 0},
    {"GET", "/hold", hold, 0},
    {"POST", "/large", echo, 1 << 20},
    {"GET", "/v9/fail", failing, 0},
    {"GET", "/light", hold, 0, .light = true},
    {"GET", "/leave", until_left, 0},
    {"GET", "/leave-light", until_left, 0, .light = true},
};

static void observe(void *ctx, const char *method, const char *route, int code, double seconds)
{
    struct service *s = ctx;

    assert_non_null(method);
    assert_true(seconds >= 0);
    snprintf(s->seen_route, sizeof s->seen_route, "%s", route);
    atomic_store(&s->seen_code, code);
    atomic_fetch_add(&s->n_observed, 1);
}

/* The observer is called after the answer was written. */
static void wait_observed(struct service *s, int n)
{
    for (int64_t until = clock_after_ms(5000); atomic_load(&s->n_observed) < n && clock_now() < until;)
        clock_sleep_ms(1);
    assert_int_equal(s->n_observed, n);
}

static struct http_server *server_of(struct service *service, int64_t threads, int64_t connections, int64_t timeout_ms)
{
    struct http_config config = {
        .listen = "127.0.0.1",
        .threads = threads,
        .connections = connections,
        .timeout_ms = timeout_ms,
        .routes = routes,
        .n_routes = COUNT_OF(routes),
        .service = service,
        .quiet = true,
        .observer = observe,
        .observer_ctx = service,
        .plain_errors = "/v9",
    };
    struct http_server *s;
    struct status st = http_start(&s, &config);

    if (st.code)
        fail_msg("%s", st.msg);
    return s;
}

static int dial(const struct http_server *s)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)http_port(s))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void put(int fd, const char *text)
{
    size_t size = strlen(text);

    assert_int_equal(send(fd, text, size, MSG_NOSIGNAL), size);
}

/* All that comes until the peer closes; the caller's to free. */
static char *read_all(int fd)
{
    struct buf b = BUF_INIT(ANSWER_MAX);
    char block[4096];
    ssize_t n;

    while ((n = recv(fd, block, sizeof block, 0)) > 0)
        buf_add(&b, block, (size_t)n);
    close(fd);
    return buf_take(&b);
}

/* One answer on a connection that stays open: headers and body. */
static char *read_one(int fd)
{
    struct buf b = BUF_INIT(ANSWER_MAX);
    char c;

    while (!b.data || !strstr(b.data, "\r\n\r\n")) {
        assert_int_equal(recv(fd, &c, 1, 0), 1);
        buf_putc(&b, c);
    }
    const char *length = strstr(b.data, "Content-Length: ");
    for (long left = length ? atol(length + 16) : 0; left > 0; left--) {
        assert_int_equal(recv(fd, &c, 1, 0), 1);
        buf_putc(&b, c);
    }
    return buf_take(&b);
}

static char *ask(const struct http_server *s, const char *request)
{
    int fd = dial(s);

    put(fd, request);
    return read_all(fd);
}

#define CLOSE "Host: x\r\nConnection: close\r\n"

static void expect(const struct http_server *s, const char *request, const char *part)
{
    char *answer = ask(s, request);

    if (!strstr(answer, part))
        fail_msg("no \"%s\" in:\n%s", part, answer);
    free(answer);
}

static void test_answers_carry_what_was_promised(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 2, 8, 2000);
    char host[128] = "";
    char *a = ask(s, "POST /echo HTTP/1.1\r\nContent-Length: 5\r\nX-Request-Id: my-id.1\r\n" CLOSE "\r\nhello");

    (void)state;
    gethostname(host, sizeof host - 1);
    assert_int_equal(strncmp(a, "HTTP/1.1 200 OK\r\n", 17), 0);
    assert_non_null(strstr(a, "\r\nX-Request-Id: my-id.1\r\n"));
    assert_non_null(strstr(a, "\r\nX-Content-Type-Options: nosniff\r\n"));
    assert_non_null(strstr(a, "\r\nContent-Length: 5\r\n"));
    assert_non_null(strstr(a, "\r\nX-Good: yes\r\n"));
    assert_non_null(strstr(a, host));
    assert_non_null(strstr(a, "\r\n\r\nhello"));
    assert_null(strstr(a, "Set-Cookie"));
    free(a);
    expect(s, "GET /echo HTTP/1.1\r\nX-Request-Id: no way\r\n" CLOSE "\r\n", "\r\nX-Request-Id: ");
    a = ask(s, "GET /echo HTTP/1.1\r\nX-Request-Id: no way\r\n" CLOSE "\r\n");
    assert_null(strstr(a, "no way"));
    free(a);
    http_stop(s);
}

static void test_head_has_the_headers_alone(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 2, 8, 2000);
    char *a = ask(s, "HEAD /models/troll HTTP/1.1\r\n" CLOSE "\r\n");

    (void)state;
    assert_non_null(strstr(a, "Content-Length: 19\r\n"));
    assert_string_equal(strstr(a, "\r\n\r\n"), "\r\n\r\n");
    free(a);
    http_stop(s);
}

static void test_paths_and_queries_are_decoded(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 2, 8, 2000);

    (void)state;
    expect(s, "GET /models/%E6%9D%A0%20x?q=a%2Bb+c%26&q=2 HTTP/1.1\r\n" CLOSE "\r\n", "杠 x|-|a+b c&|host|GET");
    expect(s, "GET /files/a/b/c?q=%00 HTTP/1.1\r\n" CLOSE "\r\n", "a|b/c|-|host|GET");
    http_stop(s);
}

static void test_refusals(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 2, 8, 2000);
    static const char *const cases[][2] = {
        {"GET /nothing HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 404 "},
        {"GET /models/ HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 404 "},
        {"GET /files/a/ HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 404 "},
        {"GET /models/%00 HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 400 "},
        {"GET /models/%ff HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 400 "},
        {"GET /models/%4 HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 400 "},
        {"GET /models/.. HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 404 "},
        {"GET /files/a/%2e%2e/b HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 404 "},
        {"GET /files/a/..%2fb HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 404 "},
        {"DELETE /echo HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 405 "},
        {"DELETE /echo HTTP/1.1\r\n" CLOSE "\r\n", "\r\nAllow: GET, HEAD, POST\r\n"},
        {"OPTIONS /fail HTTP/1.1\r\n" CLOSE "\r\n", "\r\nAllow: GET, HEAD\r\n"},
        {"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" CLOSE "\r\n0\r\n\r\n", "HTTP/1.1 411 "},
        {"POST /echo HTTP/1.1\r\nContent-Length: 5x\r\n" CLOSE "\r\nhello", "HTTP/1.1 400 "},
        {"POST /echo HTTP/1.1\r\nContent-Length: -5\r\n" CLOSE "\r\nhello", "HTTP/1.1 400 "},
        {"POST /echo HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n" CLOSE "\r\nhello", "HTTP/1.1 400 "},
        {"POST /echo HTTP/1.1\r\nContent-Length: 65537\r\nExpect: 100-continue\r\n" CLOSE "\r\n", "HTTP/1.1 413 "},
        {"POST /echo HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\nExpect: 100-continue\r\n" CLOSE "\r\n",
         "HTTP/1.1 413 "},
        {"GET /fail HTTP/1.1\r\nContent-Length: 3\r\n" CLOSE "\r\nabc", "HTTP/1.1 413 "},
        {"POST /echo HTTP/1.1\r\nContent-Length: 1\r\nExpect: miracles\r\n" CLOSE "\r\n", "HTTP/1.1 417 "},
        {"GET /echo HTTP/3.0\r\n" CLOSE "\r\n", "HTTP/1.1 505 "},
        {"nonsense\r\n\r\n", "HTTP/1.1 400 "},
        {"nonsense\r\n\r\n", "{\"code\": 400, \"message\": \"this is not a request in HTTP/1.1, or"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        expect(s, cases[i][0], cases[i][1]);
    http_stop(s);
}

static void test_statuses_become_codes_and_500_keeps_its_message(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 2, 8, 2000);
    char *a;

    (void)state;
    expect(s, "GET /fail?code=3 HTTP/1.1\r\n" CLOSE "\r\n",
           "{\"code\": 400, \"message\": \"secret \\\"thing\\\" of /etc/x\", \"detail\": \"INVALID_ARGUMENT\"}");
    expect(s, "GET /fail?code=14 HTTP/1.1\r\n" CLOSE "\r\n", "\r\nRetry-After: 1\r\n");
    expect(s, "GET /fail?code=4 HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 504 ");
    expect(s, "GET /fail?code=0 HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 204 ");
    a = ask(s, "GET /fail?code=13 HTTP/1.1\r\n" CLOSE "\r\n");
    assert_non_null(strstr(a, "HTTP/1.1 500 "));
    assert_null(strstr(a, "secret"));
    free(a);
    http_stop(s);
}

static void test_errors_below_a_path_are_plain(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 2, 8, 2000);

    (void)state;
    expect(s, "GET /v9/fail?code=3 HTTP/1.1\r\n" CLOSE "\r\n",
           "\r\n\r\n{\"error\": \"secret \\\"thing\\\" of /etc/x\"}\n");
    expect(s, "GET /v9/fail?code=14 HTTP/1.1\r\n" CLOSE "\r\n", "\r\nRetry-After: 1\r\n");
    expect(s, "GET /v9 HTTP/1.1\r\n" CLOSE "\r\n", "{\"error\": \"there is nothing at this path\"}");
    expect(s, "DELETE /v9/fail HTTP/1.1\r\n" CLOSE "\r\n", "{\"error\": \"this path does not take this method");
    expect(s, "GET /v99 HTTP/1.1\r\n" CLOSE "\r\n", "{\"code\": 404, ");
    expect(s, "GET /v HTTP/1.1\r\n" CLOSE "\r\n", "{\"code\": 404, ");
    http_stop(s);
}

static void test_too_many_headers_are_refused(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 2, 8, 2000);
    struct buf b = BUF_INIT(1 << 20);

    (void)state;
    buf_puts(&b, "POST /echo HTTP/1.1\r\n");
    for (int i = 0; i < 64; i++)
        buf_printf(&b, "X-H%d: 1\r\n", i);
    buf_puts(&b, "Content-Length: 40\r\n\r\nGET /echo HTTP/1.1\r\nHost: smuggled\r\n\r\n...");
    char *a = ask(s, b.data);
    assert_non_null(strstr(a, "HTTP/1.1 431 "));
    assert_null(strstr(a, "HTTP/1.1 200 ")); /* the body is not taken for a request */
    free(a);
    buf_clear(&b);
    buf_puts(&b, "GET /echo?");
    while (b.size < 20000)
        buf_puts(&b, "aaaaaaaaaaaaaaaa");
    buf_puts(&b, " HTTP/1.1\r\n\r\n");
    expect(s, b.data, "HTTP/1.1 400 ");
    buf_fini(&b);
    http_stop(s);
}

static void test_a_refused_body_does_not_hide_the_answer(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 2, 8, 2000);
    struct buf b = BUF_INIT(8 << 20);
    char *a;
    int fd = dial(s);

    (void)state;
    buf_puts(&b, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4194304\r\n\r\n");
    for (size_t n = 0; n < 4 << 20; n += 32)
        buf_puts(&b, "0123456789abcdef0123456789abcdef");
    put(fd, b.data);
    a = read_all(fd);
    assert_non_null(strstr(a, "HTTP/1.1 413 "));
    assert_non_null(strstr(a, "limit of 65536 bytes"));
    free(a);
    buf_fini(&b);
    http_stop(s);
}

static void test_keep_alive_and_continue(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 2, 8, 2000);
    int fd = dial(s);
    char *a;

    (void)state;
    for (int i = 0; i < 3; i++) {
        put(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
        a = read_one(fd);
        assert_string_equal(a, "HTTP/1.1 100 Continue\r\n\r\n");
        free(a);
        put(fd, "ok");
        a = read_one(fd);
        assert_non_null(strstr(a, "\r\nConnection: keep-alive\r\n"));
        assert_non_null(strstr(a, "\r\n\r\nok"));
        free(a);
    }
    wait_observed(&service, 3);
    assert_string_equal(service.seen_route, "/echo");
    close(fd);
    http_stop(s);
}

static void *hold_one(void *arg)
{
    return ask(arg, "GET /hold HTTP/1.1\r\n" CLOSE "\r\n");
}

static void *hold_light(void *arg)
{
    return ask(arg, "GET /light HTTP/1.1\r\n" CLOSE "\r\n");
}

static void wait_running(struct service *service, int n)
{
    for (int64_t until = clock_after_ms(5000); atomic_load(&service->running) != n && clock_now() < until;)
        clock_sleep_ms(1);
    assert_int_equal(service->running, n);
}

/* With one thread, of eight requests one runs, four wait, three are refused at once. */
static void refuse_three_of_eight(void *(*even)(void *server), void *(*odd)(void *server))
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 1, 16, 2000);
    pthread_t threads[8];
    int n_held = 0, n_refused = 0;

    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, i % 2 ? odd : even, s);
    wait_running(&service, 1);
    wait_observed(&service, 3);
    assert_int_equal(service.seen_code, 503);
    assert_int_equal(service.running, 1);
    atomic_store(&service.release, true);
    for (int i = 0; i < 8; i++) {
        char *a;

        pthread_join(threads[i], (void **)&a);
        n_held += strstr(a, "\r\n\r\nheld") != NULL;
        n_refused += strstr(a, "HTTP/1.1 503 ") && strstr(a, "Retry-After: ");
        free(a);
    }
    assert_int_equal(n_held, 5);
    assert_int_equal(n_refused, 3);
    http_stop(s);
}

static void test_more_than_threads_and_queue_gets_503(void **state)
{
    (void)state;
    refuse_three_of_eight(hold_one, hold_one);
}

static void test_light_handlers_count_alike(void **state)
{
    (void)state;
    refuse_three_of_eight(hold_light, hold_light);
    refuse_three_of_eight(hold_light, hold_one);
}

static void test_a_handler_learns_that_its_client_left(void **state)
{
    static const char *const requests[] = {"GET /leave HTTP/1.1\r\nHost: x\r\n\r\n",
                                           "GET /leave-light HTTP/1.1\r\nHost: x\r\n\r\n"};
    struct service service = {0};
    struct http_server *s = server_of(&service, 4, 16, 2000);
    int stays = dial(s);

    (void)state;
    put(stays, requests[0]);
    wait_running(&service, 1);
    for (size_t i = 0; i < COUNT_OF(requests); i++) {
        int fd = dial(s);

        put(fd, requests[i]);
        wait_running(&service, 2);
        close(fd);
        wait_running(&service, 1); /* the other one stays */
        wait_observed(&service, (int)i + 1);
        assert_int_equal(service.seen_code, 499);
    }
    atomic_store(&service.release, true);
    wait_running(&service, 0);
    close(stays);
    http_stop(s);
}

/* A byte now and then, each in time, all together never. */
static void test_a_body_that_drips_is_ended(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 2, 8, 300);
    int64_t start = clock_now();
    int fd = dial(s);
    char *a;

    (void)state;
    put(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    for (int i = 0; i < 100 && send(fd, "x", 1, MSG_NOSIGNAL) == 1; i++)
        clock_sleep_ms(50);
    a = read_all(fd);
    assert_true(clock_seconds(start) < 4);
    wait_observed(&service, 1);
    assert_int_equal(service.seen_code, 408);
    free(a);
    http_stop(s);
}

/* The status line of the answer to a body of n bytes. */
static void expect_large(const struct http_server *s, size_t n, const char *status_line)
{
    struct buf b = BUF_INIT((size_t)2 << 20);
    char *a;
    int fd = dial(s);

    buf_printf(&b, "POST /large HTTP/1.1\r\n" CLOSE "Content-Length: %zu\r\n\r\n", n);
    for (size_t i = 0; i < n; i += 16)
        buf_puts(&b, "0123456789abcdef");
    put(fd, b.data);
    a = read_all(fd);
    assert_memory_equal(a, status_line, strlen(status_line));
    assert_true(!strstr(status_line, "503") || strstr(a, "\r\nRetry-After: 1\r\n"));
    free(a);
    buf_fini(&b);
}

static void test_bodies_that_are_only_announced_take_no_room(void **state)
{
    struct http_config config = {.listen = "127.0.0.1",
                                 .connections = 16,
                                 .routes = routes,
                                 .n_routes = COUNT_OF(routes),
                                 .max_bodies = 640 << 10,
                                 .quiet = true};
    struct http_server *s;
    int fds[4];

    (void)state;
    assert_int_equal(http_start(&s, &config).code, ST_OK);
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        fds[i] = dial(s);
        put(fds[i], "POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 655360\r\nExpect: 100-continue\r\n\r\n");
        char *a = read_one(fds[i]);
        assert_memory_equal(a, "HTTP/1.1 100 ", 13);
        free(a);
    }
    expect_large(s, 128 << 10, "HTTP/1.1 200 ");
    expect_large(s, 1 << 20, "HTTP/1.1 503 ");
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        close(fds[i]);
    http_stop(s);
}

static void test_idle_connections_make_room(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 2, 4, 60000);
    int64_t start = clock_now();
    int silent[4];

    (void)state;
    for (int i = 0; i < 4; i++)
        silent[i] = dial(s);
    expect(s, "GET /echo HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 200 "); /* not after the 60 s of the silent ones */
    assert_true(clock_seconds(start) < 10);
    for (int i = 0; i < 4; i++)
        close(silent[i]);
    http_stop(s);
}

/* The answer on a connection that is kept; false: it said that it ends. */
static bool ask_again(int fd)
{
    char *a;
    bool kept;

    put(fd, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    a = read_one(fd);
    kept = strstr(a, "Connection: keep-alive") != NULL;
    free(a);
    return kept;
}

/* All places are in use by connections that are never idle for long: none ends before another one waits, then one does. */
static void test_a_busy_connection_ends_only_for_one_that_waits(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 2, 4, 2000);
    int fds[4], late, ended = -1;

    (void)state;
    for (int i = 0; i < 4; i++)
        fds[i] = dial(s);
    for (int i = 0; i < 40; i++)
        assert_true(ask_again(fds[i % 4]));
    late = dial(s);
    put(late, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    for (int i = 0; ended < 0 && i < 100000; i++)
        ended = ask_again(fds[i % 4]) ? -1 : i % 4;
    assert_true(ended >= 0);
    close(fds[ended]);
    char *a = read_one(late);
    assert_non_null(strstr(a, "HTTP/1.1 200 "));
    free(a);
    for (int i = 0; i < 4; i++)
        assert_true(i == ended || ask_again(fds[i]));
    close(late);
    for (int i = 0; i < 4; i++)
        if (i != ended)
            close(fds[i]);
    http_stop(s);
}

/* Bodies that do not fit are not read until they do, and then in the order in which they came. */
static void test_bodies_wait_for_their_place(void **state)
{
    struct service service = {0};
    struct http_config config = {.listen = "127.0.0.1",
                                 .connections = 16,
                                 .routes = routes,
                                 .n_routes = COUNT_OF(routes),
                                 .max_bodies = 1000,
                                 .body_wait_ms = 20000,
                                 .service = &service,
                                 .quiet = true};
    struct http_server *s;
    int first, second, large;
    char *a;

    (void)state;
    assert_int_equal(http_start(&s, &config).code, ST_OK);
    first = dial(s);
    put(first, "POST /echo HTTP/1.1\r\n" CLOSE "Content-Length: 800\r\nExpect: 100-continue\r\n\r\n");
    a = read_one(first);
    assert_memory_equal(a, "HTTP/1.1 100 ", 13);
    free(a);
    second = dial(s);
    put(second, "POST /echo HTTP/1.1\r\n" CLOSE "Content-Length: 300\r\nExpect: 100-continue\r\n\r\n");
    large = dial(s); /* it would never fit */
    put(large, "POST /echo HTTP/1.1\r\n" CLOSE "Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n");
    a = read_all(large);
    assert_memory_equal(a, "HTTP/1.1 503 ", 13);
    free(a);
    char byte;
    assert_int_equal(recv(second, &byte, 1, MSG_DONTWAIT), -1);
    for (int i = 0; i < 8; i++)
        put(first,
            "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789");
    a = read_all(first);
    assert_memory_equal(a, "HTTP/1.1 200 ", 13);
    free(a);
    a = read_one(second);
    assert_memory_equal(a, "HTTP/1.1 100 ", 13);
    free(a);
    close(second);
    http_stop(s);
}

/* In a process of its own, whose limit it lowers. */
static void test_connections_follow_the_limit_of_files(void **state)
{
    pid_t child = fork();
    int told;

    (void)state;
    if (!child) {
        const struct rlimit few = {200, 200};
        struct http_config config = {
            .listen = "127.0.0.1", .connections = 1000, .routes = routes, .n_routes = COUNT_OF(routes), .quiet = true};
        struct http_server *s;
        struct stat task;

        log_init("http_test", "error");
        if (setrlimit(RLIMIT_NOFILE, &few) || http_start(&s, &config).code || stat("/proc/self/task", &task))
            _exit(1);
        _exit(task.st_nlink < 200 ? 0 : 2);
    }
    assert_int_equal(waitpid(child, &told, 0), child);
    assert_int_equal(told, 0);
}

static void test_draining_answers_end_their_connection(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 2, 8, 2000);
    int fd = dial(s);
    char *a;

    (void)state;
    put(fd, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    a = read_one(fd);
    assert_non_null(strstr(a, "Connection: keep-alive"));
    free(a);
    http_drain(s);
    put(fd, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    a = read_all(fd);
    assert_non_null(strstr(a, "HTTP/1.1 200 "));
    assert_non_null(strstr(a, "Connection: close"));
    free(a);
    http_stop(s);
}

static void *stop(void *arg)
{
    http_stop(arg);
    return NULL;
}

static void test_stop_finishes_what_is_in_flight(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 2, 8, 2000);
    pthread_t request, stopper;
    int waiting = dial(s);
    char *a, *refused;

    (void)state;
    pthread_create(&request, NULL, hold_one, s);
    wait_running(&service, 1);
    pthread_create(&stopper, NULL, stop, s);
    clock_sleep_ms(20);
    put(waiting, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    refused = read_all(waiting);
    atomic_store(&service.release, true);
    pthread_join(request, (void **)&a);
    pthread_join(stopper, NULL);
    assert_non_null(strstr(a, "\r\n\r\nheld"));
    assert_non_null(strstr(refused, "HTTP/1.1 503 "));
    free(a);
    free(refused);
}

static void test_taken_port_and_bad_address_are_told(void **state)
{
    struct service service = {0};
    struct http_server *s = server_of(&service, 1, 4, 2000), *second;
    struct http_config config = {.listen = "127.0.0.1", .port = http_port(s), .routes = routes, .n_routes = 1};
    struct status st = http_start(&second, &config);
    char port[16];

    (void)state;
    snprintf(port, sizeof port, ":%d", http_port(s));
    assert_int_equal(st.code, ST_UNAVAILABLE);
    assert_non_null(strstr(st.msg, port));
    assert_non_null(strstr(st.msg, "Address already in use"));
    config.listen = "::1";
    st = http_start(&second, &config);
    assert_int_equal(st.code, ST_INVALID);
    assert_non_null(strstr(st.msg, "\"::1\""));
    http_stop(s);
    http_stop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_carry_what_was_promised),
        cmocka_unit_test(test_head_has_the_headers_alone),
        cmocka_unit_test(test_paths_and_queries_are_decoded),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_statuses_become_codes_and_500_keeps_its_message),
        cmocka_unit_test(test_errors_below_a_path_are_plain),
        cmocka_unit_test(test_too_many_headers_are_refused),
        cmocka_unit_test(test_a_refused_body_does_not_hide_the_answer),
        cmocka_unit_test(test_keep_alive_and_continue),
        cmocka_unit_test(test_more_than_threads_and_queue_gets_503),
        cmocka_unit_test(test_light_handlers_count_alike),
        cmocka_unit_test(test_a_handler_learns_that_its_client_left),
        cmocka_unit_test(test_a_body_that_drips_is_ended),
        cmocka_unit_test(test_bodies_that_are_only_announced_take_no_room),
        cmocka_unit_test(test_idle_connections_make_room),
        cmocka_unit_test(test_a_busy_connection_ends_only_for_one_that_waits),
        cmocka_unit_test(test_bodies_wait_for_their_place),
        cmocka_unit_test(test_connections_follow_the_limit_of_files),
        cmocka_unit_test(test_draining_answers_end_their_connection),
        cmocka_unit_test(test_stop_finishes_what_is_in_flight),
        cmocka_unit_test(test_taken_port_and_bad_address_are_told),
    };

    log_init("http_test", "warn");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
