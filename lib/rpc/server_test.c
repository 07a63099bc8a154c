/* server_test.c - what a server promises around its handlers: limits, health, reflection, drain. */
#include "rpc/channel.h"
#include "rpc/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <grpc/grpc_security.h>

typedef Grpc__Health__V1__HealthCheckRequest check_request;
typedef Grpc__Health__V1__HealthCheckResponse check_response;
typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

#define SERVING         GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define NOT_SERVING     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
#define SERVICE_UNKNOWN GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN

static struct testing t;
static struct rpc_client *client;
static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 8 << 20);
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
    arena_fini(&arena);
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

/* ---- limits ---- */

static void *classify_at_the_gate(void *arg)
{
    struct status *st = arg;

    *st = classify("gate", (struct rpc_options){.timeout_ms = 20000});
    return NULL;
}

/* Two workers and a queue of two: of many calls at once four are taken, the others refused at once. */
static void test_a_full_queue_refuses_at_once(void **state)
{
    enum { N = 8 };
    pthread_t threads[N];
    struct status st[N];
    int n_ok = 0, n_refused = 0;

    (void)state;
    for (int i = 0; i < N; i++)
        threads[i] = thread_start("caller", 0, classify_at_the_gate, &st[i]);
    testing_await(&t.n_classify, 2);
    while (classify("echo", (struct rpc_options){.timeout_ms = 50}).code != ST_EXHAUSTED)
        ;
    testing_open_gate(&t);
    for (int i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        n_ok += st[i].code == ST_OK;
        n_refused += st[i].code == ST_EXHAUSTED;
    }
    assert_int_equal(n_ok + n_refused, N);
    assert_in_range(n_ok, 2, 4);
    OK(classify("echo", (struct rpc_options){0}));
}

static struct status detect(size_t size, uint32_t *width)
{
    Bloginfer__V1__DetectRequest req = BLOGINFER__V1__DETECT_REQUEST__INIT;
    struct rpc_options options = {.arena = &arena};
    const void *out;

    req.image.len = size;
    req.image.data = xcalloc(size, 1);
    struct status st = rpc_unary(client, DETECT, "Detect", &req, &out, &options);
    *width = st.code ? 0 : ((const Bloginfer__V1__DetectResponse *)out)->image_width;
    free(req.image.data);
    return st;
}

static void test_messages_over_the_methods_limit_are_refused(void **state)
{
    uint32_t width;

    (void)state;
    OK(detect(60000, &width));
    assert_int_equal(width, 60000);
    assert_int_equal(detect(70000, &width).code, ST_EXHAUSTED);    /* the method's limit */
    assert_int_equal(detect(20 << 20, &width).code, ST_EXHAUSTED); /* the server's */
    OK(detect(60000, &width));
}

/* 900,000 empty strings are 1.8 MB on the wire's side of the limit, and over the arena's. */
static void test_messages_that_swell_in_memory_are_refused(void **state)
{
    Bloginfer__V1__ClassifyRequest req = BLOGINFER__V1__CLASSIFY_REQUEST__INIT;
    struct rpc_options options = {.arena = &arena, .timeout_ms = 20000};
    const void *out;

    (void)state;
    req.n_texts = 500000;
    req.texts = xcalloc(req.n_texts, sizeof *req.texts);
    for (size_t i = 0; i < req.n_texts; i++)
        req.texts[i] = "";
    struct status st = rpc_unary(client, CLASSIFY, "Classify", &req, &out, &options);
    assert_int_equal(st.code, ST_EXHAUSTED);
    assert_int_equal(atomic_load(&t.n_classify), 0);
    free(req.texts);
}

static void test_strings_must_be_utf8_both_ways(void **state)
{
    Bloginfer__V1__DetectRequest req = BLOGINFER__V1__DETECT_REQUEST__INIT;
    struct rpc_options options = {.arena = &arena};
    const void *out;

    (void)state;
    req.id = "bad-reply";
    assert_int_equal(rpc_unary(client, DETECT, "Detect", &req, &out, &options).code, ST_INTERNAL);
    req.id = "\xff";
    assert_int_equal(rpc_unary(client, DETECT, "Detect", &req, &out, &options).code, ST_INTERNAL);
}

