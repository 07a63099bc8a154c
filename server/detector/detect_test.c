/* detect_test.c - the service over a real connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "detect.h"
#include "nn/nn.h"
#include "testing.h"

#include "bloginfer/v1/detect.pb-c.h"

#include <sched.h>

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

static void start_with(struct fixture *f, const struct detector_config *config)
{
    struct rpc_server_config server = {.listen = "127.0.0.1", .workers = 2, .queue = 8, .drain_ms = 2000};
    char target[32];

    or_die(detector_open(&f->detector, config));
    or_die(rpc_server_new(&f->server, &server));
    or_die(detect_service_add(f->server, &f->service, f->detector, MAX_IMAGE));
    or_die(rpc_server_start(f->server));
    snprintf(target, sizeof target, "127.0.0.1:%d", rpc_server_port(f->server));
    or_die(rpc_client_new(&f->client, &(struct rpc_client_config){.target = target}));
    arena_init(&f->arena, 1 << 20);
}

static void start(struct fixture *f, const char *model)
{
    struct detector_config config = testing_config(folder, model, 1);

    config.models.others = "small";
    start_with(f, &config);
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

static void test_by_model_and_with_times(void **state)
{
    Bloginfer__V1__DetectRequest req = BLOGINFER__V1__DETECT_REQUEST__INIT;
    const Bloginfer__V1__DetectResponse *rep;
    struct fixture f;
    size_t size;
    uint8_t *file = testing_picture(300, 200, &size);
    (void)state;
    start(&f, "small");
    req.image = (ProtobufCBinaryData){size, file};
    req.model = "small";
    assert_int_equal(call(&f, "Detect", &req, (const void **)&rep).code, ST_OK);
    assert_null(rep->timing);
    req.want_timing = true;
    assert_int_equal(call(&f, "Detect", &req, (const void **)&rep).code, ST_OK);
    assert_true(rep->timing->decode_us > 0 && rep->timing->resize_us > 0 && rep->timing->forward_us > 0);
    req.model = "large";
    struct status st = call(&f, "Detect", &req, (const void **)&rep);
    assert_int_equal(st.code, ST_NOT_FOUND);
    assert_non_null(strstr(st.msg, "there is small"));
    stop(&f);
    free(file);
}

/* A worker that is held makes the queue full; the caller hears at once when to come again. */
static void test_a_refusal_says_when_to_come_again(void **state)
{
    struct detector_config config = testing_config(folder, "small", 1);
    struct rpc_trailer trailer = {DETECT_RETRY_TRAILER, NULL};
    Bloginfer__V1__DetectRequest req = BLOGINFER__V1__DETECT_REQUEST__INIT;
    struct testing_job holder, waiting;
    struct fixture f;
    size_t size;
    int64_t retry_ms;
    uint8_t *file = testing_picture(300, 200, &size);
    const void *rep;
    (void)state;
    config.queue.max_images = 1;
    start_with(&f, &config);
    testing_job_init(&holder, file, size);
    testing_job_init(&waiting, file, size);
    holder.may_go_on = false;
    assert_int_equal(detector_submit(f.detector, "", &holder.job, &retry_ms).code, ST_OK);
    testing_job_wait(&holder);
    assert_int_equal(detector_submit(f.detector, "", &waiting.job, &retry_ms).code, ST_OK);
    struct rpc_options options = {.timeout_ms = 30000, .arena = &f.arena, .trailers = &trailer, .n_trailers = 1};
    req.image = (ProtobufCBinaryData){size, file};
    struct status st = rpc_unary(f.client, &bloginfer__v1__detect_service__descriptor, "Detect", &req, &rep, &options);
    assert_int_equal(st.code, ST_EXHAUSTED);
    assert_non_null(trailer.value);
    assert_in_range(atoi(trailer.value), 10, 10000);
    testing_job_go_on(&holder);
    testing_job_wait(&waiting);
    stop(&f);
    free(file);
}

