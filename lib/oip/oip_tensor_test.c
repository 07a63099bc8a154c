/* oip_tensor_test.c - requests as clients send them and as nobody should: every size that does not fit is refused by
 * name, every one that fits gives back the very bytes; answers in both forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "oip_tensor.h"

#include <stdlib.h>
#include <string.h>

#define MAX 256

static const struct oip_input texts_input = {"text", "texts", MAX};

typedef Inference__ModelInferRequest__InferInputTensor input;

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

/* A request of one tensor, to be bent by a test. */
struct made {
    Inference__ModelInferRequest req;
    input in, *inputs[2];
    int64_t shape[3];
    Inference__InferTensorContents contents;
    ProtobufCBinaryData elements[MAX + 1], raw[2];
};

static struct made *make(int64_t n)
{
    struct made *m = arena_zalloc(&arena, 1, sizeof *m);

    inference__model_infer_request__init(&m->req);
    inference__model_infer_request__infer_input_tensor__init(&m->in);
    inference__infer_tensor_contents__init(&m->contents);
    m->in.name = (char *)"text";
    m->in.datatype = (char *)"BYTES";
    m->shape[0] = n;
    m->shape[1] = m->shape[2] = 1;
    m->in.shape = m->shape;
    m->in.n_shape = 1;
    m->inputs[0] = m->inputs[1] = &m->in;
    m->req.inputs = m->inputs;
    m->req.n_inputs = 1;
    m->contents.bytes_contents = m->elements;
    m->req.raw_input_contents = m->raw;
    return m;
}

static struct made *make_typed(int64_t n, size_t n_elements)
{
    struct made *m = make(n);

    for (size_t i = 0; i < n_elements; i++)
        m->elements[i] = (ProtobufCBinaryData){3, (uint8_t *)"abc"};
    m->contents.n_bytes_contents = n_elements;
    m->in.contents = &m->contents;
    return m;
}

static struct made *make_raw(int64_t n, const void *data, size_t size)
{
    struct made *m = make(n);

    m->raw[0] = m->raw[1] = (ProtobufCBinaryData){size, (uint8_t *)data};
    m->req.n_raw_input_contents = 1;
    return m;
}

static struct status take(const struct made *m, struct oip_elements *out)
{
    return oip_elements_read(out, &m->req, &texts_input, &arena);
}

static void refused(const struct made *m, enum code code, const char *words)
{
    struct oip_elements out;
    struct status st = take(m, &out);

    if (st.code != code || !strstr(st.msg, words))
        fail_msg("%s %s, not %s with \"%s\"", code_name(st.code), st.msg, code_name(code), words);
}

static void test_typed(void **state)
{
    struct made *m = make_typed(2, 2);
    struct oip_elements out;

    (void)state;
    m->elements[1] = (ProtobufCBinaryData){0, NULL}; /* how protobuf-c gives no bytes */
    assert_int_equal(take(m, &out).code, ST_OK);
    assert_int_equal(out.n, 2);
    assert_false(out.raw);
    assert_int_equal(out.rows[0].size, 3);
    assert_memory_equal(out.rows[0].data, "abc", 3);
    assert_int_equal(out.rows[1].size, 0);
    assert_non_null(out.rows[1].data);
    m->in.n_shape = 2; /* [N,1] */
    assert_int_equal(take(m, &out).code, ST_OK);
    assert_int_equal(out.n, 2);
}

static void test_raw(void **state)
{
    struct oip_elements out;
    struct made *m = make_raw(3, "\2\0\0\0ab\0\0\0\0\1\0\0\0\0", 15);

    (void)state;
    m->in.contents = &m->contents; /* there, but empty: some clients set it */
    assert_int_equal(take(m, &out).code, ST_OK);
    assert_true(out.raw);
    assert_int_equal(out.n, 3);
    assert_memory_equal(out.rows[0].data, "ab", 2);
    assert_int_equal(out.rows[1].size, 0);
    assert_int_equal(out.rows[2].size, 1); /* a NUL is a byte here */
}

static void test_shapes_that_are_none(void **state)
{
    static const int64_t bad[] = {0, -1, INT64_MIN, INT64_MAX, MAX + 1, (int64_t)1 << 32, ((int64_t)1 << 32) + 2};
    struct made *m;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        refused(make_typed(bad[i], 2), ST_INVALID, "text: dimension 0");
        refused(make_raw(bad[i], "\1\0\0\0a", 5), ST_INVALID, "text: dimension 0");
        m = make_typed(2, 2);
        m->in.n_shape = 2;
        m->shape[1] = bad[i];
        refused(m, ST_INVALID, "text: dimension 1");
    }
    m = make_typed(2, 2);
    m->in.n_shape = 0;
    refused(m, ST_INVALID, "text: its shape has 0 dimensions");
    m->in.n_shape = 3;
    refused(m, ST_INVALID, "text: its shape has 3 dimensions");
}