static void test_unknown_methods_and_services_are_unimplemented(void **state)
{
    static const ProtobufCMethodDescriptor method = {"Nothing", &bloginfer__v1__detect_request__descriptor,
                                                     &bloginfer__v1__detect_response__descriptor};
    static const unsigned index[] = {0};
    ProtobufCServiceDescriptor d = *CLASSIFY;
    struct rpc_options options = {.arena = &arena};
    Bloginfer__V1__DetectRequest req = BLOGINFER__V1__DETECT_REQUEST__INIT;
    const void *out;

    (void)state;
    d.n_methods = 1;
    d.methods = &method;
    d.method_indices_by_name = index;
    assert_int_equal(rpc_unary(client, &d, "Nothing", &req, &out, &options).code, ST_UNIMPLEMENTED);
    d.name = "bloginfer.v9.NoService";
    assert_int_equal(rpc_unary(client, &d, "Nothing", &req, &out, &options).code, ST_UNIMPLEMENTED);
    assert_int_equal(rpc_unary(client, CLASSIFY, "Nothing", &req, &out, &options).code, ST_UNIMPLEMENTED);
}

static void test_a_streams_count_is_limited(void **state)
{
    Bloginfer__V1__WatchRunRequest req = BLOGINFER__V1__WATCH_RUN_REQUEST__INIT;
    struct rpc_call *calls[5];
    const void *in;

    (void)state;
    for (int i = 0; i < 5; i++) {
        OK(rpc_stream_open(&calls[i], client, FEDERATION, "WatchRun", &(struct rpc_options){.timeout_ms = 20000}));
        OK(rpc_send(calls[i], &req));
        OK(rpc_send_done(calls[i]));
        if (i < 4)
            testing_await(&t.n_streams, i + 1);
    }
    OK(rpc_recv(calls[4], &in));
    assert_null(in);
    assert_int_equal(rpc_stream_finish(calls[4]).code, ST_EXHAUSTED);
    for (int i = 0; i < 4; i++) {
        rpc_cancel(calls[i]);
        assert_int_equal(rpc_stream_finish(calls[i]).code, ST_CANCELLED);
    }
}

static void test_metadata_is_limited(void **state)
{
    char value[9001] = "";
    const char *const metadata[] = {"x-test", value, NULL};
    const char *const upper[] = {"X-Test", "v", NULL};

    (void)state;
    memset(value, 'a', 9000);
    assert_int_equal(classify("echo", (struct rpc_options){.metadata = metadata}).code, ST_INVALID);
    assert_int_equal(classify("echo", (struct rpc_options){.metadata = upper}).code, ST_INVALID);
    value[8000] = 0;
    OK(classify("echo", (struct rpc_options){.metadata = metadata}));
}

static void test_compressed_messages_are_refused(void **state)
{
    grpc_arg gzip = {.type = GRPC_ARG_INTEGER, .key = GRPC_COMPRESSION_CHANNEL_DEFAULT_ALGORITHM, .value.integer = 2};
    grpc_channel_credentials *plain = grpc_insecure_credentials_create();
    struct rpc_client foreign = {.channel = grpc_channel_create(t.target, plain, &(grpc_channel_args){1, &gzip}),
                                 .max_message = 4 << 20};
    char text[5000];
    struct status st;

    (void)state;
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = 0;
    testing_classify(&foreign, "echo", text, (struct rpc_options){0}, &st);
    assert_int_equal(st.code, ST_UNIMPLEMENTED);
    grpc_channel_destroy(foreign.channel);
    grpc_channel_credentials_release(plain);
}

/* ---- health ---- */

static struct status check(const char *service, int *status)
{
    check_request req = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    struct rpc_options options = {.arena = &arena};
    const void *out;

    req.service = (char *)service;
    struct status st = rpc_unary(client, HEALTH, "Check", &req, &out, &options);
    *status = st.code ? 0 : (int)((const check_response *)out)->status;
    return st;
}

static void test_health_check(void **state)
{
    int status;

    (void)state;
    OK(check("", &status));
    assert_int_equal(status, SERVING);
    OK(check("bloginfer.v1.ClassifyService", &status));
    assert_int_equal(status, SERVING);
    assert_int_equal(check("no.such.Service", &status).code, ST_NOT_FOUND);
    rpc_server_set_serving(t.server, "", false);
    OK(check("", &status));
    assert_int_equal(status, NOT_SERVING);
}