/* ---- streams ---- */

struct picture {
    const char *id, *model;
    const uint8_t *data;
    size_t size;
    bool unordered;
};

static void send_picture(struct rpc_call *stream, const struct picture *p)
{
    Bloginfer__V1__DetectRequest req = BLOGINFER__V1__DETECT_REQUEST__INIT;
    Bloginfer__V1__DetectStreamRequest message = BLOGINFER__V1__DETECT_STREAM_REQUEST__INIT;

    req.id = (char *)p->id;
    req.model = (char *)(p->model ? p->model : "");
    req.image = (ProtobufCBinaryData){p->size, (uint8_t *)p->data};
    req.threshold = 0.05f;
    message.request = &req;
    message.unordered = p->unordered;
    assert_int_equal(rpc_send(stream, &message).code, ST_OK);
}

static const Bloginfer__V1__DetectStreamResponse *receive(struct rpc_call *stream)
{
    const void *in;

    assert_int_equal(rpc_recv(stream, &in).code, ST_OK);
    return in;
}

static struct rpc_call *open_stream(struct fixture *f)
{
    struct rpc_options options = {.timeout_ms = 60000};
    struct rpc_call *stream;

    or_die(rpc_stream_open(&stream, f->client, &bloginfer__v1__detect_service__descriptor, "DetectStream", &options));
    return stream;
}

/* Many more than may be under way at once; what is wrong with one is said of that one. */
static void test_a_stream_answers_in_order(void **state)
{
    struct fixture f;
    struct rpc_call *stream;
    size_t size;
    uint8_t *file = testing_picture(300, 200, &size);
    char ids[40][8], long_id[300];
    (void)state;
    start(&f, "small");
    stream = open_stream(&f);
    memset(long_id, 'x', sizeof long_id - 1);
    long_id[sizeof long_id - 1] = '\0';
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        struct picture p = {ids[i], i == 7 ? "large" : "", file, i % 5 == 3 ? size / 2 : size, false};
        snprintf(ids[i], sizeof ids[i], "id%zu", i);
        p.id = i == 9 ? long_id : ids[i];
        send_picture(stream, &p);
    }
    assert_int_equal(rpc_send_done(stream).code, ST_OK);
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        const Bloginfer__V1__DetectStreamResponse *rep = receive(stream);
        bool bad = i % 5 == 3 || i == 7 || i == 9;
        assert_int_equal(rep->index, i);
        assert_int_equal(rep->result_case, bad ? BLOGINFER__V1__DETECT_STREAM_RESPONSE__RESULT_ERROR
                                               : BLOGINFER__V1__DETECT_STREAM_RESPONSE__RESULT_RESPONSE);
        if (i != 9)
            assert_string_equal(bad ? rep->error->id : rep->response->id, ids[i]);
        if (bad) {
            assert_int_equal(rep->error->code, i == 7 ? ST_NOT_FOUND : ST_INVALID);
            assert_true(*rep->error->message);
        } else {
            assert_true(rep->response->n_objects > 0 && rep->response->image_width == 300);
        }
    }
    assert_null(receive(stream));
    assert_int_equal(rpc_stream_finish(stream).code, ST_OK);
    stop(&f);
    free(file);
}

/* The first picture waits behind a job that holds the only worker; an unordered refusal does not wait for it, an ordered
 * one does. */
