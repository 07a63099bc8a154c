/* oip_test.c - the Open Inference Protocol over a real connection; foreign clients are met in tests/. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "nn/nn.h"
#include "oip.h"
#include "testing.h"

#include "inference/grpc_service.pb-c.h"

#include <cmocka.h>

#define MAX_IMAGE 100000

static char *folder;
static uint8_t *file;
static size_t file_size;

struct fixture {
    struct detector *detector;
    struct rpc_server *server;
    struct oip_service service;
    struct rpc_client *client;
    struct arena arena;
};

static int setup(void **state)
{
    static struct fixture f;
    struct detector_config config = testing_config(folder, "small", 2);
    struct rpc_server_config server = {.listen = "127.0.0.1", .workers = 2, .queue = 8, .drain_ms = 2000};
    char target[32];

    config.models.others = "absent";
    or_die(detector_open(&f.detector, &config));
    or_die(rpc_server_new(&f.server, &server));
    or_die(oip_service_add(f.server, &f.service, f.detector, MAX_IMAGE));
    or_die(rpc_server_start(f.server));
    snprintf(target, sizeof target, "127.0.0.1:%d", rpc_server_port(f.server));
    or_die(rpc_client_new(&f.client, &(struct rpc_client_config){.target = target}));
    arena_init(&f.arena, 4 << 20);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    arena_fini(&f->arena);
    rpc_client_free(f->client);
    rpc_server_stop(f->server);
    detector_close(f->detector);
    return 0;
}

static struct status call(struct fixture *f, const char *method, const void *in, const void *out)
{
    struct rpc_options options = {.timeout_ms = 30000, .arena = &f->arena};

    return rpc_unary(f->client, &inference__grpcinference_service__descriptor, method, in, (const void **)out,
                     &options);
}

/* A request with pictures, to be bent by a test. */
struct request {
    Inference__ModelInferRequest req;
    Inference__ModelInferRequest__InferInputTensor in, *inputs[1];
    Inference__InferTensorContents contents;
    ProtobufCBinaryData images[OIP_MAX_IMAGES];
    int64_t shape[1];
    Inference__ModelInferRequest__ParametersEntry entry, *entries[1];
    Inference__InferParameter value;
};

static void request_init(struct request *r, size_t n)
{
    inference__model_infer_request__init(&r->req);
    inference__model_infer_request__infer_input_tensor__init(&r->in);
    inference__infer_tensor_contents__init(&r->contents);
    inference__model_infer_request__parameters_entry__init(&r->entry);
    inference__infer_parameter__init(&r->value);
    for (size_t i = 0; i < n; i++)
        r->images[i] = (ProtobufCBinaryData){file_size, file};
    r->contents.bytes_contents = r->images;
    r->contents.n_bytes_contents = n;
    r->shape[0] = (int64_t)n;
    r->in.name = "image";
    r->in.datatype = "BYTES";
    r->in.shape = r->shape;
    r->in.n_shape = 1;
    r->in.contents = &r->contents;
    r->inputs[0] = &r->in;
    r->req.inputs = r->inputs;
    r->req.n_inputs = 1;
    r->req.model_name = "small";
    r->req.id = "call 1";
    r->entry.key = "threshold";
    r->entry.value = &r->value;
    r->value.parameter_choice_case = INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_DOUBLE_PARAM;
    r->value.double_param = 0.05;
    r->entries[0] = &r->entry;
    r->req.parameters = r->entries;
    r->req.n_parameters = 1;
}

static const Inference__ModelInferResponse *infer(struct fixture *f, struct request *r)
{
    const Inference__ModelInferResponse *rep = NULL;
    struct status st = call(f, "ModelInfer", &r->req, &rep);

    if (st.code)
        fail_msg("%s", st.msg);
    return rep;
}

static void refused(struct fixture *f, struct request *r, enum code code, const char *words)
{
    const Inference__ModelInferResponse *rep;
    struct status st = call(f, "ModelInfer", &r->req, &rep);

    if (st.code != code || !strstr(st.msg, words))
        fail_msg("%s %s, not %s with \"%s\"", code_name(st.code), st.msg, code_name(code), words);
}

