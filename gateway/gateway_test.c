/* gateway_test.c - the routes over real HTTP, in front of real gRPC servers of this process whose answers the tests
 * choose: every error that a backend can give, and what becomes of it. The true services are met in tests/. */
#include "bloginfer/v1/classify.pb-c.h"
#include "bloginfer/v1/detect.pb-c.h"
#include "gateway.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "testing.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_IMAGE 3000

/* What the backends answer. */
static _Atomic enum code answer_code;
static atomic_bool hang;
static atomic_int n_hanging, n_cancelled;              /* calls that hang; whose end was seen */
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER; /* guards what the backends saw */
static char seen_text[64], seen_task[64], seen_id[64];
static char seen_model[64], seen_name[64]; /* the model and the id of a picture */
static size_t seen_image;
static float seen_threshold;
static atomic_int n_refusals; /* pictures for which there will be no room yet */

static struct status answer(struct rpc_call *call)
{
    const char *id = rpc_metadata(call, "x-request-id");

    pthread_mutex_lock(&mu);
    snprintf(seen_id, sizeof seen_id, "%s", id ? id : "");
    pthread_mutex_unlock(&mu);
    atomic_fetch_add(&n_hanging, 1);
    while (atomic_load(&hang) && !rpc_cancelled(call))
        clock_sleep_ms(1);
    atomic_fetch_sub(&n_hanging, 1);
    if (rpc_cancelled(call)) {
        atomic_fetch_add(&n_cancelled, 1);
        return status_errorf(ST_CANCELLED, "seen");
    }
    if (atomic_load(&answer_code))
        return status_errorf(answer_code, "words of the backend at 10.0.0.7");
    return status_ok();
}

static struct status classify(struct rpc_call *call, const void *in, void *out)
{
    Bloginfer__V1__Classification **results = arena_alloc(rpc_arena(call), sizeof *results);
    Bloginfer__V1__Classification *one = arena_alloc(rpc_arena(call), sizeof *one);
    const Bloginfer__V1__ClassifyRequest *req = in;
    Bloginfer__V1__ClassifyResponse *rep = out;

    pthread_mutex_lock(&mu);
    snprintf(seen_text, sizeof seen_text, "%s", req->texts[0]);
    snprintf(seen_task, sizeof seen_task, "%s", req->task);
    pthread_mutex_unlock(&mu);
    bloginfer__v1__classification__init(one);
    one->label = "positive";
    one->prob = 0.1F;
    results[0] = one;
    rep->results = results;
    rep->n_results = 1;
    rep->version = 7;
    return answer(call);
}

static struct status list_models(struct rpc_call *call, const void *in, void *out)
{
    static char *labels[] = {"negative", "positive"};
    Bloginfer__V1__ServedModel **models = arena_alloc(rpc_arena(call), sizeof *models);
    Bloginfer__V1__ServedModel *one = arena_alloc(rpc_arena(call), sizeof *one);
    Bloginfer__V1__ListServedModelsResponse *rep = out;

    (void)in;
    bloginfer__v1__served_model__init(one);
    one->task = "sentiment";
    one->version = 7;
    one->labels = labels;
    one->n_labels = 2;
    models[0] = one;
    rep->models = models;
    rep->n_models = 1;
    return status_ok();
}

static struct status detect(struct rpc_call *call, const void *in, void *out)
{
    Bloginfer__V1__Box *box = arena_alloc(rpc_arena(call), sizeof *box);
    Bloginfer__V1__DetectedObject *dog = arena_alloc(rpc_arena(call), sizeof *dog);
    Bloginfer__V1__DetectedObject **objects = arena_alloc(rpc_arena(call), sizeof *objects);
    const Bloginfer__V1__DetectRequest *req = in;
    Bloginfer__V1__DetectResponse *rep = out;

