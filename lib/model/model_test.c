/* model_test.c - a model goes to bytes and back unchanged, another program reads it, and every damage is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/model.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK_OK(call)                                                                                                 \
    do {                                                                                                               \
        struct status check_ = (call);                                                                                 \
        if (check_.code)                                                                                               \
            fail_msg("%s: %s", #call, check_.msg);                                                                     \
    } while (0)

static const uint64_t dims_a[] = {2, 3}, dims_b[] = {4};
static const float data_a[] = {0.5f, -1, 2, 3.25f, 4, 5}, data_b[] = {1e-3f, -1e6f, 7, 8};

/* Two tensors, a scalar, and metadata in no order. */
static struct model *sample(void)
{
    struct model *m = model_new();
    float scalar = -4.5f;

    model_set(m, "task", "sentiment");
    model_set(m, "labels", "消极,积极");
    model_set(m, "architecture", "old");
    model_set(m, "architecture", "lstm");
    model_reserve(m, 11);
    model_add(m, "z.first", dims_a, 2, data_a);
    model_add(m, "a.second", dims_b, 1, data_b);
    model_add(m, "scalar", NULL, 0, &scalar);
    return m;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct model *m = sample(), *back = NULL;
    char *data = NULL;
    size_t size = 0;

    CHECK_OK(model_encode(m, &data, &size));
    CHECK_OK(model_decode(&back, data, size));
    assert_int_equal(back->n_tensors, 3);
    assert_string_equal(back->tensors[0].name, "z.first");
    assert_string_equal(back->tensors[2].name, "scalar");
    assert_int_equal(back->tensors[0].n_dims, 2);
    assert_int_equal(back->tensors[0].dims[1], 3);
    assert_int_equal(back->tensors[2].n_dims, 0);
    assert_int_equal(back->block_n, 11);
    assert_memory_equal(model_find(back, "a.second")->data, data_b, sizeof data_b);
    assert_memory_equal(back->block, data_a, sizeof data_a);
    assert_int_equal((uintptr_t)back->block % 64, 0);
    assert_string_equal(model_get(back, "labels"), "消极,积极");
    assert_string_equal(model_get(back, "architecture"), "lstm");
    assert_null(model_get(back, "absent"));
    assert_null(model_find(back, "absent"));
    free(data);
    model_free(m);
    model_free(back);
}

static void test_equal_models_give_equal_bytes(void **state)
{
    (void)state;
    struct model *m = sample(), *other = model_new();
    char *data = NULL, *data2 = NULL;
    size_t size = 0, size2 = 0;
    float scalar = -4.5f;

    model_set(other, "architecture", "lstm");
    model_set(other, "labels", "消极,积极");
    model_set(other, "task", "sentiment");
    model_reserve(other, 20);
    model_add(other, "z.first", dims_a, 2, data_a);
    model_add(other, "a.second", dims_b, 1, data_b);
    model_add(other, "scalar", NULL, 0, &scalar);
    CHECK_OK(model_encode(m, &data, &size));
    CHECK_OK(model_encode(other, &data2, &size2));
    assert_int_equal(size, size2);
    assert_memory_equal(data, data2, size);
    assert_int_equal((size - 11 * sizeof(float)) % 8, 0); /* aligned tensors */
    free(data);
    free(data2);
    model_free(m);
    model_free(other);
}

static void test_what_cannot_be_written_is_refused(void **state)
{
    (void)state;
    struct model *m = sample();
    char *data = NULL;
    size_t size = 0;

    m->tensors[1].data[2] = NAN;
    assert_int_equal(model_encode(m, &data, &size).code, ST_INVALID);
    m->tensors[1].data[2] = -INFINITY;
    assert_int_equal(model_encode(m, &data, &size).code, ST_INVALID);
    m->tensors[1].data[2] = 0;
    model_set(m, "text", "\xff");
    assert_int_equal(model_encode(m, &data, &size).code, ST_INVALID);
    char *large = xmalloc(MODEL_MAX_HEADER + 1);
    memset(large, 'x', MODEL_MAX_HEADER);
    large[MODEL_MAX_HEADER] = '\0';
    model_set(m, "text", large);
    assert_int_equal(model_encode(m, &data, &size).code, ST_INVALID);
    assert_null(data);
    free(large);
    model_free(m);
}

