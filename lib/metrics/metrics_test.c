/* metrics_test.c - the promises of metrics.h; the page is read back by Prometheus' own Python parser where it is
 * installed (python3-prometheus-client), and over the port by a plain socket. */
#include "metrics/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char *page(void)
{
    struct buf b = BUF_INIT((size_t)16 << 20);

    metrics_render(&b);
    assert_false(b.full);
    return buf_take(&b);
}

static void expect(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no \"%s\" in:\n%.3000s", part, text);
}

static void test_counters_and_gauges(void **state)
{
    struct metric *calls = metric_counter("bloginfer_t_calls_total", "Calls.", "method,code");
    struct metric *depth = metric_gauge("bloginfer_t_depth", "Depth.", NULL);
    char *text;

    (void)state;
    metric_add(calls, 1, "Classify", "OK");
    metric_add(calls, 2.5, "Classify", "OK");
    metric_add(calls, 1, "Detect", "OK");
    metric_set(depth, -0.1);
    metric_add(depth, -1);
    assert_ptr_equal(calls, metric_counter("bloginfer_t_calls_total", "Calls.", "method,code"));
    assert_ptr_equal(metric_series(calls, "Detect", "OK"), metric_series(calls, "Detect", "OK"));
    assert_true(series_value(metric_series(calls, "Classify", "OK")) == 3.5);
    text = page();
    expect(text, "# HELP bloginfer_t_calls_total Calls.\n# TYPE bloginfer_t_calls_total counter\n");
    expect(text, "bloginfer_t_calls_total{method=\"Classify\",code=\"OK\"} 3.5\n");
    expect(text, "bloginfer_t_calls_total{method=\"Detect\",code=\"OK\"} 1\n");
    expect(text, "# TYPE bloginfer_t_depth gauge\nbloginfer_t_depth -1.1\n");
    free(text);
}

static void test_labels_are_escaped(void **state)
{
    char *text;

    (void)state;
    metric_add(metric_counter("bloginfer_t_escape_total", "A \"help\" of\ntwo \\ lines.", "v"), 1, "a\"b\\c\nd 杠");
    text = page();
    expect(text, "bloginfer_t_escape_total{v=\"a\\\"b\\\\c\\nd 杠\"} 1\n");
    expect(text, "# HELP bloginfer_t_escape_total A \"help\" of\\ntwo \\\\ lines.\n");
    free(text);
}

static void test_histograms_are_cumulative(void **state)
{
    static const double bounds[] = {0.1, 1};
    struct metric *h = metric_histogram("bloginfer_t_seconds", "Time.", "op", bounds, 2);
    char *text;

    (void)state;
    metric_observe(h, 0.05, "x");
    metric_observe(h, 0.1, "x"); /* a bound belongs to its bucket */
    metric_observe(h, 0.5, "x");
    metric_observe(h, 7, "x");
    assert_true(series_value(metric_series(h, "x")) == 4);
    text = page();
    expect(text, "# TYPE bloginfer_t_seconds histogram\n"
                 "bloginfer_t_seconds_bucket{op=\"x\",le=\"0.1\"} 2\n"
                 "bloginfer_t_seconds_bucket{op=\"x\",le=\"1\"} 3\n"
                 "bloginfer_t_seconds_bucket{op=\"x\",le=\"+Inf\"} 4\n"
                 "bloginfer_t_seconds_sum{op=\"x\"} 7.65\n"
                 "bloginfer_t_seconds_count{op=\"x\"} 4\n");
    free(text);
}

static void test_series_of_a_family_are_capped(void **state)
{
    struct metric *m = metric_counter("bloginfer_t_many_total", "Many.", "a,b");
    char value[16];

    (void)state;
    for (int i = 0; i < METRIC_MAX_SERIES + 500; i++) {
        snprintf(value, sizeof value, "%d", i);
        metric_add(m, 1, value, "x");
    }
    assert_true(series_value(metric_series(m, "other", "other")) == 501);
    assert_true(series_value(metric_series(m, "7", "x")) == 1); /* the early ones stay themselves */
}

#define N_THREADS 4
#define N_EACH    20000

static void *hammer(void *arg)
{
    struct metric *m = arg;
    struct metric *h = metric_histogram("bloginfer_t_hammer_seconds", "Time.", NULL, NULL, 0);
    char value[8];

    for (int i = 0; i < N_EACH; i++) {
        snprintf(value, sizeof value, "%d", i % 50);
        metric_add(m, 1, value);
        metric_observe(h, 0.001);
        if (i % 5000 == 0)
            free(page());
    }
    return NULL;
}

static void test_nothing_is_lost_between_threads(void **state)
{
    struct metric *m = metric_counter("bloginfer_t_hammer_total", "Hits.", "v");
    struct metric *h = metric_histogram("bloginfer_t_hammer_seconds", "Time.", NULL, NULL, 0);
    pthread_t threads[N_THREADS];
    double sum = 0;
    char value[8];

    (void)state;
    for (int i = 0; i < N_THREADS; i++)
        pthread_create(&threads[i], NULL, hammer, m);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 50; i++) {
        snprintf(value, sizeof value, "%d", i);
        sum += series_value(metric_series(m, value));
    }
    assert_true(sum == N_THREADS * N_EACH);
    assert_true(series_value(metric_series(h)) == N_THREADS * N_EACH);
}