    pthread_mutex_lock(&mu);
    seen_image = req->image.len;
    seen_threshold = req->threshold;
    snprintf(seen_model, sizeof seen_model, "%s", req->model);
    snprintf(seen_name, sizeof seen_name, "%s", req->id);
    pthread_mutex_unlock(&mu);
    if (atomic_load(&n_refusals) > 0) {
        atomic_fetch_sub(&n_refusals, 1);
        rpc_set_trailer(call, "grpc-retry-pushback-ms", "1200");
        return status_errorf(ST_EXHAUSTED, "full");
    }
    if (req->want_timing) {
        Bloginfer__V1__DetectTiming *timing = arena_alloc(rpc_arena(call), sizeof *timing);

        bloginfer__v1__detect_timing__init(timing);
        timing->queue_us = 1500;
        rep->timing = timing;
        rep->model = "tiny";
        rep->image_width = 640;
        rep->image_height = 480;
    }
    bloginfer__v1__box__init(box);
    box->left = 1.5F;
    box->top = 2;
    box->width = 30.125F;
    box->height = 4;
    bloginfer__v1__detected_object__init(dog);
    dog->label = "dog";
    dog->confidence = 0.75F;
    dog->box = box;
    objects[0] = dog;
    rep->objects = objects;
    rep->n_objects = 1;
    return answer(call);
}

static struct status describe(struct rpc_call *call, const void *in, void *out)
{
    (void)call;
    (void)in;
    (void)out;
    return status_ok();
}

/* Tells what it was asked. */
static struct status explain(struct rpc_call *call, const void *in, void *out)
{
    Bloginfer__V1__CharacterContribution *c = arena_alloc(rpc_arena(call), sizeof *c);
    Bloginfer__V1__CharacterContribution **rows = arena_alloc(rpc_arena(call), sizeof *rows);
    const Bloginfer__V1__ExplainRequest *req = in;
    Bloginfer__V1__ExplainResponse *rep = out;

    bloginfer__v1__character_contribution__init(c);
    c->text = arena_strdup(rpc_arena(call), req->text);
    c->position = req->max_ngrams;
    c->contribution = -0.25F;
    rows[0] = c;
    rep->label = "positive";
    rep->task = arena_strdup(rpc_arena(call), req->task);
    rep->about = arena_strdup(rpc_arena(call), req->version);
    rep->characters = rows;
    rep->n_characters = 1;
    return answer(call);
}

static const struct rpc_method classify_methods[] = {RPC_UNARY("Classify", classify), RPC_UNARY("Explain", explain),
                                                     RPC_UNARY("ListServedModels", list_models)};
static struct status detect_stream(struct rpc_call *call, const void *in)
{
    (void)in;
    return answer(call);
}

static struct status list_detectors(struct rpc_call *call, const void *in, void *out)
{
    Bloginfer__V1__DescribeDetectorResponse **models = arena_alloc(rpc_arena(call), sizeof *models);
    Bloginfer__V1__DescribeDetectorResponse *one = arena_alloc(rpc_arena(call), sizeof *one);
    Bloginfer__V1__ListDetectorsResponse *rep = out;

    (void)in;
    bloginfer__v1__describe_detector_response__init(one);
    one->model = "tiny";
    one->engine = "fp32";
    one->precision = "fp32";
    one->default_threshold = 0.15F;
    one->input_width = 416;
    one->input_height = 416;
    one->ready = one->is_default = true;
    models[0] = one;
    rep->models = models;
    rep->n_models = 1;
    return answer(call);
}

static const struct rpc_method detect_methods[] = {
    RPC_UNARY("Detect", detect), RPC_STREAM("DetectStream", detect_stream), RPC_UNARY("DescribeDetector", describe),
    RPC_UNARY("ListDetectors", list_detectors)};

/* ---- one gateway over one server that plays inference and detector; the aggregator and the trainer are down ---- */

static struct rpc_server *backends;
static struct gateway gateway = {.deadline_ms = 300, .max_image_bytes = MAX_IMAGE};
static char target[32];
static struct monitor_target targets[] = {
    {&gateway.inference, NULL, "inference"},
    {&gateway.detector, NULL, "detector"},
    {&gateway.aggregator, NULL, "aggregator"},
    {NULL, "127.0.0.1:1", "trainer"},
};
static struct http_route routes[] = {
    {"POST", "/predict", predict_post, PREDICT_MAX_BODY, .light = true},
    {"POST", "/explain", explain_post, PREDICT_MAX_BODY},
    {"POST", "/api/object_detection", detect_post, 1 << 16},
    {"GET", "/api/detectors", detectors_get, 0},
    {"GET", "/api/status", status_show, 0},
    {"GET", "/healthz", status_healthz, 0},
    {"GET", "/readyz", status_readyz, 0},
    {"GET", "/", pages_get, 0},
    {"GET", "/openapi.json", pages_get, 0},
    {"GET", "/static/{name}", pages_get, 0},
};