static void test_inputs_that_do_not_fit(void **state)
{
    Inference__ModelInferRequest__InferInputTensor__ParametersEntry entry =
        INFERENCE__MODEL_INFER_REQUEST__INFER_INPUT_TENSOR__PARAMETERS_ENTRY__INIT;
    Inference__ModelInferRequest__InferInputTensor__ParametersEntry *entries[] = {&entry};
    float number = 0;
    struct made *m = make_typed(1, 1);

    (void)state;
    m->req.n_inputs = 0;
    refused(m, ST_INVALID, "text: the input is there 0 times");
    m->req.n_inputs = 2;
    refused(m, ST_INVALID, "text: the input is there 2 times");
    m->req.n_inputs = 1;
    m->in.name = (char *)"Text";
    refused(m, ST_INVALID, "\"Text\"");
    m = make_typed(1, 1);
    m->in.datatype = (char *)"FP32";
    refused(m, ST_INVALID, "text: its datatype has to be BYTES, it is \"FP32\"");
    m = make_typed(1, 1);
    m->contents.fp32_contents = &number;
    m->contents.n_fp32_contents = 1;
    refused(m, ST_INVALID, "text: contents of another datatype");
    m = make_typed(1, 1);
    entry.key = (char *)"shared_memory_region";
    m->in.parameters = entries;
    m->in.n_parameters = 1;
    refused(m, ST_UNIMPLEMENTED, "text: ");
    refused(make(1), ST_INVALID, "text: it has no data");
}

static void test_sizes_that_do_not_fit(void **state)
{
    struct made *m;

    (void)state;
    refused(make_typed(2, 1), ST_INVALID, "text: 1 elements in bytes_contents, its shape says 2");
    refused(make_typed(1, 2), ST_INVALID, "text: 2 elements");
    refused(make_raw(1, NULL, 0), ST_INVALID, "text: the data ends before the length of element 0");
    refused(make_raw(1, "\3\0\0\0ab", 6), ST_INVALID, "text: element 0 has a length of 3 bytes, and 2 are left");
    refused(make_raw(1, "\377\377\377\377ab", 6), ST_INVALID, "text: element 0 has a length of 4294967295");
    refused(make_raw(2, "\1\0\0\0a\1\0\0", 8), ST_INVALID, "text: the data ends before the length of element 1");
    refused(make_raw(1, "\1\0\0\0ab", 6), ST_INVALID, "text: 1 bytes behind");
    m = make_raw(1, "\1\0\0\0a", 5);
    m->req.n_raw_input_contents = 2;
    refused(m, ST_INVALID, "raw_input_contents: 2 entries for 1 inputs");
    m = make_typed(1, 1);
    m->raw[0] = (ProtobufCBinaryData){5, (uint8_t *)"\1\0\0\0a"};
    m->req.n_raw_input_contents = 1;
    refused(m, ST_INVALID, "text: it has contents and the request has raw_input_contents");
}

/* Rows of random bytes as raw contents; returns the size. */
static size_t raw_of(struct rng *rng, uint8_t *data, size_t n, uint32_t *sizes)
{
    size_t size = 0;

    for (size_t i = 0; i < n; i++) {
        sizes[i] = (uint32_t)rng_below(rng, 20);
        memcpy(data + size, &sizes[i], 4);
        for (size_t k = 0; k < sizes[i]; k++)
            data[size + 4 + k] = (uint8_t)rng_next(rng);
        size += 4 + sizes[i];
    }
    return size;
}

/* Whole, it is taken as it was made; with another shape, cut anywhere, or with more behind it, it is refused. */
static void test_only_the_exact_size_is_taken(void **state)
{
    static uint8_t data[24 * MAX];
    uint32_t sizes[MAX];
    struct oip_elements out;
    struct rng rng;

    (void)state;
    rng_init(&rng, 1);
    for (int round = 0; round < 200; round++) {
        size_t n = 1 + (size_t)rng_below(&rng, round % 10 ? 6 : MAX), size = raw_of(&rng, data, n, sizes);
        struct made *m = make_raw((int64_t)n, data, size);

        assert_int_equal(take(m, &out).code, ST_OK);
        for (size_t i = 0, at = 4; i < n; at += 4 + sizes[i], i++) {
            assert_int_equal(out.rows[i].size, sizes[i]);
            assert_ptr_equal(out.rows[i].data, data + at);
        }
        for (size_t cut = 0; cut < size; cut += 1 + (size_t)rng_below(&rng, 5)) {
            uint8_t *copy = malloc(cut); /* of its own size, so that a sanitizer sees a step too far */
            memcpy(copy, data, cut);
            refused(make_raw((int64_t)n, copy, cut), ST_INVALID, "text: ");
            free(copy);
        }
        refused(make_raw((int64_t)n + 1, data, size), ST_INVALID, "text: ");
        refused(make_raw((int64_t)n - 1, data, size), ST_INVALID, "text: ");
        refused(make_raw((int64_t)n, data, size + 1), ST_INVALID, "text: 1 bytes behind");
        arena_reset(&arena);
    }
}

