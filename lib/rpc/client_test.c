/* client_test.c - what a client promises beyond a single call: retries, waiting, several servers, counting. */
#include "metrics/metrics.h"
#include "rpc/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct status classify(struct rpc_client *c, struct rpc_options options)
{
    struct status st;

    testing_classify(c, "echo", "text", options, &st);
    return st;
}

#define OK(expression)                                                                                                 \
    do {                                                                                                               \
        struct status ok_st = (expression);                                                                            \
        if (ok_st.code)                                                                                                \
            fail_msg("%s: %s %s", #expression, code_name(ok_st.code), ok_st.msg);                                      \
    } while (0)

/* A port that was free a moment ago. */
static int free_port(void)
{
    struct testing t;

    testing_start(&t, &(struct rpc_server_config){.workers = 1});
    testing_stop(&t);
    return t.port;
}

static struct rpc_client *client_of_port(int port)
{
    char target[64];

    snprintf(target, sizeof target, "127.0.0.1:%d", port);
    return testing_client(target);
}

static void test_no_server_is_unavailable_at_once(void **state)
{
    struct rpc_client *c = client_of_port(free_port());
    int64_t begin = clock_now();

    (void)state;
    assert_int_equal(classify(c, (struct rpc_options){.timeout_ms = 20000}).code, ST_UNAVAILABLE);
    assert_true(clock_seconds(begin) < 10);
    rpc_client_free(c);
}

struct late {
    struct testing t;
    int port;
};

static void *start_later(void *arg)
{
    struct late *late = arg;

    clock_sleep_ms(200);
    testing_start(&late->t, &(struct rpc_server_config){.port = late->port, .workers = 1, .queue = 8});
    return NULL;
}

static void late_server(struct rpc_options options)
{
    struct late late = {.port = free_port()};
    struct rpc_client *c = client_of_port(late.port);
    pthread_t thread = thread_start("late", 0, start_later, &late);

    OK(classify(c, options));
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&late.t.n_classify), 1);
    rpc_client_free(c);
    testing_stop(&late.t);
}

static void test_retries_reach_a_server_that_comes_later(void **state)
{
    (void)state;
    late_server((struct rpc_options){.timeout_ms = 30000, .retries = 100});
}

static void test_wait_for_ready_reaches_a_server_that_comes_later(void **state)
{
    (void)state;
    late_server((struct rpc_options){.timeout_ms = 30000, .wait_for_ready = true});
}

static void test_retries_end_with_the_deadline(void **state)
{
    struct rpc_client *c = client_of_port(free_port());
    int64_t begin = clock_now();

    (void)state;
    assert_int_not_equal(classify(c, (struct rpc_options){.timeout_ms = 300, .retries = 1000}).code, ST_OK);
    assert_true(clock_seconds(begin) < 10);
    rpc_client_free(c);
}

static void test_only_unavailable_is_retried(void **state)
{
    struct testing t;
    struct status st;

    (void)state;
    testing_start(&t, &(struct rpc_server_config){.workers = 1, .queue = 8});
    struct rpc_client *c = testing_client(t.target);
    testing_classify(c, "fail", "", (struct rpc_options){.retries = 5}, &st);
    assert_int_equal(st.code, ST_PRECONDITION);
    assert_int_equal(atomic_load(&t.n_classify), 1);
    rpc_client_free(c);
    testing_stop(&t);
}

/* Both servers get calls; after the end of one no call fails. */
static void test_round_robin_over_two_servers_survives_the_loss_of_one(void **state)
{
    struct testing a, b;
    char target[160];

    (void)state;
    testing_start(&a, &(struct rpc_server_config){.workers = 1, .queue = 8, .drain_ms = 1});
    testing_start(&b, &(struct rpc_server_config){.workers = 1, .queue = 8});
    snprintf(target, sizeof target, "ipv4:%s,%s", a.target, b.target);
    struct rpc_client *c = testing_client(target);
    int64_t until = clock_after_ms(20000);
    while (!(atomic_load(&a.n_classify) && atomic_load(&b.n_classify)) && clock_now() < until)
        OK(classify(c, (struct rpc_options){.wait_for_ready = true}));
    int before_a = atomic_load(&a.n_classify), before_b = atomic_load(&b.n_classify);
    for (int i = 0; i < 40; i++)
        OK(classify(c, (struct rpc_options){0}));
    assert_in_range(atomic_load(&a.n_classify) - before_a, 15, 25);
    assert_in_range(atomic_load(&b.n_classify) - before_b, 15, 25);
    testing_stop(&a);
    for (int i = 0; i < 40; i++)
        OK(classify(c, (struct rpc_options){.retries = 3}));
    rpc_client_free(c);
    testing_stop(&b);
}

/* Without the watching thread a server waits seconds for its idle clients to hang up. */
static void test_an_idle_client_does_not_hold_a_drain(void **state)
{
    struct testing t;

    (void)state;
    testing_start(&t, &(struct rpc_server_config){.workers = 1, .queue = 8, .drain_ms = 60000});
    struct rpc_client *c = testing_client(t.target);
    OK(classify(c, (struct rpc_options){0}));
    int64_t begin = clock_now();
    testing_stop(&t);
    assert_true(clock_seconds(begin) < 4);
    assert_int_equal(classify(c, (struct rpc_options){0}).code, ST_UNAVAILABLE);
    rpc_client_free(c);
}