static void start_backends(int port)
{
    struct rpc_server_config config = {.listen = "127.0.0.1", .port = port, .workers = 2, .queue = 8, .drain_ms = 100};

    ok(rpc_server_new(&backends, &config));
    ok(rpc_server_add(backends, &bloginfer__v1__classify_service__descriptor, classify_methods,
                      COUNT_OF(classify_methods), NULL));
    ok(rpc_server_add(backends, &bloginfer__v1__detect_service__descriptor, detect_methods, COUNT_OF(detect_methods),
                      NULL));
    ok(rpc_server_start(backends));
}

static void wait_state(const char *name, enum monitor_state state)
{
    for (int64_t until = clock_after_ms(20000); monitor_state(gateway.monitor, name) != state && clock_now() < until;)
        clock_sleep_ms(5);
    assert_int_equal(monitor_state(gateway.monitor, name), state);
}

static int set_up(void **state)
{
    struct http_config config = {
        .listen = "127.0.0.1", .routes = routes, .n_routes = COUNT_OF(routes), .service = &gateway, .quiet = true};

    (void)state;
    rpc_init();
    start_backends(0);
    snprintf(target, sizeof target, "127.0.0.1:%d", rpc_server_port(backends));
    connect_to(&gateway.inference, "inference", target, "bloginfer.v1.ClassifyService");
    connect_to(&gateway.detector, "detector", target, "bloginfer.v1.DetectService");
    connect_to(&gateway.aggregator, "aggregator", "127.0.0.1:1", "bloginfer.v1.ModelRegistryService");
    gateway.monitor = monitor_start(targets, COUNT_OF(targets));
    ok(http_start(&http, &config));
    wait_state("inference", MONITOR_SERVING);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    http_stop(http);
    monitor_stop(gateway.monitor);
    rpc_client_free(gateway.inference.client);
    rpc_client_free(gateway.detector.client);
    rpc_client_free(gateway.aggregator.client);
    rpc_server_stop(backends);
    rpc_fini();
    return 0;
}

static void post(const char *path, const char *body, const char *status_line, const char *part)
{
    char *text = ask("POST", path, "", body);

    expect(text, status_line);
    expect(text, part);
    free(text);
}

static void assert_seen(const char *seen, const char *text)
{
    pthread_mutex_lock(&mu);
    assert_string_equal(seen, text);
    pthread_mutex_unlock(&mu);
}

static void assert_seen_image(size_t size, float threshold)
{
    pthread_mutex_lock(&mu);
    assert_int_equal(seen_image, size);
    assert_true(seen_threshold == threshold);
    pthread_mutex_unlock(&mu);
}

static void test_predict(void **state)
{
    char *text = ask("POST", "/predict", "X-Request-Id: id-1\r\n", "{\"text\": \"好\", \"task\": \"troll\"}"),
         host[128] = "";

    (void)state;
    gethostname(host, sizeof host - 1);
    expect(text, "HTTP/1.1 200 OK\r\n");
    expect(text, "Content-Type: application/json\r\n");
    expect(text, "{\"label\":\"positive\",\"prob\":0.1,\"version\":7}");
    expect(text, host);
    assert_ptr_equal(strstr(strstr(text, "X-Served-By") + 1, "X-Served-By"), NULL);
    assert_seen(seen_text, "好");
    assert_seen(seen_task, "troll");
    assert_seen(seen_id, "id-1");
    free(text);
    post("/predict", "{\"text\": \"\"}", "HTTP/1.1 200 ", "version");
    assert_seen(seen_task, "");
}

