/* v2_test.c - the routes of /v2 over real HTTP, in front of a real gRPC server whose answers the tests choose: what goes
 * to it, what comes of its answers, and of every error that it can give. The true service is met in tests/. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "testing.h"
#include "v2_infer.h"

#include <stdatomic.h>

#define SERVICE (&inference__grpcinference_service__descriptor)

static _Atomic enum code answer_code;
static atomic_bool ready;
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER; /* guards what the backend saw */
static char seen_model[64], seen_version[64], seen_parameter[64];
static size_t seen_size;

static struct status answer(void)
{
    return atomic_load(&answer_code) ? status_errorf(answer_code, "words of the backend") : status_ok();
}

static void see(const char *model, const char *version)
{
    pthread_mutex_lock(&mu);
    snprintf(seen_model, sizeof seen_model, "%s", model);
    snprintf(seen_version, sizeof seen_version, "%s", version);
    pthread_mutex_unlock(&mu);
}

static atomic_bool has_eyes; /* the detector speaks this protocol */

static bool is_picture_model(const char *name)
{
    return !strcmp(name, "tiny");
}

static struct status no_model(void)
{
    return status_errorf(ST_NOT_FOUND, "no such model");
}

static struct status server_live(struct rpc_call *call, const void *in, void *out)
{
    (void)call;
    (void)in;
    ((Inference__ServerLiveResponse *)out)->live = true;
    return answer();
}

static struct status server_ready(struct rpc_call *call, const void *in, void *out)
{
    (void)call;
    (void)in;
    ((Inference__ServerReadyResponse *)out)->ready = atomic_load(&ready);
    return answer();
}

static struct status model_ready(struct rpc_call *call, const void *in, void *out)
{
    const Inference__ModelReadyRequest *req = in;

    (void)call;
    see(req->name, req->version);
    ((Inference__ModelReadyResponse *)out)->ready = atomic_load(&ready) && !is_picture_model(req->name);
    return answer();
}

static struct status server_metadata(struct rpc_call *call, const void *in, void *out)
{
    static char *extensions[] = {(char *)"model_repository"};
    Inference__ServerMetadataResponse *rep = out;

    (void)call;
    (void)in;
    rep->name = (char *)"bloginfer";
    rep->version = (char *)"1.2";
    rep->extensions = extensions;
    rep->n_extensions = 1;
    return answer();
}

static struct status model_metadata(struct rpc_call *call, const void *in, void *out)
{
    static char *versions[] = {(char *)"7"};
    static int64_t shape[] = {-1};
    static Inference__ModelMetadataResponse__TensorMetadata text, *inputs[] = {&text};
    const Inference__ModelMetadataRequest *req = in;
    Inference__ModelMetadataResponse *rep = out;

    (void)call;
    if (is_picture_model(req->name))
        return no_model();
    see(req->name, req->version);
    inference__model_metadata_response__tensor_metadata__init(&text);
    text.name = (char *)"text";
    text.datatype = (char *)"BYTES";
    text.shape = shape;
    text.n_shape = 1;
    rep->name = req->name;
    rep->versions = versions;
    rep->inputs = inputs;
    rep->n_versions = rep->n_inputs = 1;
    return answer();
}

/* One FP32 tensor of the name of the first output, or whatever an error says. */
static struct status model_infer(struct rpc_call *call, const void *in, void *out)
{
    static float numbers[] = {0.5F, 0.25F};
    static int64_t shape[] = {2};
    static ProtobufCBinaryData raw = {sizeof numbers, (uint8_t *)numbers};
    Inference__ModelInferResponse__InferOutputTensor **list = arena_alloc(rpc_arena(call), sizeof *list);
    Inference__ModelInferResponse__InferOutputTensor *t = arena_alloc(rpc_arena(call), sizeof *t);
    const Inference__ModelInferRequest *req = in;
    Inference__ModelInferResponse *rep = out;