/* Bytes of a file with this header and n_data bytes of zeros. */
static char *file_of(const char *header, size_t n_data, size_t *size)
{
    uint64_t length = strlen(header);
    char *data = xcalloc(1, 8 + length + n_data);

    memcpy(data, &length, 8);
    memcpy(data + 8, header, length);
    *size = 8 + length + n_data;
    return data;
}

static struct status decode_header(const char *header, size_t n_data)
{
    struct model *m = NULL;
    size_t size;
    char *data = file_of(header, n_data, &size);
    struct status st = model_decode(&m, data, size);

    assert_true((m == NULL) == (st.code != ST_OK));
    model_free(m);
    free(data);
    return st;
}

static void test_damaged_headers_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "[]",
        " {}",
        "{",
        "{\"a\":1}",
        "{} x",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
        "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",                        /* a name twice */
        "{\"a\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}}",                       /* type */
        "{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}",                                         /* none */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}",                       /* size */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,0],\"data_offsets\":[0,8]}}",                     /* empty */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}",                      /* negative */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}",                     /* no integer */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}",                         /* no list */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,2],\"data_offsets\":[0,8]}}",               /* too many */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,2],\"data_offsets\":[0,8]}}", /* wraps */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}",                       /* backwards */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}",                      /* outside */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}",                      /* negative */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}",                     /* three */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,18446744073709551616]}}",    /* over 64 bits */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",                       /* rest */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",                       /* gap */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", /* overlap */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"__metadata__\":[]}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"__metadata__\":{\"k\":1}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"__metadata__\":{\"k\":\"\xc3\"}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}",
    };

    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct status st = decode_header(bad[i], 8);
        if (st.code != ST_DATA_LOSS)
            fail_msg("header %zu: %s %s", i, code_name(st.code), bad[i]);
        assert_true(st.msg[0]);
    }
    CHECK_OK(decode_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}   ", 8));
    CHECK_OK(decode_header("{}", 0));
}

static void test_too_many_tensors_are_refused(void **state)
{
    (void)state;
    struct buf header = BUF_INIT(MODEL_MAX_HEADER);

    for (int i = 0; i <= MODEL_MAX_TENSORS; i++)
        buf_printf(&header, "%s\"t%d\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%d,%d]}", i ? "," : "{", i,
                   4 * i, 4 * i + 4);
    buf_putc(&header, '}');
    assert_int_equal(decode_header(header.data, 4 * (MODEL_MAX_TENSORS + 1)).code, ST_DATA_LOSS);
    buf_fini(&header);
}

static void test_no_cut_file_passes(void **state)
{
    (void)state;
    struct model *m = sample(), *back = NULL;
    char *data = NULL;
    size_t size = 0;

    CHECK_OK(model_encode(m, &data, &size));
    for (size_t n = 0; n < size; n++) {
        char *cut = xmalloc(n); /* its own block, so that a sanitizer sees a read past the end */
        memcpy(cut, data, n);
        assert_int_equal(model_decode(&back, cut, n).code, ST_DATA_LOSS);
        free(cut);
    }
    free(data);
    model_free(m);
}

static void test_lengths_beyond_the_file_are_refused(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {UINT64_MAX, INT64_MAX, UINT64_MAX - 7, MODEL_MAX_HEADER + 1, 1u << 20, 100};
    struct model *m = NULL;
    size_t size;
    char *data = file_of("{}", 0, &size);

    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        memcpy(data, &lengths[i], 8);
        assert_int_equal(model_decode(&m, data, size).code, ST_DATA_LOSS);
    }
    free(data);
}

static void test_values_that_are_not_finite_are_refused(void **state)
{
    (void)state;
    struct model *m = sample(), *back = NULL;
    char *data = NULL;
    size_t size = 0;
    float inf = INFINITY;

    CHECK_OK(model_encode(m, &data, &size));
    memcpy(data + size - sizeof inf, &inf, sizeof inf);
    struct status st = model_decode(&back, data, size);
    assert_int_equal(st.code, ST_DATA_LOSS);
    assert_non_null(strstr(st.msg, "scalar"));
    free(data);
    data = file_of("{\"h\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}", 2, &size);
    memcpy(data + size - 2, "\x01\x7e", 2);
    assert_int_equal(model_decode(&back, data, size).code, ST_DATA_LOSS);
    free(data);
    model_free(m);
}