static void test_a_stream_answers_out_of_order_where_asked(void **state)
{
    struct testing_job holder;
    struct fixture f;
    struct rpc_call *stream;
    size_t size;
    uint8_t *file = testing_picture(300, 200, &size);
    int64_t retry_ms;
    (void)state;
    start(&f, "small");
    testing_job_init(&holder, file, size);
    holder.may_go_on = false;
    assert_int_equal(detector_submit(f.detector, "", &holder.job, &retry_ms).code, ST_OK);
    testing_job_wait(&holder);
    stream = open_stream(&f);
    send_picture(stream, &(struct picture){"first", "", file, size, false});
    send_picture(stream, &(struct picture){"second", "large", file, size, false});
    send_picture(stream, &(struct picture){"third", "large", file, size, true});
    assert_int_equal(receive(stream)->index, 2);
    testing_job_go_on(&holder);
    assert_int_equal(receive(stream)->index, 0);
    assert_int_equal(receive(stream)->index, 1);
    rpc_cancel(stream);
    assert_int_equal(rpc_stream_finish(stream).code, ST_CANCELLED);
    stop(&f);
    free(file);
}

/* The client goes while its pictures wait: they are dropped, and the server can stop. */
static void test_a_stream_that_is_left(void **state)
{
    struct testing_job holder;
    struct fixture f;
    struct rpc_call *stream;
    size_t size;
    uint8_t *file = testing_picture(300, 200, &size);
    struct metric *dropped = metric_counter("bloginfer_detector_dropped_total", "", "reason");
    double before = series_value(metric_series(dropped, "cancelled"));
    int64_t retry_ms;
    (void)state;
    start(&f, "small");
    testing_job_init(&holder, file, size);
    holder.may_go_on = false;
    assert_int_equal(detector_submit(f.detector, "", &holder.job, &retry_ms).code, ST_OK);
    testing_job_wait(&holder);
    stream = open_stream(&f);
    for (int i = 0; i < 3; i++)
        send_picture(stream, &(struct picture){"x", "", file, size, false});
    send_picture(stream, &(struct picture){"y", "large", file, size, true});
    assert_int_equal(receive(stream)->index, 3); /* the others are in the queue by then */
    rpc_cancel(stream);
    assert_int_equal(rpc_stream_finish(stream).code, ST_CANCELLED);
    while (series_value(metric_series(metric_gauge("bloginfer_detector_queue_images", "", NULL))) < 3)
        sched_yield();
    testing_job_go_on(&holder);
    stop(&f);
    assert_true(series_value(metric_series(dropped, "cancelled")) >= before + 1);
    free(file);
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
    assert_string_equal(rep->engine, "openblas");
    assert_string_equal(rep->precision, "fp32");
    assert_string_equal(rep->resize, "plain");
    assert_true(rep->is_default && rep->ready && !*rep->problem);
    assert_true(rep->forward_ms > 0 && rep->default_threshold == 0.25f && rep->loaded_at_ms > 0);
    req.model = "small";
    assert_int_equal(call(&f, "DescribeDetector", &req, (const void **)&rep).code, ST_OK);
    req.model = "large";
    assert_int_equal(call(&f, "DescribeDetector", &req, (const void **)&rep).code, ST_NOT_FOUND);
    stop(&f);
}

static void test_list(void **state)
{
    Bloginfer__V1__ListDetectorsRequest req = BLOGINFER__V1__LIST_DETECTORS_REQUEST__INIT;
    const Bloginfer__V1__ListDetectorsResponse *rep;
    struct fixture f;
    (void)state;
    start(&f, "absent");
    assert_int_equal(call(&f, "ListDetectors", &req, (const void **)&rep).code, ST_OK);
    assert_int_equal(rep->n_models, 2);
    assert_string_equal(rep->models[0]->model, "absent");
    assert_true(rep->models[0]->is_default && !rep->models[0]->ready);
    assert_string_equal(rep->models[0]->problem, "absent.cfg is missing");
    assert_string_equal(rep->models[1]->model, "small");
    assert_true(!rep->models[1]->is_default && rep->models[1]->ready && rep->models[1]->n_labels == 2);
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
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_by_model_and_with_times),
        cmocka_unit_test(test_a_refusal_says_when_to_come_again),
        cmocka_unit_test(test_a_stream_answers_in_order),
        cmocka_unit_test(test_a_stream_answers_out_of_order_where_asked),
        cmocka_unit_test(test_a_stream_that_is_left),
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