/* What the detector itself finds. */
static struct detection found_by_the_detector(struct fixture *f, float threshold)
{
    struct detection found;

    assert_int_equal(testing_detect(f->detector, "", file, file_size, threshold, CLOCK_NEVER, &found).code, ST_OK);
    return found;
}

static void test_three_pictures(void **state)
{
    struct fixture *f = *state;
    struct detection want = found_by_the_detector(f, 0.05f);
    struct request r;
    size_t k = want.n_objects, n = 3 * k;

    request_init(&r, 3);
    const Inference__ModelInferResponse *rep = infer(f, &r);
    assert_string_equal(rep->id, "call 1");
    assert_string_equal(rep->model_name, "small");
    assert_int_equal(strlen(rep->model_version), OIP_VERSION_SIZE);
    assert_int_equal(rep->n_outputs, OIP_N_OUTPUTS);
    assert_string_equal(rep->outputs[0]->name, "boxes");
    assert_int_equal(rep->outputs[0]->shape[0], n);
    assert_int_equal(rep->outputs[0]->shape[1], 4);
    assert_string_equal(rep->outputs[3]->datatype, "INT32");
    for (size_t i = 0; i < n; i++) {
        const struct box_object *o = &want.objects[i % k];
        const float *box = rep->outputs[0]->contents->fp32_contents + 4 * i;
        assert_true(box[0] == o->left && box[1] == o->top && box[2] == o->width && box[3] == o->height);
        assert_true(rep->outputs[1]->contents->fp32_contents[i] == o->confidence);
        assert_memory_equal(rep->outputs[2]->contents->bytes_contents[i].data, o->class_id ? "dog" : "cat", 3);
        assert_int_equal(rep->outputs[3]->contents->int_contents[i], i / k);
    }
}

static void test_raw_and_by_choice(void **state)
{
    struct fixture *f = *state;
    struct detection want = found_by_the_detector(f, 0.05f);
    Inference__ModelInferRequest__InferRequestedOutputTensor scores, labels, *outputs[] = {&scores, &labels};
    uint32_t length = (uint32_t)file_size;
    uint8_t *raw = xmalloc(4 + file_size);
    ProtobufCBinaryData data = {4 + file_size, raw};
    struct request r;

    memcpy(raw, &length, 4);
    memcpy(raw + 4, file, file_size);
    request_init(&r, 1);
    r.in.contents = NULL;
    r.req.raw_input_contents = &data;
    r.req.n_raw_input_contents = 1;
    inference__model_infer_request__infer_requested_output_tensor__init(&scores);
    inference__model_infer_request__infer_requested_output_tensor__init(&labels);
    scores.name = "scores";
    labels.name = "image_index";
    r.req.outputs = outputs;
    r.req.n_outputs = 2;
    const Inference__ModelInferResponse *rep = infer(f, &r);
    assert_int_equal(rep->n_raw_output_contents, 2);
    assert_int_equal(rep->raw_output_contents[0].len, want.n_objects * sizeof(float));
    assert_memory_equal(rep->raw_output_contents[0].data, &want.objects[0].confidence, sizeof(float));
    assert_int_equal(rep->raw_output_contents[1].len, want.n_objects * sizeof(int32_t));
    labels.name = "logits";
    refused(f, &r, ST_INVALID, "outputs boxes, scores, labels and image_index");
    free(raw);
}