/* ---- another program ---- */

static char path[] = "/tmp/model_test.XXXXXX";

/* What the peer prints; "" when it failed. */
static char *peer(const char *verb)
{
    char *command =
        xasprintf("/usr/bin/python3 %s/lib/model/safetensors_peer.py %s %s", BLOGINFER_SOURCE_DIR, verb, path);
    struct buf text = BUF_INIT(1 << 16);
    char line[256];
    FILE *f = popen(command, "re");

    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        buf_puts(&text, line);
    assert_int_equal(pclose(f), 0);
    free(command);
    return buf_take(&text);
}

static void test_an_independent_reader_agrees(void **state)
{
    (void)state;
    struct model *m = sample();
    char *data = NULL;
    size_t size = 0;

    CHECK_OK(model_encode(m, &data, &size));
    CHECK_OK(fs_write_atomic(path, data, size));
    char *seen = peer("show");
    assert_string_equal(seen, "z.first 2x3 0.500 13.750\na.second 4 0.001 -999984.999\nscalar  -4.500 -4.500\n"
                              "architecture=lstm\nlabels=消极,积极\ntask=sentiment\n");
    free(seen);
    free(data);
    model_free(m);
}

static void test_an_independent_writer_is_read(void **state)
{
    (void)state;
    struct model *m = NULL;

    free(peer("write"));
    CHECK_OK(model_read(&m, path));
    assert_int_equal(m->n_tensors, 3);
    assert_string_equal(m->tensors[0].name, "f32"); /* file order, not header order */
    assert_string_equal(m->tensors[1].name, "f16");
    assert_true(m->tensors[0].data[5] == 1.25f);
    const float *half = m->tensors[1].data, *b16 = model_find(m, "b16")->data;
    assert_true(half[0] == 1.5f && half[1] == -2.0f && half[2] == 0x1p-24f && half[3] == 65504.0f);
    assert_true(b16[0] == 0.5f && b16[1] == -3.0f);
    assert_string_equal(model_get(m, "名"), "值");
    model_free(m);
}

static void test_half_precision_on_disk(void **state)
{
    (void)state;
    struct model *m = sample(), *back = NULL;
    char *data = NULL, *again = NULL;
    size_t size = 0, whole = 0;

    CHECK_OK(model_encode(m, &data, &whole));
    free(data);
    m->tensors[0].f16 = true;
    CHECK_OK(model_encode(m, &data, &size));
    assert_true(size < whole);
    CHECK_OK(fs_write_atomic(path, data, size));
    char *seen = peer("show");
    assert_string_equal(seen, "z.first 2x3 0.500 13.750 F16 003800bc0040804200440045\n"
                              "a.second 4 0.001 -999984.999\nscalar  -4.500 -4.500\n"
                              "architecture=lstm\nlabels=消极,积极\ntask=sentiment\n");
    free(seen);
    CHECK_OK(model_decode(&back, data, size));
    assert_memory_equal(back->block, data_a, sizeof data_a);
    CHECK_OK(model_encode(back, &again, &whole)); /* stays what it was */
    assert_int_equal(whole, size);
    assert_memory_equal(again, data, size);
    free(again);
    free(data);
    model_free(back);
    model_free(m);
}

#define N_HALVES 200000