static void test_predict_refuses(void **state)
{
    struct buf b = BUF_INIT(1 << 20);

    (void)state;
    post("/predict", "{}", "HTTP/1.1 400 ", "\\\"text\\\" is missing");
    post("/predict", "{\"text\": 5}", "HTTP/1.1 400 ", "has to be a string");
    post("/predict", "{\"text\": \"a\", \"task\": 1}", "HTTP/1.1 400 ", "\\\"task\\\" has to be a string");
    buf_puts(&b, "{\"text\": \"");
    while (b.size < (64 << 10) + 16)
        buf_puts(&b, "aaaaaaaaaaaaaaaa");
    buf_puts(&b, "\"}");
    post("/predict", b.data, "HTTP/1.1 400 ", "limit of 65536 bytes");
    buf_fini(&b);
}

static void test_detect(void **state)
{
    (void)state;
    post("/api/object_detection", "{\"id\": \"a-1\", \"image\": \"Zm9vYg==\", \"threshold\": 0.5}", "HTTP/1.1 200 ",
         "{\"id\":\"a-1\",\"objects\":[{\"label\":\"dog\",\"accuracy\":0.75,"
         "\"rectangle\":{\"height\":4.0,\"left\":1.5,\"top\":2.0,\"width\":30.13}}]}");
    assert_seen_image(4, 0.5F);
    post("/api/object_detection", "{\"id\": \"2\", \"image\": \"data:image/png;base64,Zm9v\"}", "HTTP/1.1 200 ", "dog");
    assert_seen_image(3, 0);
    post("/api/object_detection", "\"{\\\"id\\\": \\\"3\\\", \\\"image\\\": \\\"Zm9v\\\"}\"", "HTTP/1.1 200 ", "\"3\"");
}

/* With a Content-Type, and a body of any bytes. */
static char *send_file(const char *path, const char *type, const void *body, size_t size)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)http_port(http))};
    struct buf b = BUF_INIT((size_t)1 << 20);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char block[4096];
    ssize_t n;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    dprintf(fd,
            "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: req-1\r\nContent-Type: %s\r\n"
            "Content-Length: %zu\r\n\r\n",
            path, type, size);
    assert_int_equal(send(fd, body, size, MSG_NOSIGNAL), size);
    while ((n = recv(fd, block, sizeof block, 0)) > 0)
        buf_add(&b, block, (size_t)n);
    close(fd);
    return buf_take(&b);
}

static void expect_file(const char *path, const char *type, const void *body, size_t size, const char *status_line,
                        const char *part)
{
    char *text = send_file(path, type, body, size);

    expect(text, status_line);
    expect(text, part);
    free(text);
}

static void test_detect_names_a_model_and_its_timing(void **state)
{
    char *text = ask("POST", "/api/object_detection", "",
                     "{\"id\": \"1\", \"image\": \"Zm9v\", \"model\": \"tiny\", \"timing\": true}");

    (void)state;
    expect(text, "\"rectangle\":{\"height\":4.0,\"left\":1.5,\"top\":2.0,\"width\":30.13}}],\"model\":\"tiny\","
                 "\"size\":{\"height\":480,\"width\":640},\"timing_ms\":{\"queue\":1.5,\"decode\":0.0,");
    free(text);
    assert_seen(seen_model, "tiny");
    post("/api/object_detection?model=other&threshold=0.25", "{\"id\": \"1\", \"image\": \"Zm9v\"}", "HTTP/1.1 200 ",
         "\"objects\"");
    assert_seen(seen_model, "other");
    assert_seen_image(3, 0.25F);
    post("/api/object_detection?model=other", "{\"id\": \"1\", \"image\": \"Zm9v\", \"model\": \"tiny\"}",
         "HTTP/1.1 200 ", "}}]}");
    assert_seen(seen_model, "tiny");
    post("/api/object_detection", "{\"id\": \"1\", \"image\": \"Zm9v\", \"timing\": 1}", "HTTP/1.1 400 ",
         "true or false");
    post("/api/object_detection?timing=maybe", "{\"id\": \"1\", \"image\": \"Zm9v\"}", "HTTP/1.1 400 ", "timing");
    post("/api/object_detection?threshold=0.5x", "{\"id\": \"1\", \"image\": \"Zm9v\"}", "HTTP/1.1 400 ", "0.001 to 1");
    post("/api/object_detection", "{\"id\": \"1\", \"image\": \"Zm9v\", \"model\": 5}", "HTTP/1.1 400 ", "model");
}

