/* v2_infer_test.c - bodies of /v2 as clients send them and as nobody should, to messages and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "v2_infer.h"

#include <stdlib.h>
#include <string.h>

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 16 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static struct v2_infer taken(const char *body, size_t size, const char *header)
{
    struct v2_infer in;
    struct status st = v2_infer_decode(&in, body, size, header, &arena);

    if (st.code)
        fail_msg("%s: %s", body, st.msg);
    return in;
}

static void refused(const char *body, size_t size, const char *header, const char *words)
{
    struct v2_infer in;
    struct status st = v2_infer_decode(&in, body, size, header, &arena);

    if (st.code != ST_INVALID || !strstr(st.msg, words))
        fail_msg("%s: %s %s", body, code_name(st.code), st.msg);
    v2_infer_fini(&in);
}

static void refused_json(const char *body, const char *words)
{
    refused(body, strlen(body), NULL, words);
}

#define TEXT(data) "{\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[2,1],\"data\":" data "}]}"

static void assert_raw(const struct v2_infer *in, size_t i, const char *bytes, size_t size)
{
    assert_int_equal(in->req.n_raw_input_contents, in->req.n_inputs);
    assert_int_equal(in->req.raw_input_contents[i].len, size);
    assert_memory_equal(in->req.raw_input_contents[i].data, bytes, size);
}

static void test_data_is_flat_or_nested(void **state)
{
    static const char *const bodies[] = {TEXT("[\"a\",\"\\u597d\"]"), TEXT("[[\"a\"],[\"好\"]]")};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        struct v2_infer in = taken(bodies[i], strlen(bodies[i]), NULL);

        assert_int_equal(in.req.n_inputs, 1);
        assert_string_equal(in.req.inputs[0]->name, "text");
        assert_string_equal(in.req.inputs[0]->datatype, "BYTES");
        assert_int_equal(in.req.inputs[0]->n_shape, 2);
        assert_int_equal(in.req.inputs[0]->shape[0], 2);
        assert_raw(&in, 0, "\1\0\0\0a\3\0\0\0好", 12);
        assert_int_equal(in.req.n_outputs, 0);
        assert_false(in.binary);
        v2_infer_fini(&in);
    }
}

#define BINARY                                                                                                         \
    "{\"id\":\"7\",\"parameters\":{\"binary_data_output\":true,\"priority\":1,\"who\":\"me\",\"exact\":0.5,"           \
    "\"yes\":true},\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[1],"                               \
    "\"parameters\":{\"binary_data_size\":6}},{\"name\":\"b\",\"datatype\":\"BYTES\",\"shape\":[1],"                   \
    "\"data\":[\"x\"]}],\"outputs\":[{\"name\":\"label\",\"parameters\":{\"binary_data\":false,"                       \
    "\"classification\":2}},{\"name\":\"score\"}]}"

static void test_binary_data_parameters_and_outputs(void **state)
{
    static const char body[] = BINARY "\2\0\0\0\0\377";
    char header[24];

    (void)state;
    snprintf(header, sizeof header, "%zu", sizeof BINARY - 1);
    struct v2_infer in = taken(body, sizeof body - 1, header);
    assert_string_equal(in.req.id, "7");
    assert_raw(&in, 0, "\2\0\0\0\0\377", 6); /* any bytes */
    assert_raw(&in, 1, "\1\0\0\0x", 5);
    assert_true(in.binary);
    assert_int_equal(in.req.inputs[0]->n_parameters, 0); /* binary_data_size is between the client and us */
    assert_int_equal(in.req.n_outputs, 2);
    assert_string_equal(in.req.outputs[0]->name, "label");
    assert_false(*in.output_binary[0]);
    assert_null(in.output_binary[1]);
    assert_int_equal(in.req.outputs[0]->n_parameters, 1);
    assert_string_equal(in.req.outputs[0]->parameters[0]->key, "classification");
    assert_int_equal(in.req.n_parameters, 4);
    for (size_t i = 0; i < 4; i++) {
        const Inference__InferParameter *v = in.req.parameters[i]->value;
        const char *key = in.req.parameters[i]->key;

        if (!strcmp(key, "priority"))
            assert_true(v->parameter_choice_case == INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_INT64_PARAM &&
                        v->int64_param == 1);
        else if (!strcmp(key, "who"))
            assert_string_equal(v->string_param, "me");
        else if (!strcmp(key, "exact"))
            assert_true(v->double_param == 0.5);
        else
            assert_true(v->bool_param);
    }
    v2_infer_fini(&in);
}