static void test_health_answers_while_every_worker_is_busy(void **state)
{
    pthread_t threads[2];
    struct status st[2];
    int status;

    (void)state;
    for (int i = 0; i < 2; i++)
        threads[i] = thread_start("caller", 0, classify_at_the_gate, &st[i]);
    testing_await(&t.n_classify, 2);
    OK(check("", &status));
    testing_open_gate(&t);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

static void test_health_list(void **state)
{
    Grpc__Health__V1__HealthListRequest req = GRPC__HEALTH__V1__HEALTH_LIST_REQUEST__INIT;
    struct rpc_options options = {.arena = &arena};
    const void *out;

    (void)state;
    OK(rpc_unary(client, HEALTH, "List", &req, &out, &options));
    const Grpc__Health__V1__HealthListResponse *rep = out;
    assert_int_equal(rep->n_statuses, 7); /* "", health, two of reflection, three of ours */
    for (size_t i = 0; i < rep->n_statuses; i++)
        assert_int_equal(rep->statuses[i]->value->status, SERVING);
}

static struct rpc_call *watch(const char *service)
{
    check_request req = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    struct rpc_call *call;

    req.service = (char *)service;
    OK(rpc_stream_open(&call, client, HEALTH, "Watch", &(struct rpc_options){.timeout_ms = 60000}));
    OK(rpc_send(call, &req));
    OK(rpc_send_done(call));
    return call;
}

static int next_status(struct rpc_call *call)
{
    const void *in;

    OK(rpc_recv(call, &in));
    return in ? (int)((const check_response *)in)->status : -1;
}

static void test_health_watch_tells_every_change_once(void **state)
{
    struct rpc_call *call = watch("bloginfer.v1.ClassifyService");
    const void *in;

    (void)state;
    assert_int_equal(next_status(call), SERVING);
    rpc_server_set_serving(t.server, "bloginfer.v1.ClassifyService", true);
    rpc_server_set_serving(t.server, "bloginfer.v1.DetectService", false);
    assert_int_equal(rpc_wait(call, &in, clock_after_ms(20)), RPC_TIMEOUT);
    rpc_server_set_serving(t.server, "bloginfer.v1.ClassifyService", false);
    assert_int_equal(next_status(call), NOT_SERVING);
    rpc_cancel(call);
    assert_int_equal(rpc_stream_finish(call).code, ST_CANCELLED);
}

static void test_health_watch_of_an_unknown_service_waits_for_it(void **state)
{
    struct rpc_call *call = watch("liveness");

    (void)state;
    assert_int_equal(next_status(call), SERVICE_UNKNOWN);
    rpc_server_set_serving(t.server, "liveness", true);
    assert_int_equal(next_status(call), SERVING);
    rpc_cancel(call);
    assert_int_equal(rpc_stream_finish(call).code, ST_CANCELLED);
}

static int n_threads(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    int n = 0;

    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "Threads:", 8))
            n = atoi(line + 8);
    if (f)
        fclose(f);
    return n;
}

static void test_a_thousand_watches_cost_no_thread(void **state)
{
    enum { N = 1000 };
    struct rpc_call **calls = xcalloc(N, sizeof *calls);
    int before = n_threads();

    (void)state;
    for (int i = 0; i < N; i++) {
        calls[i] = watch("");
        assert_int_equal(next_status(calls[i]), SERVING);
    }
    assert_in_range(n_threads(), 1, before + 10);
    OK(classify("echo", (struct rpc_options){0}));
    rpc_server_set_serving(t.server, "", false);
    for (int i = 0; i < N; i++)
        assert_int_equal(next_status(calls[i]), NOT_SERVING);
    for (int i = 0; i < N; i++) {
        rpc_cancel(calls[i]);
        rpc_stream_finish(calls[i]);
    }
    free(calls);
}

/* ---- reflection ---- */

static ProtobufCServiceDescriptor reflection_service;

static struct rpc_call *reflect(const char *version)
{
    static char name[80];
    struct rpc_call *call;

    snprintf(name, sizeof name, "grpc.reflection.%s.ServerReflection", version);
    reflection_service = grpc__reflection__v1__server_reflection__descriptor;
    reflection_service.name = name;
    OK(rpc_stream_open(&call, client, &reflection_service, "ServerReflectionInfo", &(struct rpc_options){0}));
    return call;
}

static const reflection_response *ask(struct rpc_call *call, int kind, const char *what)
{
    reflection_request req = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    const void *in;

    req.host = "here";
    req.message_request_case = kind;
    req.file_by_filename = (char *)what; /* all members of the oneof lie in one place */
    OK(rpc_send(call, &req));
    OK(rpc_recv(call, &in));
    if (!in) {
        struct status st = rpc_stream_finish(call);

        fail_msg("the stream has ended: %s %s", code_name(st.code), st.msg);
    }
    const reflection_response *rep = in;
    assert_string_equal(rep->valid_host, "here");
    assert_string_equal(rep->original_request->file_by_filename, what);
    return rep;
}