static void test_a_full_arena_is_told(void **state)
{
    struct arena small;
    struct oip_elements out;
    struct made *m = make_typed(MAX, MAX);

    (void)state;
    arena_init(&small, 64);
    assert_int_equal(oip_elements_read(&out, &m->req, &texts_input, &small).code, ST_EXHAUSTED);
    arena_fini(&small);
}

static const struct oip_bytes labels[] = {{"no", 2}, {"yes", 3}};
static const float numbers[] = {0.25F, 0.75F, 1, 0};

static void test_answers_typed(void **state)
{
    Inference__ModelInferResponse rep = INFERENCE__MODEL_INFER_RESPONSE__INIT;
    struct oip_writer w = {&rep, &arena, false, false};

    (void)state;
    oip_write_bytes(&w, "label", labels, 2);
    oip_write_fp32(&w, "score", numbers, 2, 2);
    oip_write_fp32(&w, "prob", numbers, 2, 0);
    assert_false(w.full);
    assert_int_equal(rep.n_outputs, 3);
    assert_int_equal(rep.n_raw_output_contents, 0);
    assert_string_equal(rep.outputs[0]->datatype, "BYTES");
    assert_int_equal(rep.outputs[0]->n_shape, 1);
    assert_int_equal(rep.outputs[0]->contents->n_bytes_contents, 2);
    assert_memory_equal(rep.outputs[0]->contents->bytes_contents[1].data, "yes", 3);
    assert_string_equal(rep.outputs[1]->name, "score");
    assert_int_equal(rep.outputs[1]->n_shape, 2);
    assert_int_equal(rep.outputs[1]->shape[1], 2);
    assert_int_equal(rep.outputs[1]->contents->n_fp32_contents, 4);
    assert_int_equal(rep.outputs[2]->n_shape, 1);
    assert_int_equal(rep.outputs[2]->contents->n_fp32_contents, 2);
}

static void test_answers_raw(void **state)
{
    Inference__ModelInferResponse rep = INFERENCE__MODEL_INFER_RESPONSE__INIT;
    struct oip_writer w = {&rep, &arena, true, false};

    (void)state;
    oip_write_fp32(&w, "score", numbers, 2, 2);
    oip_write_bytes(&w, "label", labels, 2);
    assert_false(w.full);
    assert_int_equal(rep.n_raw_output_contents, 2);
    assert_null(rep.outputs[0]->contents);
    assert_int_equal(rep.raw_output_contents[0].len, sizeof numbers);
    assert_memory_equal(rep.raw_output_contents[0].data, numbers, sizeof numbers);
    assert_int_equal(rep.raw_output_contents[1].len, 13);
    assert_memory_equal(rep.raw_output_contents[1].data, "\2\0\0\0no\3\0\0\0yes", 13);
}

/* All three outputs; whether there was room. */
static bool write_all(struct arena *a, bool raw)
{
    Inference__ModelInferResponse rep = INFERENCE__MODEL_INFER_RESPONSE__INIT;
    struct oip_writer w = {&rep, a, raw, false};

    oip_write_bytes(&w, "label", labels, 2);
    oip_write_fp32(&w, "score", numbers, 2, 2);
    oip_write_fp32(&w, "prob", numbers, 2, 0);
    return !w.full;
}

/* Wherever the room ends, it is told. */
static void test_answers_without_room(void **state)
{
    (void)state;
    for (int raw = 0; raw < 2; raw++) {
        arena_reset(&arena);
        assert_true(write_all(&arena, raw));
        for (size_t limit = 0; limit < arena.used; limit += 16) {
            struct arena small;

            arena_init(&small, limit);
            assert_false(write_all(&small, raw));
            arena_fini(&small);
        }
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_typed),
        TEST(test_raw),
        TEST(test_shapes_that_are_none),
        TEST(test_inputs_that_do_not_fit),
        TEST(test_sizes_that_do_not_fit),
        TEST(test_only_the_exact_size_is_taken),
        TEST(test_a_full_arena_is_told),
        TEST(test_answers_typed),
        TEST(test_answers_raw),
        TEST(test_answers_without_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
