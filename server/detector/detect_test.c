/* detect_test.c - the service over a real connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "detect.h"
#include "nn/nn.h"
#include "image/picture.h"
#include "network/small_model.h"

#include "bloginfer/v1/detect.pb-c.h"
#include "grpc/health/v1/health.pb-c.h"

#include <cmocka.h>

#define MAX_IMAGE 100000

static char *folder;

struct fixture {
    struct detector *detector;
    struct rpc_server *server;
    struct detect_service service;
    struct rpc_client *client;
    struct arena arena;
};

static void start(struct fixture *f, const char *model)
{
    struct detector_config config = {.model = model,
                                     .path = folder,
                                     .engine = "openblas",
                                     .n_engines = 1,
                                     .max_image_bytes = MAX_IMAGE,
                                     .max_pixels = 1000000};
    struct rpc_server_config server = {.listen = "127.0.0.1", .workers = 2, .queue = 8, .drain_ms = 2000};
    char target[32];

    or_die(detector_open(&f->detector, &config));
    or_die(rpc_server_new(&f->server, &server));
    or_die(detect_service_add(f->server, &f->service, f->detector, MAX_IMAGE));
    or_die(rpc_server_start(f->server));
    detect_service_show(f->server, &f->service);
    snprintf(target, sizeof target, "127.0.0.1:%d", rpc_server_port(f->server));
    or_die(rpc_client_new(&f->client, &(struct rpc_client_config){.target = target}));
    arena_init(&f->arena, 1 << 20);
}

static void stop(struct fixture *f)
{
    arena_fini(&f->arena);
    rpc_client_free(f->client);
    rpc_server_stop(f->server);
    detector_close(f->detector);
}

static struct status call(struct fixture *f, const char *method, const void *in, const void **out)
{
    struct rpc_options options = {.timeout_ms = 30000, .arena = &f->arena};
    return rpc_unary(f->client, &bloginfer__v1__detect_service__descriptor, method, in, out, &options);
}

static void assert_health(struct fixture *f, Grpc__Health__V1__HealthCheckResponse__ServingStatus want)
{
    static const char *const services[] = {"", DETECT_SERVICE};
    struct rpc_options options = {.timeout_ms = 30000, .arena = &f->arena};

    for (size_t i = 0; i < COUNT_OF(services); i++) {
        Grpc__Health__V1__HealthCheckRequest req = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
        const Grpc__Health__V1__HealthCheckResponse *rep;
        req.service = (char *)services[i];
        struct status st =
            rpc_unary(f->client, &grpc__health__v1__health__descriptor, "Check", &req, (const void **)&rep, &options);
        assert_int_equal(st.code, ST_OK);
        assert_int_equal(rep->status, want);
    }
}

static struct status detect(struct fixture *f, const char *id, uint8_t *file, size_t size, float threshold,
                            const Bloginfer__V1__DetectResponse **rep)
{
    Bloginfer__V1__DetectRequest req = BLOGINFER__V1__DETECT_REQUEST__INIT;

    req.id = (char *)id;
    req.image = (ProtobufCBinaryData){size, file};
    req.threshold = threshold;
    return call(f, "Detect", &req, (const void **)rep);
}

static void test_answer(void **state)
{
    const Bloginfer__V1__DetectResponse *rep;
    struct fixture f;
    size_t size;
    uint8_t *file = picture_jpeg(&(struct picture_jpeg){300, 200, 3, false, 6}, &size);
    (void)state;
    start(&f, "small");
    struct status st = detect(&f, "picture 1", file, size, 0.05f, &rep);
    if (st.code)
        fail_msg("%s", st.msg);
    assert_health(&f, GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING);
    assert_string_equal(rep->id, "picture 1");
    assert_string_equal(rep->model, "small");
    assert_int_equal(rep->image_width, 200); /* upright: EXIF turns it */
    assert_int_equal(rep->image_height, 300);
    assert_true(rep->n_objects > 0);
    for (size_t i = 0; i < rep->n_objects; i++) {
        const Bloginfer__V1__DetectedObject *o = rep->objects[i];
        assert_true(strcmp(o->label, "cat") == 0 || strcmp(o->label, "dog") == 0);
        assert_true(o->confidence >= 0.05f && o->box->left + o->box->width <= 200.01f);
    }
    stop(&f);
    free(file);
}

static void test_refusals(void **state)
{
    const Bloginfer__V1__DetectResponse *rep;
    struct fixture f;
    uint8_t *large = xcalloc(1, MAX_IMAGE + 1);
    char id[258];
    (void)state;
    start(&f, "small");
    memset(id, 'x', 257);
    id[257] = 0;
    assert_int_equal(detect(&f, id, (uint8_t *)"x", 1, 0, &rep).code, ST_INVALID);
    assert_int_equal(detect(&f, "", (uint8_t *)"not a picture", 13, 0, &rep).code, ST_INVALID);
    assert_int_equal(detect(&f, "", NULL, 0, 0, &rep).code, ST_INVALID);
    assert_int_equal(detect(&f, "", large, MAX_IMAGE + 1, 0, &rep).code, ST_INVALID);
    stop(&f);
    free(large);
}

static void test_describe(void **state)
{
    Bloginfer__V1__DescribeDetectorRequest req = BLOGINFER__V1__DESCRIBE_DETECTOR_REQUEST__INIT;
    const Bloginfer__V1__DescribeDetectorResponse *rep;
    struct fixture f;
    (void)state;
    start(&f, "small");
    assert_int_equal(call(&f, "DescribeDetector", &req, (const void **)&rep).code, ST_OK);
    assert_string_equal(rep->model, "small");
    assert_int_equal(rep->input_width, 64);
    assert_int_equal(rep->input_height, 48);
    assert_int_equal(rep->n_labels, 2);
    assert_string_equal(rep->labels[1], "dog");
    assert_int_equal(strlen(rep->weights_sha256), 64);
    stop(&f);
}

static void test_without_a_model(void **state)
{
    Bloginfer__V1__DescribeDetectorRequest req = BLOGINFER__V1__DESCRIBE_DETECTOR_REQUEST__INIT;
    const Bloginfer__V1__DetectResponse *rep;
    struct fixture f;
    const void *out;
    (void)state;
    start(&f, "absent");
    struct status st = detect(&f, "", (uint8_t *)"x", 1, 0, &rep);
    assert_int_equal(st.code, ST_PRECONDITION);
    assert_non_null(strstr(st.msg, "absent.cfg is missing"));
    assert_health(&f, GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING);
    assert_int_equal(call(&f, "DescribeDetector", &req, &out).code, ST_PRECONDITION);
    stop(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_a_model),
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_describe),
    };
    (void)argc;
    nn_setup_blas(argv);
    folder = small_folder();
    rpc_init();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rpc_fini();
    or_die(fs_remove_tree(folder));
    free(folder);
    return failed;
}