#define ASK(call, kind, what) ask(call, GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##kind, what)
#define IS(rep, kind)                                                                                                  \
    assert_int_equal((rep)->message_response_case,                                                                     \
                     GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##kind)

static void test_reflection_lists_services_in_both_versions(void **state)
{
    const char *const versions[] = {"v1", "v1alpha"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct rpc_call *call = reflect(versions[i]);
        const reflection_response *rep = ASK(call, LIST_SERVICES, "");

        IS(rep, LIST_SERVICES_RESPONSE);
        assert_int_equal(rep->list_services_response->n_service, 6);
        OK(rpc_stream_finish(call));
    }
}

static void test_reflection_finds_files_and_symbols(void **state)
{
    struct rpc_call *call = reflect("v1");
    const char *const symbols[] = {"bloginfer.v1.DetectService", "bloginfer.v1.DetectService.Detect",
                                   ".bloginfer.v1.DetectRequest", "bloginfer.v1.DetectRequest.id",
                                   "grpc.health.v1.HealthCheckResponse.ServingStatus"};
    const reflection_response *imports;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(symbols); i++) {
        const reflection_response *rep = ASK(call, FILE_CONTAINING_SYMBOL, symbols[i]);

        IS(rep, FILE_DESCRIPTOR_RESPONSE);
        assert_int_equal(rep->file_descriptor_response->n_file_descriptor_proto, 1);
    }
    imports = ASK(call, FILE_CONTAINING_SYMBOL, "bloginfer.v1.ClassifyService"); /* with registry.proto */
    assert_int_equal(imports->file_descriptor_response->n_file_descriptor_proto, 2);
    IS(ASK(call, FILE_BY_FILENAME, "bloginfer/v1/detect.proto"), FILE_DESCRIPTOR_RESPONSE);
    IS(ASK(call, ALL_EXTENSION_NUMBERS_OF_TYPE, "bloginfer.v1.ClassifyRequest"), ALL_EXTENSION_NUMBERS_RESPONSE);
    OK(rpc_stream_finish(call));
}

static void test_reflection_answers_what_it_does_not_know(void **state)
{
    struct rpc_call *call = reflect("v1alpha");

    (void)state;
    const reflection_response *rep = ASK(call, FILE_CONTAINING_SYMBOL, "no.such.Symbol");
    IS(rep, ERROR_RESPONSE);
    assert_int_equal(rep->error_response->error_code, ST_NOT_FOUND);
    IS(ASK(call, FILE_BY_FILENAME, "no/such.proto"), ERROR_RESPONSE);
    IS(ASK(call, ALL_EXTENSION_NUMBERS_OF_TYPE, "no.such.Type"), ERROR_RESPONSE);
    IS(ASK(call, LIST_SERVICES, ""), LIST_SERVICES_RESPONSE); /* the stream lives on */
    OK(rpc_stream_finish(call));
}

/* ---- start and stop ---- */

static struct status second_server(const struct rpc_method *methods, size_t n_methods, int port)
{
    struct rpc_server *s;

    OK(rpc_server_new(&s, &(struct rpc_server_config){.port = port, .workers = 1}));
    struct status st = rpc_server_add(s, DETECT, methods, n_methods, NULL);
    if (!st.code)
        st = rpc_server_start(s);
    rpc_server_stop(s);
    return st;
}

static struct status nothing(struct rpc_call *call, const void *in, void *out)
{
    (void)call, (void)in, (void)out;
    return status_ok();
}

static struct status nothing_streamed(struct rpc_call *call, const void *in)
{
    (void)call, (void)in;
    return status_ok();
}

#define DETECT_REST                                                                                                    \
    RPC_UNARY("DescribeDetector", nothing), RPC_UNARY("ListDetectors", nothing),                                       \
        RPC_STREAM("DetectStream", nothing_streamed)

static void test_a_taken_port_is_refused(void **state)
{
    const struct rpc_method methods[] = {RPC_UNARY("Detect", nothing), DETECT_REST};
    char port[16];

    (void)state;
    struct status st = second_server(methods, 4, t.port);
    assert_int_equal(st.code, ST_UNAVAILABLE);
    snprintf(port, sizeof port, ":%d", t.port);
    assert_non_null(strstr(st.msg, port));
}