static void test_detect_takes_a_file_as_it_is(void **state)
{
    static const char *const types[] = {"image/jpeg", "image/png", "image/webp", "image/gif",
                                        "application/octet-stream"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(types); i++)
        expect_file("/api/object_detection?id=a%20b", types[i], "{\0}", 3, "HTTP/1.1 200 ", "{\"id\":\"a b\",");
    assert_seen_image(3, 0);
    expect_file("/api/object_detection?threshold=0.5&model=m&timing=true", "image/jpeg", "abcd", 4, "HTTP/1.1 200 ",
                "\"timing_ms\"");
    assert_seen_image(4, 0.5F);
    assert_seen(seen_model, "m");
    assert_seen(seen_name, "req-1");
    expect_file("/api/object_detection", "application/x-www-form-urlencoded", "\xff\xd8\xff\xe0", 4, "HTTP/1.1 200 ",
                "{\"id\":\"req-1\",");
    expect_file("/api/object_detection", "image/jpeg", "", 0, "HTTP/1.1 400 ", "empty");
    char *large = xcalloc(1, MAX_IMAGE + 1);
    expect_file("/api/object_detection", "image/jpeg", large, MAX_IMAGE + 1, "HTTP/1.1 413 ", "limit");
    expect_file("/api/object_detection", "image/jpeg", large, MAX_IMAGE, "HTTP/1.1 200 ", "dog");
    free(large);
}

static void test_detect_takes_a_form(void **state)
{
#define PART(head, data) "--b\r\nContent-Disposition: form-data; " head "\r\n\r\n" data "\r\n"
    static const char whole[] = PART("name=\"id\"", "7") PART("name=\"threshold\"", "0.5")
        PART("name=\"image\"; filename=\"x.jpg\"", "a\0c") PART("name=\"model\"", "m") "--b--\r\n";
    static const char two[] = PART("name=image", "a") PART("name=file", "b") "--b--";
    static const char none[] = PART("name=id", "7") "--b--";
    static const char latin1[] = PART("name=id", "\xe9") PART("name=file", "b") "--b--";
    static const char cut[] = PART("name=image", "a");
    const char *type = "multipart/form-data; boundary=b";

    (void)state;
    expect_file("/api/object_detection", type, whole, sizeof whole - 1, "HTTP/1.1 200 ", "{\"id\":\"7\",");
    assert_seen_image(3, 0.5F);
    assert_seen(seen_model, "m");
    expect_file("/api/object_detection", type, two, sizeof two - 1, "HTTP/1.1 400 ", "more than one");
    expect_file("/api/object_detection", type, none, sizeof none - 1, "HTTP/1.1 400 ", "no part");
    expect_file("/api/object_detection", type, latin1, sizeof latin1 - 1, "HTTP/1.1 400 ", "UTF-8");
    expect_file("/api/object_detection", type, cut, sizeof cut - 1, "HTTP/1.1 400 ", "last boundary");
    expect_file("/api/object_detection", "multipart/form-data", whole, sizeof whole - 1, "HTTP/1.1 400 ", "boundary");
}

static void test_a_detector_without_room_is_told_or_waited_for(void **state)
{
    static const char body[] = "{\"id\": \"1\", \"image\": \"Zm9v\"}";

    (void)state;
    atomic_store(&n_refusals, 1);
    post("/api/object_detection", body, "HTTP/1.1 503 ", "Retry-After: 2\r\n");
    gateway.detector.insistent = true;
    gateway.deadline_ms = 60000;
    atomic_store(&n_refusals, 2);
    post("/api/object_detection", body, "HTTP/1.1 200 ", "dog");
    assert_int_equal(n_refusals, 0);
    gateway.deadline_ms = 300; /* it would be over before there is room */
    atomic_store(&n_refusals, 1);
    post("/api/object_detection", body, "HTTP/1.1 503 ", "Retry-After: 2\r\n");
    gateway.detector.insistent = false;
}

static struct status unavailable(struct rpc_call *call, const void *in, void *out)
{
    (void)call, (void)in, (void)out;
    return status_errorf(ST_UNAVAILABLE, "leaving");
}