    if (is_picture_model(req->model_name))
        return no_model();
    see(req->model_name, req->model_version);
    pthread_mutex_lock(&mu);
    seen_size = req->n_raw_input_contents ? req->raw_input_contents[0].len : 0;
    snprintf(seen_parameter, sizeof seen_parameter, "%s", req->n_parameters ? req->parameters[0]->key : "");
    pthread_mutex_unlock(&mu);
    inference__model_infer_response__infer_output_tensor__init(t);
    t->name = (char *)"prob";
    t->datatype = (char *)"FP32";
    t->shape = shape;
    t->n_shape = 1;
    list[0] = t;
    rep->model_name = req->model_name;
    rep->model_version = (char *)"7";
    rep->id = req->id;
    rep->outputs = list;
    rep->raw_output_contents = &raw;
    rep->n_outputs = rep->n_raw_output_contents = 1;
    return answer();
}

static struct status repository_index(struct rpc_call *call, const void *in, void *out)
{
    static Inference__RepositoryIndexResponse__ModelIndex rows[3], *list[] = {&rows[0], &rows[1], &rows[2]};
    Inference__RepositoryIndexResponse *rep = out;

    (void)call;
    for (size_t i = 0; i < 3; i++) {
        inference__repository_index_response__model_index__init(&rows[i]);
        rows[i].name = (char *)(i < 2 ? "sentiment" : "troll");
        rows[i].version = (char *)(i == 1 ? "8" : "7");
        rows[i].state = (char *)"READY";
    }
    rep->models = list;
    rep->n_models = ((const Inference__RepositoryIndexRequest *)in)->ready ? 3 : 2;
    return answer();
}

static struct status load(struct rpc_call *call, const void *in, void *out)
{
    const Inference__RepositoryModelLoadRequest *req = in;

    (void)call;
    (void)out;
    see(req->model_name, req->n_parameters ? req->parameters[0]->value->string_param : "");
    return answer();
}

static struct status unload(struct rpc_call *call, const void *in, void *out)
{
    (void)call;
    (void)out;
    see(((const Inference__RepositoryModelUnloadRequest *)in)->model_name, "unloaded");
    return answer();
}

static const struct rpc_method methods[] = {
    RPC_UNARY("ServerLive", server_live),           RPC_UNARY("ServerReady", server_ready),
    RPC_UNARY("ModelReady", model_ready),           RPC_UNARY("ServerMetadata", server_metadata),
    RPC_UNARY("ModelMetadata", model_metadata),     RPC_UNARY("ModelInfer", model_infer),
    RPC_UNARY("RepositoryIndex", repository_index), RPC_UNARY("RepositoryModelLoad", load),
    RPC_UNARY("RepositoryModelUnload", unload),
};

/* ---- the detector: one model, which answers with its input's size ---- */

static struct status eyes_model_ready(struct rpc_call *call, const void *in, void *out)
{
    (void)call;
    if (!atomic_load(&has_eyes) || !is_picture_model(((const Inference__ModelReadyRequest *)in)->name))
        return no_model();
    ((Inference__ModelReadyResponse *)out)->ready = true;
    return status_ok();
}

static struct status eyes_metadata(struct rpc_call *call, const void *in, void *out)
{
    const Inference__ModelMetadataRequest *req = in;

    (void)call;
    if (!atomic_load(&has_eyes) || !is_picture_model(req->name))
        return no_model();
    ((Inference__ModelMetadataResponse *)out)->name = req->name;
    ((Inference__ModelMetadataResponse *)out)->platform = (char *)"eyes";
    return status_ok();
}

static struct status eyes_infer(struct rpc_call *call, const void *in, void *out)
{
    const Inference__ModelInferRequest *req = in;
    Inference__ModelInferResponse *rep = out;

    if (!atomic_load(&has_eyes) || !is_picture_model(req->model_name))
        return no_model();
    rep->model_name = req->model_name;
    rep->model_version = arena_printf(rpc_arena(call), "%zu", req->raw_input_contents[0].len);
    return status_ok();
}