static void *call_often(void *client)
{
    for (int i = 0; i < 50; i++)
        OK(classify(client, (struct rpc_options){.wait_for_ready = true}));
    return NULL;
}

static bool abandon_the_second_time(void *ctx)
{
    return ++*(int *)ctx == 2;
}

/* The server learns of it too, and the client serves on. */
static void test_an_abandoned_call_is_cancelled(void **state)
{
    struct testing t;
    struct status st;
    int n_asked = 0;

    (void)state;
    testing_start(&t, &(struct rpc_server_config){.workers = 1, .queue = 8});
    struct rpc_client *c = testing_client(t.target);
    struct rpc_options options = {.timeout_ms = 60000, .abandoned = abandon_the_second_time, .abandoned_ctx = &n_asked};
    testing_classify(c, "gate", "", options, &st);
    assert_int_equal(st.code, ST_CANCELLED);
    assert_int_equal(n_asked, 2);
    testing_await(&t.n_cancelled, 1);
    OK(classify(c, options));
    rpc_client_free(c);
    testing_stop(&t);
}

/* The thread of all clients ends with the last and comes back with the next. */
static void test_callers_of_several_clients_at_once(void **state)
{
    struct testing t;

    (void)state;
    testing_start(&t, &(struct rpc_server_config){.workers = 2, .queue = 64});
    for (int i = 0; i < 3; i++) {
        struct rpc_client *clients[2] = {testing_client(t.target), testing_client(t.target)};
        pthread_t threads[8];

        for (size_t k = 0; k < COUNT_OF(threads); k++)
            threads[k] = thread_start("caller", 0, call_often, clients[k % 2]);
        for (size_t k = 0; k < COUNT_OF(threads); k++)
            pthread_join(threads[k], NULL);
        rpc_client_free(clients[0]);
        OK(classify(clients[1], (struct rpc_options){0}));
        rpc_client_free(clients[1]);
    }
    assert_int_equal(atomic_load(&t.n_classify), 3 * (8 * 50 + 1));
    testing_stop(&t);
}

static void test_a_bad_target_fails_its_calls_alone(void **state)
{
    struct rpc_client *c = testing_client("no-such-scheme://x:1:2:3");

    (void)state;
    assert_int_not_equal(classify(c, (struct rpc_options){.timeout_ms = 2000}).code, ST_OK);
    rpc_client_free(c);
    struct rpc_client *none;
    assert_int_equal(rpc_client_new(&none, &(struct rpc_client_config){.target = ""}).code, ST_INVALID);
}

static double counted(const char *name, const char *code)
{
    return series_value(
        metric_series(metric_counter(name, "", "service,method,code"), CLASSIFY->name, "Classify", code));
}

static void test_calls_are_counted_on_both_sides(void **state)
{
    struct testing t;
    struct status st;
    const char *const names[] = {"bloginfer_rpc_server_calls_total", "bloginfer_rpc_client_calls_total"};
    double ok[2], failed[2];

    (void)state;
    testing_start(&t, &(struct rpc_server_config){.workers = 1, .queue = 8});
    struct rpc_client *c = testing_client(t.target);
    for (int i = 0; i < 2; i++) {
        ok[i] = counted(names[i], "OK");
        failed[i] = counted(names[i], "FAILED_PRECONDITION");
    }
    OK(classify(c, (struct rpc_options){0}));
    testing_classify(c, "fail", "", (struct rpc_options){0}, &st);
    for (int i = 0; i < 2; i++) {
        assert_true(counted(names[i], "OK") == ok[i] + 1);
        assert_true(counted(names[i], "FAILED_PRECONDITION") == failed[i] + 1);
    }
    struct metric *in_flight = metric_gauge("bloginfer_rpc_server_in_flight", "", NULL);
    assert_true(series_value(metric_series(in_flight)) == 0);
    rpc_client_free(c);
    testing_stop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_server_is_unavailable_at_once),
        cmocka_unit_test(test_retries_reach_a_server_that_comes_later),
        cmocka_unit_test(test_wait_for_ready_reaches_a_server_that_comes_later),
        cmocka_unit_test(test_retries_end_with_the_deadline),
        cmocka_unit_test(test_only_unavailable_is_retried),
        cmocka_unit_test(test_round_robin_over_two_servers_survives_the_loss_of_one),
        cmocka_unit_test(test_an_idle_client_does_not_hold_a_drain),
        cmocka_unit_test(test_an_abandoned_call_is_cancelled),
        cmocka_unit_test(test_callers_of_several_clients_at_once),
        cmocka_unit_test(test_a_bad_target_fails_its_calls_alone),
        cmocka_unit_test(test_calls_are_counted_on_both_sides),
    };

    rpc_init();
    int failed = cmocka_run_group_tests_name("client", tests, NULL, NULL);
    rpc_fini();
    return failed;
}