/* One of two replicas is about to end: no call shows it. */
static void test_a_call_goes_to_another_replica(void **state)
{
    const struct rpc_method methods[] = {RPC_UNARY("Detect", unavailable), detect_methods[1], detect_methods[2],
                                         detect_methods[3]};
    struct rpc_server_config config = {.listen = "127.0.0.1", .workers = 1, .queue = 8, .drain_ms = 100};
    struct rpc_client *usual = gateway.detector.client;
    struct rpc_server *leaving;
    struct backend both;
    char targets_of[64];

    (void)state;
    ok(rpc_server_new(&leaving, &config));
    ok(rpc_server_add(leaving, &bloginfer__v1__detect_service__descriptor, methods, COUNT_OF(methods), NULL));
    ok(rpc_server_start(leaving));
    snprintf(targets_of, sizeof targets_of, "ipv4:127.0.0.1:%d,127.0.0.1:%d", rpc_server_port(leaving),
             rpc_server_port(backends));
    connect_to(&both, "detector", targets_of, "bloginfer.v1.DetectService");
    gateway.detector.client = both.client;
    gateway.deadline_ms = 20000;
    for (int i = 0; i < 6; i++)
        post("/api/object_detection", "{\"id\": \"1\", \"image\": \"Zm9v\"}", "HTTP/1.1 200 ", "dog");
    gateway.deadline_ms = 300;
    gateway.detector.client = usual;
    rpc_client_free(both.client);
    rpc_server_stop(leaving);
}

static void test_detectors_are_listed(void **state)
{
    char *text = ask("GET", "/api/detectors", "", "");

    (void)state;
    expect(text,
           "{\"detectors\":[{\"model\":\"tiny\",\"default\":true,\"ready\":true,\"engine\":\"fp32\",\"precision\":"
           "\"fp32\",\"threshold\":0.15,\"input\":{\"height\":416,\"width\":416},");
    free(text);
}

static void test_detect_refuses(void **state)
{
    struct buf b = BUF_INIT(1 << 20);

    (void)state;
    post("/api/object_detection", "{\"image\": \"Zm9v\"}", "HTTP/1.1 400 ", "\\\"id\\\" is missing");
    post("/api/object_detection", "{\"id\": \"1\"}", "HTTP/1.1 400 ", "\\\"image\\\" is missing");
    post("/api/object_detection", "{\"id\": \"1\", \"image\": \"\"}", "HTTP/1.1 400 ", "empty");
    post("/api/object_detection", "{\"id\": \"1\", \"image\": \"%%%%\"}", "HTTP/1.1 400 ", "not base64");
    post("/api/object_detection", "{\"id\": \"1\", \"image\": \"data:nothing\"}", "HTTP/1.1 400 ", "not base64");
    post("/api/object_detection", "{\"id\": \"1\", \"image\": \"Zm9v\", \"threshold\": 2}", "HTTP/1.1 400 ",
         "0.001 to 1");
    buf_puts(&b, "{\"id\": \"1\", \"image\": \"");
    for (int i = 0; i <= MAX_IMAGE / 3; i++)
        buf_puts(&b, "Zm9v");
    buf_puts(&b, "\"}");
    post("/api/object_detection", b.data, "HTTP/1.1 413 ", "limit");
    buf_fini(&b);
    gateway.max_image_bytes = 5; /* a limit in the middle of a group of four characters */
    post("/api/object_detection", "{\"id\": \"1\", \"image\": \"Zm9vYmE=\"}", "HTTP/1.1 200 ", "dog");
    post("/api/object_detection", "{\"id\": \"1\", \"image\": \"Zm9vYmFy\"}", "HTTP/1.1 413 ", "limit");
    gateway.max_image_bytes = MAX_IMAGE;
}