static struct status eyes_index(struct rpc_call *call, const void *in, void *out)
{
    static Inference__RepositoryIndexResponse__ModelIndex row, *list[] = {&row};
    Inference__RepositoryIndexResponse *rep = out;

    (void)call;
    (void)in;
    if (!atomic_load(&has_eyes))
        return status_errorf(ST_UNIMPLEMENTED, "no eyes");
    inference__repository_index_response__model_index__init(&row);
    row.name = (char *)"tiny";
    row.state = (char *)"READY";
    rep->models = list;
    rep->n_models = 1;
    return status_ok();
}

static const struct rpc_method eyes_methods[] = {
    RPC_UNARY("ServerLive", server_live),       RPC_UNARY("ServerReady", server_ready),
    RPC_UNARY("ModelReady", eyes_model_ready),  RPC_UNARY("ServerMetadata", server_metadata),
    RPC_UNARY("ModelMetadata", eyes_metadata),  RPC_UNARY("ModelInfer", eyes_infer),
    RPC_UNARY("RepositoryIndex", eyes_index),   RPC_UNARY("RepositoryModelLoad", load),
    RPC_UNARY("RepositoryModelUnload", unload),
};

static struct rpc_server *backend, *eyes;
static struct gateway gateway = {.deadline_ms = 5000};
static const struct monitor_target monitored[] = {{&gateway.detector, NULL, "detector"}};

static int set_up(void **state)
{
    struct rpc_server_config config = {.listen = (char *)"127.0.0.1", .workers = 2, .queue = 8, .drain_ms = 100};
    struct http_config serve = {.listen = "127.0.0.1",
                                .routes = v2_routes,
                                .n_routes = v2_n_routes,
                                .service = &gateway,
                                .plain_errors = "/v2",
                                .quiet = true};
    static char target[32], eyes_target[32];

    (void)state;
    rpc_init();
    ok(rpc_server_new(&backend, &config));
    ok(rpc_server_add(backend, SERVICE, methods, COUNT_OF(methods), NULL));
    ok(rpc_server_start(backend));
    snprintf(target, sizeof target, "127.0.0.1:%d", rpc_server_port(backend));
    connect_to(&gateway.inference, "inference", target, "inference.GRPCInferenceService");
    ok(rpc_server_new(&eyes, &config));
    ok(rpc_server_add(eyes, SERVICE, eyes_methods, COUNT_OF(eyes_methods), NULL));
    ok(rpc_server_start(eyes));
    snprintf(eyes_target, sizeof eyes_target, "127.0.0.1:%d", rpc_server_port(eyes));
    connect_to(&gateway.detector, "detector", eyes_target, "inference.GRPCInferenceService");
    gateway.monitor = monitor_start(monitored, COUNT_OF(monitored));
    while (monitor_state(gateway.monitor, "detector") != MONITOR_SERVING)
        clock_sleep_ms(5);
    ok(http_start(&http, &serve));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    http_stop(http);
    monitor_stop(gateway.monitor);
    rpc_client_free(gateway.inference.client);
    rpc_client_free(gateway.detector.client);
    rpc_server_stop(eyes);
    rpc_server_stop(backend);
    rpc_fini();
    return 0;
}

static int fresh(void **state)
{
    (void)state;
    atomic_store(&answer_code, ST_OK);
    atomic_store(&ready, true);
    atomic_store(&has_eyes, false);
    atomic_store(&gateway.draining, false);
    gateway.model_control = true;
    return 0;
}

static void check(const char *verb, const char *path, const char *body, const char *status_line, const char *part)
{
    char *text = ask(verb, path, "", body);

    expect(text, status_line);
    expect(text, part);
    expect(text, "\r\nX-Served-By: ");
    free(text);
}

static void assert_seen(const char *model, const char *version)
{
    pthread_mutex_lock(&mu);
    assert_string_equal(seen_model, model);
    assert_string_equal(seen_version, version);
    pthread_mutex_unlock(&mu);
}