static void test_nothing_found(void **state)
{
    struct fixture *f = *state;
    struct request r;

    request_init(&r, 2);
    r.value.parameter_choice_case = INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_STRING_PARAM;
    r.value.string_param = "1.0";
    const Inference__ModelInferResponse *rep = infer(f, &r);
    assert_int_equal(rep->outputs[0]->shape[0], 0);
    assert_int_equal(rep->outputs[0]->shape[1], 4);
}

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    struct request r;

    request_init(&r, 3);
    r.images[1].len /= 2;
    refused(f, &r, ST_INVALID, "image[1]: ");
    request_init(&r, 1);
    r.images[0].len /= 2;
    refused(f, &r, ST_INVALID, "image");
    request_init(&r, 1);
    r.value.double_param = 2;
    refused(f, &r, ST_INVALID, "threshold");
    request_init(&r, 1);
    r.value.parameter_choice_case = INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_BOOL_PARAM;
    refused(f, &r, ST_INVALID, "parameter threshold: must be a number");
    request_init(&r, 1);
    r.shape[0] = OIP_MAX_IMAGES + 1;
    refused(f, &r, ST_INVALID, "1 to 64 images");
    request_init(&r, 1);
    r.in.name = "text";
    refused(f, &r, ST_INVALID, "the one input image");
    request_init(&r, 1);
    r.req.model_name = "large";
    refused(f, &r, ST_NOT_FOUND, "there is small");
    r.req.model_name = "absent";
    refused(f, &r, ST_PRECONDITION, "absent.cfg is missing");
    r.req.model_name = "small";
    r.req.model_version = "7";
    refused(f, &r, ST_NOT_FOUND, "none \"7\"");
}

static bool is_ready(struct fixture *f, const char *name, const char *version)
{
    Inference__ModelReadyRequest req = INFERENCE__MODEL_READY_REQUEST__INIT;
    const Inference__ModelReadyResponse *rep;

    req.name = (char *)name;
    req.version = (char *)version;
    assert_int_equal(call(f, "ModelReady", &req, &rep).code, ST_OK);
    return rep->ready;
}

static void test_what_there_is(void **state)
{
    struct fixture *f = *state;
    Inference__ServerReadyRequest ready = INFERENCE__SERVER_READY_REQUEST__INIT;
    Inference__ModelMetadataRequest about = INFERENCE__MODEL_METADATA_REQUEST__INIT;
    Inference__RepositoryIndexRequest index = INFERENCE__REPOSITORY_INDEX_REQUEST__INIT;
    Inference__RepositoryModelLoadRequest load = INFERENCE__REPOSITORY_MODEL_LOAD_REQUEST__INIT;
    const Inference__ServerReadyResponse *is;
    const Inference__ModelMetadataResponse *model;
    const Inference__RepositoryIndexResponse *rows;
    const void *none;

    assert_int_equal(call(f, "ServerReady", &ready, &is).code, ST_OK);
    assert_false(is->ready); /* one that was named is missing */
    about.name = "small";
    assert_int_equal(call(f, "ModelMetadata", &about, &model).code, ST_OK);
    assert_string_equal(model->inputs[0]->name, "image");
    assert_int_equal(model->n_outputs, OIP_N_OUTPUTS);
    assert_int_equal(model->outputs[0]->shape[1], 4);
    assert_string_equal(model->platform, "bloginfer_darknet_openblas");
    assert_true(is_ready(f, "small", "") && is_ready(f, "small", model->versions[0]));
    assert_false(is_ready(f, "small", "7") || is_ready(f, "absent", "") || is_ready(f, "large", ""));
    assert_int_equal(call(f, "RepositoryIndex", &index, &rows).code, ST_OK);
    assert_int_equal(rows->n_models, 2);
    assert_string_equal(rows->models[0]->state, "READY");
    assert_string_equal(rows->models[1]->state, "UNAVAILABLE");
    assert_string_equal(rows->models[1]->reason, "absent.cfg is missing");
    assert_int_equal(call(f, "RepositoryModelLoad", &load, &none).code, ST_UNIMPLEMENTED);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_three_pictures), TEST(test_raw_and_by_choice), TEST(test_nothing_found),
        TEST(test_refusals),       TEST(test_what_there_is),
    };
    (void)argc;
    nn_setup_blas(argv);
    folder = small_folder();
    file = testing_picture(300, 200, &file_size);
    rpc_init();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rpc_fini();
    free(file);
    or_die(fs_remove_tree(folder));
    free(folder);
    return failed;
}