static void test_errors_of_a_backend(void **state)
{
    static const struct {
        enum code code;
        const char *status_line, *message;
        bool shown; /* the backend's words */
    } cases[] = {
        {ST_INVALID, "HTTP/1.1 400 ", "words of the backend", true},
        {ST_NOT_FOUND, "HTTP/1.1 400 ", "words of the backend", true},
        {ST_PRECONDITION, "HTTP/1.1 503 ", "words of the backend", true},
        {ST_EXHAUSTED, "HTTP/1.1 503 ", "too much to do", false},
        {ST_UNAVAILABLE, "HTTP/1.1 503 ", "cannot be reached", false},
        {ST_DEADLINE, "HTTP/1.1 504 ", "in time", false},
        {ST_INTERNAL, "HTTP/1.1 502 ", "failed", false},
        {ST_UNKNOWN, "HTTP/1.1 502 ", "failed", false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char *text;

        atomic_store(&answer_code, cases[i].code);
        text = ask("POST", "/predict", "", "{\"text\": \"x\"}");
        expect(text, cases[i].status_line);
        expect(text, cases[i].message);
        expect(text, code_name(cases[i].code));
        assert_int_equal(strstr(text, "10.0.0.7") != NULL, cases[i].shown);
        assert_int_equal(strstr(text, "Retry-After: ") != NULL, strstr(text, " 503 ") != NULL);
        free(text);
    }
    atomic_store(&answer_code, ST_OK);
}

static void test_a_backend_that_hangs_is_504_in_time(void **state)
{
    int64_t start = clock_now();

    (void)state;
    atomic_store(&hang, true);
    post("/predict", "{\"text\": \"x\"}", "HTTP/1.1 504 ", "inference did not answer in time");
    atomic_store(&hang, false);
    assert_true(clock_seconds(start) < 5);
}

static void wait_for(atomic_int *value, int want)
{
    for (int64_t until = clock_after_ms(20000); atomic_load(value) != want && clock_now() < until;)
        clock_sleep_ms(1);
    assert_int_equal(atomic_load(value), want);
}

/* Long before the deadline. */
static void test_a_client_that_leaves_cancels_the_work_behind_it(void **state)
{
    (void)state;
    gateway.deadline_ms = 60000;
    wait_for(&n_hanging, 0);
    atomic_store(&n_cancelled, 0);
    atomic_store(&hang, true);
    int fd = ask_on("POST", "/predict", "", "{\"text\": \"x\"}");
    wait_for(&n_hanging, 1);
    close(fd);
    wait_for(&n_hanging, 0);
    wait_for(&n_cancelled, 1);
    atomic_store(&hang, false);
    gateway.deadline_ms = 300;
}

static void test_status_and_probes(void **state)
{
    char *text = ask("GET", "/api/status", "", "");

    (void)state;
    expect(text, "{\"name\":\"inference\",\"state\":\"serving\",\"models\":[{\"task\":\"sentiment\",\"version\":7,");
    expect(text, "{\"name\":\"detector\",\"state\":\"serving\",\"models\":[]}"); /* without weights */
    expect(text, "{\"name\":\"aggregator\",\"state\":\"down\",\"models\":[]}");
    expect(text, "{\"name\":\"trainer\",\"state\":\"down\"}");
    expect(text, "\"ready\":true");
    free(text);
    text = ask("GET", "/readyz", "", "");
    expect(text, "HTTP/1.1 200 ");
    free(text);
}

static void test_a_gateway_that_stops_is_not_ready_and_serves_on(void **state)
{
    char *text;

    (void)state;
    atomic_store(&gateway.draining, true);
    text = ask("GET", "/readyz", "", "");
    expect(text, "HTTP/1.1 503 ");
    expect(text, "\r\nRetry-After: 1\r\n");
    free(text);
    post("/predict", "{\"text\": \"x\"}", "HTTP/1.1 200 ", "positive");
    atomic_store(&gateway.draining, false);
}

static void *predict_soon(void *arg)
{
    (void)arg;
    return ask("POST", "/predict", "", "{\"text\": \"x\"}");
}

static void test_backends_that_go_and_come(void **state)
{
    int port = rpc_server_port(backends);
    pthread_t thread;
    char *text;

    (void)state;
    rpc_server_set_serving(backends, "bloginfer.v1.ClassifyService", false);
    wait_state("inference", MONITOR_NOT_SERVING);
    rpc_server_stop(backends);
    wait_state("inference", MONITOR_DOWN);
    wait_state("detector", MONITOR_DOWN);
    text = ask("GET", "/readyz", "", "");
    expect(text, "HTTP/1.1 503 ");
    free(text);
    text = ask("GET", "/healthz", "", "");
    expect(text, "HTTP/1.1 200 ");
    free(text);
    post("/predict", "{\"text\": \"x\"}", "HTTP/1.1 503 ", "inference cannot be reached");
    gateway.deadline_ms = 20000;
    pthread_create(&thread, NULL, predict_soon, NULL); /* is there before the backend is back, and waits for it */
    clock_sleep_ms(50);
    start_backends(port);
    pthread_join(thread, (void **)&text);
    expect(text, "HTTP/1.1 200 ");
    free(text);
    gateway.deadline_ms = 300;
    wait_state("inference", MONITOR_SERVING);
    post("/predict", "{\"text\": \"x\"}", "HTTP/1.1 200 ", "positive");
}

static void test_pages_are_whole_and_bring_their_own_parts(void **state)
{
    static const char *const paths[] = {"/",
                                        "/openapi.json",
                                        "/static/style.css",
                                        "/static/app.js",
                                        "/static/docs.js",
                                        "/static/lang.js",
                                        "/static/icon.svg"};
    char header[128];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        char *text = ask("GET", paths[i], "", ""), *again, *etag;

        expect(text, "HTTP/1.1 200 ");
        expect(text, "Content-Security-Policy: default-src 'none'; script-src 'self'");
        etag = strstr(text, "ETag: ") + 6;
        snprintf(header, sizeof header, "If-None-Match: %.*s\r\n", (int)strcspn(etag, "\r"), etag);
        again = ask("GET", paths[i], header, "");
        expect(again, "HTTP/1.1 304 ");
        free(again);
        free(text);
    }
    char *page = ask("GET", "/", "", "");
    assert_null(strstr(page, "http://"));
    assert_null(strstr(page, "https://"));
    assert_null(strstr(page, "<style"));
    assert_null(strstr(page, "onclick"));
    free(page);
    page = ask("GET", "/static/main.c", "", "");
    expect(page, "HTTP/1.1 404 ");
    free(page);
}