/* Bytes of the first raw input, and the first parameter's name. */
static void assert_seen_input(size_t size, const char *parameter)
{
    pthread_mutex_lock(&mu);
    assert_int_equal(seen_size, size);
    assert_string_equal(seen_parameter, parameter);
    pthread_mutex_unlock(&mu);
}

static void test_health(void **state)
{
    (void)state;
    check("GET", "/v2/health/live", "", "HTTP/1.1 200 ", "\r\n\r\n{\"live\":true}");
    check("GET", "/v2/health/ready", "", "HTTP/1.1 200 ", "\r\n\r\n{\"ready\":true}");
    check("GET", "/v2/models/sentiment/ready", "", "HTTP/1.1 200 ", "{\"name\":\"sentiment\",\"ready\":true}");
    check("GET", "/v2/models/sentiment/versions/candidate/ready", "", "HTTP/1.1 200 ", "true");
    assert_seen("sentiment", "candidate");
    atomic_store(&ready, false);
    check("GET", "/v2/health/ready", "", "HTTP/1.1 503 ", "\r\n\r\n{\"ready\":false}");
    check("GET", "/v2/models/x/ready", "", "HTTP/1.1 503 ", "{\"name\":\"x\",\"ready\":false}");
    atomic_store(&ready, true);
    atomic_store(&gateway.draining, true);
    check("GET", "/v2/health/ready", "", "HTTP/1.1 503 ", "false");
    atomic_store(&gateway.draining, false);
    atomic_store(&answer_code, ST_UNAVAILABLE);
    check("GET", "/v2/health/ready", "", "HTTP/1.1 503 ", "false");
    check("GET", "/v2/health/live", "", "HTTP/1.1 200 ", "true");
}

static void test_metadata(void **state)
{
    (void)state;
    check("GET", "/v2", "", "HTTP/1.1 200 ",
          "{\"name\":\"bloginfer\",\"version\":\"1.2\",\"extensions\":[\"model_repository\"]}");
    check("GET", "/v2/models", "", "HTTP/1.1 200 ", "{\"models\":[\"sentiment\",\"troll\"]}");
    check("GET", "/v2/models/sentiment", "", "HTTP/1.1 200 ",
          "{\"name\":\"sentiment\",\"versions\":[\"7\"],\"platform\":\"\",\"inputs\":[{\"name\":\"text\","
          "\"datatype\":\"BYTES\",\"shape\":[-1]}],\"outputs\":[]}");
    assert_seen("sentiment", "");
    check("GET", "/v2/models/sentiment/versions/7", "", "HTTP/1.1 200 ", "\"sentiment\"");
    assert_seen("sentiment", "7");
}

#define INFER                                                                                                          \
    "{\"id\":\"q\",\"parameters\":{\"timeout\":5},"                                                                    \
    "\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"ab\"]}]}"

static void test_infer(void **state)
{
    (void)state;
    check("POST", "/v2/models/sentiment/infer", INFER, "HTTP/1.1 200 ",
          "{\"model_name\":\"sentiment\",\"model_version\":\"7\",\"id\":\"q\",\"outputs\":[{\"name\":\"prob\","
          "\"datatype\":\"FP32\",\"shape\":[2],\"data\":[0.5,0.25]}]}");
    assert_seen("sentiment", "");
    assert_seen_input(6, "timeout");
    check("POST", "/v2/models/troll/versions/3/infer", INFER, "HTTP/1.1 200 ", "Content-Type: application/json\r\n");
    assert_seen("troll", "3");
}

