/* call_test.c - calls between a real server and a real client: unary, streams, deadlines, cancellation. */
#include "rpc/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct testing t;
static struct rpc_client *client;

static int setup(void **state)
{
    (void)state;
    testing_start(&t, &(struct rpc_server_config){.workers = 2, .queue = 2});
    client = testing_client(t.target);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    testing_open_gate(&t);
    rpc_client_free(client);
    testing_stop(&t);
    return 0;
}

#define OK(expression)                                                                                                 \
    do {                                                                                                               \
        struct status ok_st = (expression);                                                                            \
        if (ok_st.code)                                                                                                \
            fail_msg("%s: %s %s", #expression, code_name(ok_st.code), ok_st.msg);                                      \
    } while (0)

static struct status classify(const char *task, struct rpc_options options)
{
    struct status st;

    testing_classify(client, task, "text", options, &st);
    return st;
}

/* ---- unary ---- */

static void test_unary_answers(void **state)
{
    struct status st;

    (void)state;
    assert_string_equal(testing_classify(client, "echo", "很好", (struct rpc_options){0}, &st), "很好");
    OK(st);
}

static void test_status_and_message_arrive(void **state)
{
    struct status st = classify("fail", (struct rpc_options){0});

    (void)state;
    assert_int_equal(st.code, ST_PRECONDITION);
    assert_string_equal(st.msg, "no model 模型 has been published");
}

static void test_deadline_ends_the_call_on_both_sides(void **state)
{
    struct status st = classify("gate", (struct rpc_options){.timeout_ms = 50});

    (void)state;
    assert_int_equal(st.code, ST_DEADLINE);
    testing_await(&t.n_cancelled, 1);
}

static void test_a_parents_deadline_reaches_the_inner_server(void **state)
{
    struct testing inner;
    struct status st;

    (void)state;
    testing_start(&inner, &(struct rpc_server_config){.workers = 1, .queue = 1});
    t.next = testing_client(inner.target);
    testing_classify(client, "forward", "", (struct rpc_options){.timeout_ms = 200}, &st);
    assert_int_equal(st.code, ST_DEADLINE);
    testing_await(&inner.n_cancelled, 1);
    testing_await(&t.n_cancelled, 1);
    rpc_client_free(t.next);
    testing_stop(&inner);
}

/* ---- streams ---- */

static struct rpc_call *open_stream(const char *method)
{
    struct rpc_call *call;

    OK(rpc_stream_open(&call, client, FEDERATION, method, &(struct rpc_options){.timeout_ms = 20000}));
    return call;
}

static struct status send_chunk(struct rpc_call *call, size_t size)
{
    Bloginfer__V1__UpdateChunk chunk = BLOGINFER__V1__UPDATE_CHUNK__INIT;
    Bloginfer__V1__SubmitRequest req = BLOGINFER__V1__SUBMIT_REQUEST__INIT;

    req.body_case = BLOGINFER__V1__SUBMIT_REQUEST__BODY_CHUNK;
    req.chunk = &chunk;
    chunk.data.len = size;
    chunk.data.data = xcalloc(size, 1);
    struct status st = rpc_send(call, &req);
    free(chunk.data.data);
    return st;
}

static void test_client_stream_is_summed_up(void **state)
{
    struct rpc_call *call = open_stream("Submit");
    const void *in;

    (void)state;
    for (int i = 0; i < 20; i++)
        OK(send_chunk(call, 1 << 20));
    OK(rpc_send_done(call));
    OK(rpc_recv(call, &in));
    assert_non_null(in);
    assert_string_equal(((const Bloginfer__V1__SubmitResponse *)in)->reason, "20971520");
    OK(rpc_recv(call, &in));
    assert_null(in);
    OK(rpc_stream_finish(call));
}

static void test_a_broken_client_stream_is_no_end_of_messages(void **state)
{
    struct rpc_call *call = open_stream("Submit");

    (void)state;
    OK(send_chunk(call, 1000));
    testing_await(&t.n_streams, 1);
    rpc_cancel(call);
    assert_int_equal(rpc_stream_finish(call).code, ST_CANCELLED);
    testing_await(&t.n_broken, 1);
}

static void test_a_forgotten_answer_is_an_internal_error(void **state)
{
    struct rpc_call *call = open_stream("Submit");

    (void)state;
    OK(send_chunk(call, 1));
    struct status st = rpc_stream_finish(call);
    assert_int_equal(st.code, ST_INTERNAL);
}

static void test_server_stream_arrives_in_order(void **state)
{
    Bloginfer__V1__FetchRequest req = BLOGINFER__V1__FETCH_REQUEST__INIT;
    struct rpc_call *call = open_stream("Fetch");
    const void *in;
    size_t n = 0;

    (void)state;
    OK(rpc_send(call, &req));
    OK(rpc_send_done(call));
    for (; !rpc_recv(call, &in).code && in; n++)
        assert_int_equal(((const Bloginfer__V1__FetchResponse *)in)->offset, n << 16);
    assert_int_equal(n, 100);
    OK(rpc_stream_finish(call));
}

static void test_an_unread_stream_can_be_finished(void **state)
{
    Bloginfer__V1__FetchRequest req = BLOGINFER__V1__FETCH_REQUEST__INIT;
    struct rpc_call *call = open_stream("Fetch");

    (void)state;
    OK(rpc_send(call, &req));
    OK(rpc_stream_finish(call));
}

static struct status beat(struct rpc_call *call, uint64_t rows)
{
    Bloginfer__V1__Heartbeat heartbeat = BLOGINFER__V1__HEARTBEAT__INIT;
    Bloginfer__V1__ControlRequest req = BLOGINFER__V1__CONTROL_REQUEST__INIT;

    req.body_case = BLOGINFER__V1__CONTROL_REQUEST__BODY_HEARTBEAT;
    req.heartbeat = &heartbeat;
    heartbeat.rows_done = rows;
    return rpc_send(call, &req);
}

static void test_both_sides_stream(void **state)
{
    struct rpc_call *call = open_stream("Control");
    const void *in;

    (void)state;
    for (uint32_t i = 0; i < 100; i++) {
        OK(beat(call, i));
        OK(rpc_recv(call, &in));
        assert_non_null(in);
        assert_int_equal(((const Bloginfer__V1__ControlResponse *)in)->wait->wait_ms, i);
    }
    OK(rpc_stream_finish(call));
}

static void test_wake_reaches_a_waiting_handler(void **state)
{
    struct rpc_call *call = open_stream("Control");
    const void *in;

    (void)state;
    testing_await(&t.n_streams, 1);
    testing_wake(&t);
    OK(rpc_recv(call, &in));
    assert_non_null(in);
    assert_int_equal(((const Bloginfer__V1__ControlResponse *)in)->body_case,
                     BLOGINFER__V1__CONTROL_RESPONSE__BODY_EVALUATE);
    OK(rpc_stream_finish(call));
}

static void *waker(void *call)
{
    rpc_wake(call);
    return NULL;
}

static void test_a_clients_stream_wakes_and_times_out(void **state)
{
    struct rpc_call *call = open_stream("Control");
    const void *in;

    (void)state;
    assert_int_equal(rpc_wait(call, &in, clock_after_ms(20)), RPC_TIMEOUT);
    pthread_t thread = thread_start("waker", 0, waker, call);
    assert_int_equal(rpc_wait(call, &in, CLOCK_NEVER), RPC_WOKEN);
    pthread_join(thread, NULL);
    assert_int_equal(rpc_wait(call, &in, clock_after_ms(1)), RPC_TIMEOUT);
    rpc_send_done(call);
    assert_int_equal(rpc_wait(call, &in, CLOCK_NEVER), RPC_HALF_CLOSED);
    OK(rpc_stream_finish(call));
}

static void test_cancellation_reaches_a_stream_handler(void **state)
{
    struct rpc_call *call = open_stream("Control");

    (void)state;
    testing_await(&t.n_streams, 1);
    rpc_cancel(call);
    assert_int_equal(rpc_stream_finish(call).code, ST_CANCELLED);
    testing_await(&t.n_cancelled, 1);
}

static void test_a_streams_deadline_reaches_its_handler(void **state)
{
    struct rpc_call *call;

    (void)state;
    OK(rpc_stream_open(&call, client, FEDERATION, "Control", &(struct rpc_options){.timeout_ms = 50}));
    const void *in;
    assert_int_equal(rpc_wait(call, &in, CLOCK_NEVER), RPC_HALF_CLOSED);
    assert_int_equal(rpc_stream_finish(call).code, ST_DEADLINE);
    testing_await(&t.n_cancelled, 1);
}

/* ---- what goes along ---- */

static void test_peer_metadata_and_trailers(void **state)
{
    struct rpc_trailer trailers[] = {{.key = "x-answer"}, {.key = RPC_SERVED_BY}, {.key = "x-upper"}};
    const char *const metadata[] = {"x-test", "value 1", NULL};
    struct arena arena;
    struct rpc_options options = {.arena = &arena, .metadata = metadata, .trailers = trailers, .n_trailers = 3};
    Bloginfer__V1__ClassifyRequest req = BLOGINFER__V1__CLASSIFY_REQUEST__INIT;
    const void *out;

    (void)state;
    arena_init(&arena, 1 << 20);
    req.task = "call";
    OK(rpc_unary(client, CLASSIFY, "Classify", &req, &out, &options));
    const Bloginfer__V1__ClassifyResponse *rep = out;
    assert_int_equal(rep->n_results, 3);
    assert_memory_equal(rep->results[0]->label, "ipv4:127.0.0.1:", 15);
    assert_string_equal(rep->results[1]->label, "(none)");
    assert_string_equal(rep->results[2]->label, "value 1");
    assert_string_equal(trailers[0].value, "yes");
    assert_true(trailers[1].value && *trailers[1].value);
    assert_null(trailers[2].value);
    arena_fini(&arena);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_unary_answers),
        CASE(test_status_and_message_arrive),
        CASE(test_deadline_ends_the_call_on_both_sides),
        CASE(test_a_parents_deadline_reaches_the_inner_server),
        CASE(test_client_stream_is_summed_up),
        CASE(test_a_broken_client_stream_is_no_end_of_messages),
        CASE(test_a_forgotten_answer_is_an_internal_error),
        CASE(test_server_stream_arrives_in_order),
        CASE(test_an_unread_stream_can_be_finished),
        CASE(test_both_sides_stream),
        CASE(test_wake_reaches_a_waiting_handler),
        CASE(test_a_clients_stream_wakes_and_times_out),
        CASE(test_cancellation_reaches_a_stream_handler),
        CASE(test_a_streams_deadline_reaches_its_handler),
        CASE(test_peer_metadata_and_trailers),
    };

    rpc_init();
    int failed = cmocka_run_group_tests_name("call", tests, NULL, NULL);
    rpc_fini();
    return failed;
}