static void test_explain(void **state)
{
    (void)state;
    post("/explain", "{\"text\": \"好\", \"task\": \"troll\", \"version\": \"7\", \"max_ngrams\": 3}", "HTTP/1.1 200 ",
         "\"task\":\"troll\",\"about\":\"7\"");
    post("/explain", "{\"text\": \"好\"}", "HTTP/1.1 200 ",
         "\"characters\":[{\"text\":\"好\",\"position\":20,\"contribution\":-0.25}]");
    post("/explain", "{}", "HTTP/1.1 400 ", "text");
    post("/explain", "{\"text\": \"x\", \"version\": 7}", "HTTP/1.1 400 ", "version");
    post("/explain", "{\"text\": \"x\", \"max_ngrams\": 0}", "HTTP/1.1 400 ", "max_ngrams");
    post("/explain", "{\"text\": \"x\", \"max_ngrams\": 1e9}", "HTTP/1.1 400 ", "max_ngrams");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_predict),
        cmocka_unit_test(test_predict_refuses),
        cmocka_unit_test(test_explain),
        cmocka_unit_test(test_detect),
        cmocka_unit_test(test_detect_names_a_model_and_its_timing),
        cmocka_unit_test(test_detect_takes_a_file_as_it_is),
        cmocka_unit_test(test_detect_takes_a_form),
        cmocka_unit_test(test_a_detector_without_room_is_told_or_waited_for),
        cmocka_unit_test(test_a_call_goes_to_another_replica),
        cmocka_unit_test(test_detectors_are_listed),
        cmocka_unit_test(test_detect_refuses),
        cmocka_unit_test(test_errors_of_a_backend),
        cmocka_unit_test(test_a_backend_that_hangs_is_504_in_time),
        cmocka_unit_test(test_a_client_that_leaves_cancels_the_work_behind_it),
        cmocka_unit_test(test_status_and_probes),
        cmocka_unit_test(test_a_gateway_that_stops_is_not_ready_and_serves_on),
        cmocka_unit_test(test_backends_that_go_and_come),
        cmocka_unit_test(test_pages_are_whole_and_bring_their_own_parts),
    };

    log_init("gateway_test", "error");
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