static void test_infer_with_binary_data(void **state)
{
    static const char body[] = "{\"parameters\":{\"binary_data_output\":true},\"inputs\":[{\"name\":\"text\","
                               "\"datatype\":\"BYTES\",\"shape\":[1],\"parameters\":{\"binary_data_size\":8}}]}"
                               "\4\4\4\4abcd";
    char header[64];

    (void)state;
    snprintf(header, sizeof header, V2_HEADER ": %zu\r\n", sizeof body - 9);
    char *text = ask("POST", "/v2/models/sentiment/infer", header, body);
    expect(text, "HTTP/1.1 200 ");
    expect(text, "Content-Type: application/octet-stream\r\n");
    expect(text, "\"parameters\":{\"binary_data_size\":8}}]}");
    char *length = strstr(text, V2_HEADER ": "), *json = strstr(text, "\r\n\r\n") + 4;
    assert_non_null(length);
    assert_int_equal(atoi(length + sizeof V2_HEADER + 1),
                     strlen("{\"model_name\":\"sentiment\",\"model_version\":\"7\","
                            "\"outputs\":[{\"name\":\"prob\",\"datatype\":\"FP32\","
                            "\"shape\":[2],\"parameters\":{\"binary_data_size\":8}}]}"));
    assert_memory_equal(json + atoi(length + sizeof V2_HEADER + 1), "\0\0\0\x3f\0\0\x80\x3e", 8);
    free(text);
    assert_seen_input(8, "");
}

static void test_bad_requests(void **state)
{
    (void)state;
    check("POST", "/v2/models/sentiment/infer", "{", "HTTP/1.1 400 ", "\r\n\r\n{\"error\": \"JSON");
    check("POST", "/v2/models/sentiment/infer", "", "HTTP/1.1 400 ", "{\"error\": \"");
    check("POST", "/v2/models/sentiment/infer", "{}", "HTTP/1.1 400 ", "{\"error\": \"\\\"inputs\\\" is missing");
    check("GET", "/v2/models/sentiment/infer", "", "HTTP/1.1 405 ", "{\"error\": \"");
    check("GET", "/v2/nothing", "", "HTTP/1.1 404 ", "{\"error\": \"");
    check("POST", "/v2/repository/index", "[", "HTTP/1.1 400 ", "{\"error\": \"");
    check("POST", "/v2/repository/models/x/load", "5", "HTTP/1.1 400 ", "{\"error\": \"");
    char *text = ask("POST", "/v2/models/sentiment/infer", "Content-Encoding: gzip\r\n", INFER);
    expect(text, "HTTP/1.1 501 ");
    expect(text, "compression");
    free(text);
}

static void test_errors_of_the_service(void **state)
{
    static const struct {
        enum code code;
        const char *status_line, *message;
    } cases[] = {
        {ST_INVALID, "HTTP/1.1 400 ", "words of the backend"},
        {ST_NOT_FOUND, "HTTP/1.1 404 ", "words of the backend"},
        {ST_PRECONDITION, "HTTP/1.1 503 ", "words of the backend"},
        {ST_UNIMPLEMENTED, "HTTP/1.1 501 ", "words of the backend"},
        {ST_EXHAUSTED, "HTTP/1.1 503 ", "inference has too much to do"},
        {ST_UNAVAILABLE, "HTTP/1.1 503 ", "inference cannot be reached"},
        {ST_DEADLINE, "HTTP/1.1 504 ", "in time"},
        {ST_INTERNAL, "HTTP/1.1 500 ", "inference failed"},
        {ST_UNKNOWN, "HTTP/1.1 500 ", "inference failed"},
    };
    static const char *const gets[] = {"/v2", "/v2/models", "/v2/models/x", "/v2/models/x/ready"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char *text;

        atomic_store(&answer_code, cases[i].code);
        text = ask("POST", "/v2/models/x/infer", "", INFER);
        expect(text, cases[i].status_line);
        expect(text, "\r\n\r\n{\"error\": \"");
        expect(text, cases[i].message);
        assert_int_equal(strstr(text, "\r\nRetry-After: ") != NULL, strstr(text, " 503 ") != NULL);
        free(text);
        for (size_t k = 0; k < COUNT_OF(gets); k++)
            check("GET", gets[k], "", cases[i].status_line, "{\"error\": \"");
    }
}