static void test_tails_that_do_not_fit(void **state)
{
    static const char json[] = "{\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[1],"
                               "\"parameters\":{\"binary_data_size\":5}}]}";
    char body[sizeof json + 8], header[24];
    size_t n = sizeof json - 1;

    (void)state;
    memcpy(body, json, n);
    memcpy(body + n, "\1\0\0\0abc", 8);
    snprintf(header, sizeof header, "%zu", n);
    refused(body, n + 4, header, "up to the 4 bytes left");
    refused(body, n + 6, header, "1 bytes of binary data belong to no input");
    refused(body, n + 5, NULL, "JSON");
    snprintf(header, sizeof header, "%zu", n + 6);
    refused(body, n + 5, header, V2_HEADER);
    refused(body, n + 5, "-1", V2_HEADER);
    refused(body, n + 5, "", V2_HEADER);
    refused(body, n + 5, "12x", V2_HEADER);
    refused(body, n + 5, "99999999999999999999", V2_HEADER);
    refused(body, n + 5, "0", "empty");
}

static void test_bodies_that_are_refused(void **state)
{
    (void)state;
    refused_json("", "empty");
    refused_json("[]", "has to be a JSON object");
    refused_json("{\"inputs\":", "JSON");
    refused_json("{}", "\"inputs\" is missing");
    refused_json("{\"inputs\":{}}", "\"inputs\" is missing or no array");
    refused_json("{\"inputs\":[1]}", "\"name\" is missing");
    refused_json("{\"inputs\":[{\"name\":1}]}", "\"name\" has to be a string");
    refused_json("{\"inputs\":[{\"name\":\"text\"}]}", "\"datatype\" is missing");
    refused_json("{\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\"}]}", "\"shape\" is missing");
    refused_json("{\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[1.5]}]}", "whole numbers");
    refused_json("{\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[99999999999999999999]}]}", "JSON");
    refused_json("{\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[1]}]}", "\"data\" is missing");
    refused_json(TEXT("[1]"), "have to be strings");
    refused_json(TEXT("[[\"a\"],[null]]"), "have to be strings");
    refused_json(TEXT("\"a\""), "no array");
    refused_json(TEXT("[\"\\ud800\"]"), "JSON");
    refused_json("{\"id\":1,\"inputs\":[]}", "\"id\"");
    refused_json("{\"parameters\":1,\"inputs\":[]}", "\"parameters\" has to be an object");
    refused_json("{\"parameters\":{\"a\":[]},\"inputs\":[]}", "\"a\"");
    refused_json("{\"parameters\":{\"binary_data_output\":1},\"inputs\":[]}", "binary_data_output");
    refused_json("{\"inputs\":[],\"outputs\":{}}", "\"outputs\"");
    refused_json("{\"inputs\":[],\"outputs\":[{}]}", "\"outputs\"");
    refused_json("{\"inputs\":[],\"outputs\":[{\"name\":\"a\",\"parameters\":{\"binary_data\":\"\"}}]}", "binary_data");
}

static void test_other_datatypes_go_on_without_data(void **state)
{
    static const char body[] = "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[-1,9223372036854775807],"
                               "\"data\":[1,[2]]}]}";

    (void)state;
    struct v2_infer in = taken(body, sizeof body - 1, NULL);
    assert_string_equal(in.req.inputs[0]->datatype, "FP32");
    assert_int_equal(in.req.inputs[0]->shape[0], -1);
    assert_int_equal(in.req.inputs[0]->shape[1], INT64_MAX);
    assert_int_equal(in.req.raw_input_contents[0].len, 0);
    v2_infer_fini(&in);
}