static void test_tables_must_agree_with_the_proto(void **state)
{
    const struct rpc_method one_missing[] = {DETECT_REST};
    const struct rpc_method wrong_kind[] = {RPC_STREAM("Detect", nothing_streamed), DETECT_REST};
    const struct rpc_method one_more[] = {RPC_UNARY("Detect", nothing), DETECT_REST, RPC_UNARY("Invented", nothing)};

    (void)state;
    assert_int_equal(second_server(one_missing, 3, 0).code, ST_INVALID);
    assert_int_equal(second_server(wrong_kind, 4, 0).code, ST_INVALID);
    assert_int_equal(second_server(one_more, 5, 0).code, ST_INVALID);
}

static void *stop(void *server)
{
    rpc_server_stop(server);
    return NULL;
}

/* The watch learns of the stop and ends, the endless stream ends, the running call finishes, a new one is refused. */
static void test_drain_lets_a_running_call_finish_and_ends_watches(void **state)
{
    Bloginfer__V1__WatchRunRequest req = BLOGINFER__V1__WATCH_RUN_REQUEST__INIT;
    struct rpc_call *health = watch(""), *endless;
    pthread_t caller, stopper;
    struct status st;

    (void)state;
    assert_int_equal(next_status(health), SERVING);
    OK(rpc_stream_open(&endless, client, FEDERATION, "WatchRun", &(struct rpc_options){.timeout_ms = 20000}));
    OK(rpc_send(endless, &req));
    testing_await(&t.n_streams, 1);
    caller = thread_start("caller", 0, classify_at_the_gate, &st);
    testing_await(&t.n_classify, 1);
    stopper = thread_start("stopper", 0, stop, t.server);
    assert_int_equal(next_status(health), NOT_SERVING);
    assert_int_equal(next_status(health), -1);
    assert_int_equal(rpc_stream_finish(health).code, ST_UNAVAILABLE);
    assert_int_equal(rpc_stream_finish(endless).code, ST_UNAVAILABLE);
    while (classify("echo", (struct rpc_options){.timeout_ms = 1000}).code != ST_UNAVAILABLE)
        ;
    testing_open_gate(&t);
    pthread_join(caller, NULL);
    OK(st);
    pthread_join(stopper, NULL);
    t.server = NULL;
}

static void test_drain_cancels_what_does_not_finish(void **state)
{
    struct testing slow;
    pthread_t caller;
    struct status st;

    (void)state;
    testing_start(&slow, &(struct rpc_server_config){.workers = 1, .queue = 1, .drain_ms = 200});
    rpc_client_free(client);
    client = testing_client(slow.target);
    caller = thread_start("caller", 0, classify_at_the_gate, &st);
    testing_await(&slow.n_classify, 1);
    rpc_server_stop(slow.server);
    pthread_join(caller, NULL);
    assert_int_not_equal(st.code, ST_OK);
    assert_int_equal(atomic_load(&slow.n_cancelled), 1);
    slow.server = NULL;
    testing_stop(&slow);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_a_full_queue_refuses_at_once),
        CASE(test_messages_over_the_methods_limit_are_refused),
        CASE(test_messages_that_swell_in_memory_are_refused),
        CASE(test_strings_must_be_utf8_both_ways),
        CASE(test_unknown_methods_and_services_are_unimplemented),
        CASE(test_a_streams_count_is_limited),
        CASE(test_metadata_is_limited),
        CASE(test_compressed_messages_are_refused),
        CASE(test_health_check),
        CASE(test_health_answers_while_every_worker_is_busy),
        CASE(test_health_list),
        CASE(test_health_watch_tells_every_change_once),
        CASE(test_health_watch_of_an_unknown_service_waits_for_it),
        CASE(test_a_thousand_watches_cost_no_thread),
        CASE(test_reflection_lists_services_in_both_versions),
        CASE(test_reflection_finds_files_and_symbols),
        CASE(test_reflection_answers_what_it_does_not_know),
        CASE(test_a_taken_port_is_refused),
        CASE(test_tables_must_agree_with_the_proto),
        CASE(test_drain_lets_a_running_call_finish_and_ends_watches),
        CASE(test_drain_cancels_what_does_not_finish),
    };

    rpc_init();
    int failed = cmocka_run_group_tests_name("server", tests, NULL, NULL);
    rpc_fini();
    return failed;
}