static void test_repository(void **state)
{
    (void)state;
    check("POST", "/v2/repository/index", "", "HTTP/1.1 200 ",
          "\r\n\r\n[{\"name\":\"sentiment\",\"version\":\"7\",\"state\":\"READY\",\"reason\":\"\"},{\"name\":");
    char *text = ask("POST", "/v2/repository/index", "", "{\"ready\": true}");
    expect(text, "troll");
    free(text);
    check("POST", "/v2/repository/models/sentiment/load", "{\"parameters\":{\"version\":\"8\"}}", "HTTP/1.1 200 ",
          "Content-Length: 0\r\n");
    assert_seen("sentiment", "8");
    check("POST", "/v2/repository/models/sentiment/load", "", "HTTP/1.1 200 ", "");
    assert_seen("sentiment", "");
    check("POST", "/v2/repository/models/troll/unload", "{}", "HTTP/1.1 200 ", "");
    assert_seen("troll", "unloaded");
    atomic_store(&answer_code, ST_NOT_FOUND);
    check("POST", "/v2/repository/models/troll/unload", "", "HTTP/1.1 404 ", "{\"error\": \"words of the backend\"}");
}

static void test_repository_of_others_is_left_alone(void **state)
{
    (void)state;
    gateway.model_control = false;
    see("", "");
    check("POST", "/v2/repository/models/sentiment/load", "", "HTTP/1.1 503 ", "--model-control");
    check("POST", "/v2/repository/models/sentiment/unload", "", "HTTP/1.1 503 ", "--model-control");
    check("POST", "/v2/repository/index", "", "HTTP/1.1 200 ", "sentiment");
    assert_seen("", "");
}

#define TEST(f) cmocka_unit_test_setup(f, fresh)

static void test_models_of_the_detector(void **state)
{
    static const char picture[] = "{\"inputs\":[{\"name\":\"image\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":"
                                  "[\"abc\"]}]}",
                      other[] =
                          "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"abc\"]}]}";

    (void)state;
    check("GET", "/v2/models/tiny", "", "HTTP/1.1 404 ", "no such model");
    check("GET", "/v2/models/tiny/ready", "", "HTTP/1.1 503 ", "false");
    check("POST", "/v2/models/tiny/infer", picture, "HTTP/1.1 404 ", "no such model");
    atomic_store(&has_eyes, true);
    check("GET", "/v2/models/tiny", "", "HTTP/1.1 200 ", "\"platform\":\"eyes\"");
    check("GET", "/v2/models/tiny/ready", "", "HTTP/1.1 200 ", "{\"name\":\"tiny\",\"ready\":true}");
    check("POST", "/v2/models/tiny/infer", picture, "HTTP/1.1 200 ", "\"model_version\":\"7\""); /* 4 and 3 bytes */
    check("POST", "/v2/models/tiny/infer", other, "HTTP/1.1 200 ", "\"model_name\":\"tiny\"");
    check("POST", "/v2/models/sentiment/infer", picture, "HTTP/1.1 200 ", "\"prob\"");
    check("GET", "/v2/models", "", "HTTP/1.1 200 ", "{\"models\":[\"sentiment\",\"troll\",\"tiny\"]}");
    check("POST", "/v2/repository/index", "", "HTTP/1.1 200 ", "\"name\":\"tiny\"");
    atomic_store(&answer_code, ST_UNAVAILABLE); /* of the inference service */
    check("GET", "/v2/models/tiny", "", "HTTP/1.1 200 ", "eyes");
    check("GET", "/v2/models", "", "HTTP/1.1 200 ", "{\"models\":[\"tiny\"]}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_health),
        TEST(test_metadata),
        TEST(test_infer),
        TEST(test_infer_with_binary_data),
        TEST(test_bad_requests),
        TEST(test_errors_of_the_service),
        TEST(test_repository),
        TEST(test_repository_of_others_is_left_alone),
        TEST(test_models_of_the_detector),
    };

    log_init("v2_test", "error");
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