static void test_the_process_is_described(void **state)
{
    char *text = page(), *at = strstr(text, "\nprocess_resident_memory_bytes ");

    (void)state;
    assert_non_null(at);
    assert_in_range(strtoull(at + 31, NULL, 10), 1 << 20, UINT64_C(1) << 40);
    at = strstr(text, "\nprocess_start_time_seconds ");
    assert_non_null(at);
    assert_true(time(NULL) - strtod(at + 28, NULL) < 3600 && time(NULL) - strtod(at + 28, NULL) > -5);
    at = strstr(text, "\nprocess_open_fds ");
    assert_non_null(at);
    assert_in_range(atoi(at + 18), 3, 1000);
    expect(text, "\nprocess_cpu_seconds_total ");
    assert_int_equal(text[strlen(text) - 1], '\n');
    free(text);
}

/* The reference parser refuses a page that is not in the format, and checks what belongs to a histogram. */
static void test_the_reference_parser_reads_it(void **state)
{
    static const char program[] = "/usr/bin/python3 -c '"
                                  "import sys\n"
                                  "from prometheus_client.parser import text_string_to_metric_families as parse\n"
                                  "families = {f.name: f for f in parse(sys.stdin.read())}\n"
                                  "samples = families[\"bloginfer_t_seconds\"].samples\n"
                                  "assert [s.value for s in samples] == [2, 3, 4, 7.65, 4], samples\n"
                                  "labels = families[\"bloginfer_t_escape\"].samples[0].labels\n"
                                  "assert labels[\"v\"] == \"a\\\"b\\\\c\\nd \\u6760\", labels\n"
                                  "assert families[\"process_cpu_seconds\"].type == \"counter\"'";
    char *text;
    FILE *f;

    (void)state;
    if (system("/usr/bin/python3 -c 'import prometheus_client' 2>/dev/null"))
        skip();
    text = page();
    f = popen(program, "w");
    fputs(text, f);
    assert_int_equal(pclose(f), 0);
    free(text);
}

static char *get(int port, const char *path)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct buf b = BUF_INIT((size_t)16 << 20);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char block[4096];
    ssize_t n;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    dprintf(fd, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
    while ((n = recv(fd, block, sizeof block, 0)) > 0)
        buf_add(&b, block, (size_t)n);
    close(fd);
    return buf_take(&b);
}

static void expect_page(int port, const char *path, const char *part)
{
    char *text = get(port, path);

    expect(text, part);
    free(text);
}

static struct status ready(void *ctx)
{
    return *(const char **)ctx ? status_errorf(ST_PRECONDITION, "%s", *(const char **)ctx) : status_ok();
}

static void test_port_health_and_readiness(void **state)
{
    const char *why = "no model yet";
    struct metrics_config config = {.listen = "127.0.0.1", .program = "test", .ready = ready, .ready_ctx = &why};
    struct metrics_port *p;
    int port;

    (void)state;
    assert_int_equal(metrics_start(&p, &config).code, ST_OK);
    port = metrics_port_number(p);
    expect_page(port, "/metrics", "Content-Type: text/plain; version=0.0.4");
    expect_page(port, "/metrics", "bloginfer_build_info{program=\"test\",version=\"");
    expect_page(port, "/healthz", "HTTP/1.1 200 ");
    expect_page(port, "/readyz", "HTTP/1.1 503 ");
    expect_page(port, "/readyz", "\"no model yet\"");
    why = NULL;
    expect_page(port, "/readyz", "HTTP/1.1 200 ");
    metrics_drain(p);
    expect_page(port, "/readyz", "HTTP/1.1 503 ");
    expect_page(port, "/healthz", "HTTP/1.1 200 ");
    metrics_stop(p);
    metrics_stop(NULL);
}

static void test_http_answers_are_counted(void **state)
{
    char *text;

    (void)state;
    metrics_observe_http(NULL, "GET", "/x/{y}", 404, 0.003);
    text = page();
    expect(text, "bloginfer_http_requests_total{method=\"GET\",route=\"/x/{y}\",code=\"404\"} 1\n");
    expect(text, "bloginfer_http_request_duration_seconds_bucket{route=\"/x/{y}\",le=\"0.005\"} 1\n");
    expect(text, "bloginfer_http_request_duration_seconds_bucket{route=\"/x/{y}\",le=\"0.0025\"} 0\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counters_and_gauges),
        cmocka_unit_test(test_labels_are_escaped),
        cmocka_unit_test(test_histograms_are_cumulative),
        cmocka_unit_test(test_series_of_a_family_are_capped),
        cmocka_unit_test(test_nothing_is_lost_between_threads),
        cmocka_unit_test(test_the_process_is_described),
        cmocka_unit_test(test_the_reference_parser_reads_it),
        cmocka_unit_test(test_port_health_and_readiness),
        cmocka_unit_test(test_http_answers_are_counted),
    };

    log_init("metrics_test", "warn");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