static void test_too_much_is_told(void **state)
{
    size_t n = V2_MAX_TENSORS + 100;
    char *body = malloc(n + 200);
    struct v2_infer in;
    int head = sprintf(body, "{\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"");

    (void)state;
    memset(body + head, 'x', n);
    strcpy(body + (size_t)head + n, "\"]}]}");
    assert_int_equal(v2_infer_decode(&in, body, strlen(body), NULL, &arena).code, ST_EXHAUSTED);
    v2_infer_fini(&in);
    free(body);
}

/* ---- answers ---- */

static Inference__ModelInferResponse rep;
static Inference__ModelInferResponse__InferOutputTensor outputs[2];

/* label BYTES [2] and score FP32 [2,2]. */
static void make_answer(void)
{
    static Inference__ModelInferResponse__InferOutputTensor *list[] = {&outputs[0], &outputs[1]};
    static int64_t shape[] = {2, 2};
    static float score[] = {0.25F, 0.75F, 1, 0};
    static ProtobufCBinaryData raw[2];

    inference__model_infer_response__init(&rep);
    for (int i = 0; i < 2; i++) {
        inference__model_infer_response__infer_output_tensor__init(&outputs[i]);
        outputs[i].name = (char *)(i ? "score" : "label");
        outputs[i].datatype = (char *)(i ? "FP32" : "BYTES");
        outputs[i].shape = shape;
        outputs[i].n_shape = i ? 2 : 1;
    }
    raw[0] = (ProtobufCBinaryData){13, (uint8_t *)"\2\0\0\0no\3\0\0\0yes"};
    raw[1] = (ProtobufCBinaryData){sizeof score, (uint8_t *)score};
    rep.model_name = (char *)"sentiment";
    rep.model_version = (char *)"7";
    rep.id = (char *)"a";
    rep.outputs = list;
    rep.n_outputs = rep.n_raw_output_contents = 2;
    rep.raw_output_contents = raw;
}

/* The answer to a request with these outputs and parameters. */
static char *answer_to(const char *members, size_t *size, size_t *json_size)
{
    char *text = arena_printf(&arena, "{\"inputs\":[]%s}", members), *body = NULL;
    struct v2_infer in = taken(text, strlen(text), NULL);
    struct status st = v2_infer_encode(&in, &rep, &arena, &body, size, json_size);

    if (st.code)
        fail_msg("%s", st.msg);
    v2_infer_fini(&in);
    return body;
}

static void test_answer_in_json(void **state)
{
    static const char want[] =
        "{\"model_name\":\"sentiment\",\"model_version\":\"7\",\"id\":\"a\",\"outputs\":["
        "{\"name\":\"label\",\"datatype\":\"BYTES\",\"shape\":[2],\"data\":[\"no\",\"yes\"]},"
        "{\"name\":\"score\",\"datatype\":\"FP32\",\"shape\":[2,2],\"data\":[0.25,0.75,1.0,0.0]}]}";
    size_t size, json_size;

    (void)state;
    make_answer();
    char *body = answer_to("", &size, &json_size);
    assert_int_equal(size, json_size);
    assert_int_equal(size, sizeof want - 1);
    assert_memory_equal(body, want, size);
}

static void test_answer_with_binary_data(void **state)
{
    size_t size, json_size;

    (void)state;
    make_answer();
    char *body =
        answer_to(",\"outputs\":[{\"name\":\"score\",\"parameters\":{\"binary_data\":true}}]", &size, &json_size);
    assert_int_equal(size, json_size + 16);
    assert_memory_equal(body + json_size, rep.raw_output_contents[1].data, 16);
    body[json_size] = '\0';
    assert_non_null(strstr(body, "\"data\":[\"no\",\"yes\"]"));
    assert_non_null(strstr(body, "\"parameters\":{\"binary_data_size\":16}"));
    body = answer_to(",\"parameters\":{\"binary_data_output\":true},"
                     "\"outputs\":[{\"name\":\"label\"},{\"name\":\"score\",\"parameters\":{\"binary_data\":false}}]",
                     &size, &json_size);
    assert_int_equal(size, json_size + 13);
    assert_memory_equal(body + json_size, rep.raw_output_contents[0].data, 13);
}

static void test_answer_with_integers(void **state)
{
    static int32_t numbers[] = {-1, 0, 2147483647, 7};
    size_t size, json_size;
    char *body;

    (void)state;
    make_answer();
    outputs[1].datatype = (char *)"INT32";
    rep.raw_output_contents[1].data = (uint8_t *)numbers;
    body = answer_to("", &size, &json_size);
    assert_non_null(strstr(body, "\"datatype\":\"INT32\",\"shape\":[2,2],\"data\":[-1,0,2147483647,7]"));
    rep.raw_output_contents[1].len = 0; /* no picture of the request shows anything */
    outputs[1].shape = (int64_t[]){0};
    outputs[1].n_shape = 1;
    body = answer_to("", &size, &json_size);
    assert_non_null(strstr(body, "\"datatype\":\"INT32\",\"shape\":[0],\"data\":[]"));
}

/* What a service of ours never sends; another build of it might. */
static void test_answers_that_do_not_add_up(void **state)
{
    struct v2_infer in = taken("{\"inputs\":[]}", 13, NULL);
    size_t size, json_size;
    char *body;

    (void)state;
    for (int i = 0; i < 6; i++) {
        make_answer();
        if (i == 0)
            rep.n_raw_output_contents = 1;
        else if (i == 1)
            rep.raw_output_contents[0].len--;
        else if (i == 2)
            rep.raw_output_contents[1].len -= 4;
        else if (i == 3)
            rep.raw_output_contents[1].len -= 1;
        else if (i == 4)
            outputs[0].datatype = (char *)"INT8";
        else
            rep.raw_output_contents[0] = (ProtobufCBinaryData){6, (uint8_t *)"\2\0\0\0\377\376"};
        assert_int_equal(v2_infer_encode(&in, &rep, &arena, &body, &size, &json_size).code, ST_INTERNAL);
    }
    v2_infer_fini(&in);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_data_is_flat_or_nested),
        TEST(test_binary_data_parameters_and_outputs),
        TEST(test_tails_that_do_not_fit),
        TEST(test_bodies_that_are_refused),
        TEST(test_other_datatypes_go_on_without_data),
        TEST(test_too_much_is_told),
        TEST(test_answer_in_json),
        TEST(test_answer_with_binary_data),
        TEST(test_answer_with_integers),
        TEST(test_answers_that_do_not_add_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