/* What is easy to get wrong, then anything: every exponent, mantissas in the middle of two halves. */
static float half_case(size_t i, struct rng *rng)
{
    static const float edges[] = {0,          -0.0f,     0x1p-24f,     0x1p-25f,       0x1.8p-25f,    0x1.000002p-25f,
                                  0x1.8p-24f, 0x1p-14f,  0x1.ffcp-15f, 0x1.ffep-15f,   65504.0f,      65519.0f,
                                  65519.9f,   -65504.0f, 1e-45f,       1.00048828125f, 1.00146484375f};
    uint32_t bits = (uint32_t)rng_next(rng);
    float f;

    if (i < COUNT_OF(edges))
        return edges[i];
    bits = (bits & 0x807fffffu) | (uint32_t)(100 + rng_below(rng, 42)) << 23; /* 2^-27 to 2^14 */
    if (i % 2)
        bits &= ~0xfffu;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static void test_halves_are_rounded_as_numpy_rounds_them(void **state)
{
    (void)state;
    static float values[N_HALVES];
    const uint64_t dims[] = {N_HALVES};
    struct model *m = model_new();
    char *data = NULL, *theirs = NULL;
    size_t size = 0, n = 0;
    struct rng rng;

    rng_init(&rng, 16);
    for (size_t i = 0; i < N_HALVES; i++)
        values[i] = half_case(i, &rng);
    model_reserve(m, N_HALVES);
    model_add(m, "halves", dims, 1, values);
    m->tensors[0].f16 = true;
    CHECK_OK(model_encode(m, &data, &size));
    CHECK_OK(fs_write_atomic(path, (const char *)values, sizeof values));
    free(peer("halves"));
    CHECK_OK(fs_read(path, sizeof values, &theirs, &n));
    assert_int_equal(n, sizeof values / 2);
    assert_memory_equal(data + size - n, theirs, n);
    free(theirs);
    free(data);
    model_free(m);
}

static void test_what_does_not_fit_a_half_is_refused(void **state)
{
    (void)state;
    static const float too_large[] = {65520, -65520, 1e6f, -FLT_MAX};
    struct model *m = sample();
    char *data = NULL;
    size_t size = 0;

    m->tensors[0].f16 = true;
    for (size_t i = 0; i < COUNT_OF(too_large); i++) {
        m->tensors[0].data[1] = too_large[i];
        struct status st = model_encode(m, &data, &size);
        assert_int_equal(st.code, ST_INVALID);
        assert_non_null(strstr(st.msg, "z.first"));
    }
    m->tensors[0].data[1] = 65519.996f;
    CHECK_OK(model_encode(m, &data, &size));
    free(data);
    model_free(m);
}

static void test_header_alone(void **state)
{
    (void)state;
    struct model *m = sample(), *header = NULL;
    char *data = NULL;
    size_t size = 0;
    uint64_t file_size = 0;

    CHECK_OK(model_encode(m, &data, &size));
    CHECK_OK(fs_write_atomic(path, data, size));
    CHECK_OK(model_read_header(&header, path, &file_size));
    assert_int_equal(file_size, size);
    assert_int_equal(header->n_tensors, 3);
    assert_int_equal(header->tensors[1].n, 4);
    assert_null(header->tensors[1].data);
    assert_string_equal(model_get(header, "task"), "sentiment");
    model_free(header);
    for (size_t n = 0; n < size; n += n < 12 ? 1 : 37) {
        CHECK_OK(fs_write_atomic(path, data, n));
        assert_int_equal(model_read_header(&header, path, NULL).code, ST_DATA_LOSS);
    }
    assert_int_equal(model_read_header(&header, "/nowhere/at/all", NULL).code, ST_NOT_FOUND);
    assert_int_equal(model_read(&header, "/nowhere/at/all").code, ST_NOT_FOUND);
    free(data);
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_equal_models_give_equal_bytes),
        cmocka_unit_test(test_what_cannot_be_written_is_refused),
        cmocka_unit_test(test_damaged_headers_are_refused),
        cmocka_unit_test(test_too_many_tensors_are_refused),
        cmocka_unit_test(test_no_cut_file_passes),
        cmocka_unit_test(test_lengths_beyond_the_file_are_refused),
        cmocka_unit_test(test_values_that_are_not_finite_are_refused),
        cmocka_unit_test(test_an_independent_reader_agrees),
        cmocka_unit_test(test_an_independent_writer_is_read),
        cmocka_unit_test(test_half_precision_on_disk),
        cmocka_unit_test(test_halves_are_rounded_as_numpy_rounds_them),
        cmocka_unit_test(test_what_does_not_fit_a_half_is_refused),
        cmocka_unit_test(test_header_alone),
    };

    close(mkstemp(path));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
