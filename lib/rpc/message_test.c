/* message_test.c - bytes from outside: what is taken for a message, a string, a descriptor set, and what is not. */
#include "rpc/descriptors.h"
#include "rpc/message.h"
#include "rpc/testing.h"
#include "rpc/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool valid(const char *s)
{
    return utf8_valid((const uint8_t *)s, strlen(s));
}

static void test_utf8(void **state)
{
    const char *const good[] = {"",
                                "a",
                                "\xc2\x80",
                                "\xe0\xa0\x80",
                                "\xed\x9f\xbf",
                                "\xee\x80\x80",
                                "中文 😀",
                                "\xf0\x90\x80\x80",
                                "\xf4\x8f\xbf\xbf"};
    const char *const bad[] = {"\x80",
                               "\xc0\x80",
                               "\xc1\xbf",
                               "\xc2",
                               "\xe0\x9f\xbf",
                               "\xed\xa0\x80",
                               "\xe4\xb8",
                               "\xf0\x8f\xbf\xbf",
                               "\xf4\x90\x80\x80",
                               "\xf5\x80\x80\x80",
                               "a\xff",
                               "\xe4\xb8\x2d"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++)
        assert_true(valid(good[i]));
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (valid(bad[i]))
            fail_msg("taken as UTF-8: number %zu", i);
}

static struct status parse(const ProtobufCMessageDescriptor *type, const void *data, size_t size, size_t limit)
{
    struct arena arena;
    const void *out;

    arena_init(&arena, limit);
    struct status st = message_parse(&out, type, data, size, &arena);
    arena_fini(&arena);
    return st;
}

#define DETECT_REQUEST       (&bloginfer__v1__detect_request__descriptor)
#define PARSE(type, literal) parse(type, literal, sizeof literal - 1, 1 << 20).code

static void test_malformed_messages_are_invalid(void **state)
{
    (void)state;
    assert_int_equal(PARSE(DETECT_REQUEST, ""), ST_OK);
    assert_int_equal(PARSE(DETECT_REQUEST, "\x0a\x01x"), ST_OK);
    assert_int_equal(PARSE(DETECT_REQUEST, "\x0a\x02x"), ST_INVALID); /* cut */
    assert_int_equal(PARSE(DETECT_REQUEST, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), ST_INVALID);
    assert_int_equal(PARSE(DETECT_REQUEST, "\x0b"), ST_INVALID);      /* a group */
    assert_int_equal(PARSE(DETECT_REQUEST, "\x02\x01x"), ST_INVALID); /* field 0 */
    assert_int_equal(PARSE(DETECT_REQUEST, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"), ST_INVALID);
}

static void test_strings_with_nul_or_bad_utf8_are_invalid(void **state)
{
    (void)state;
    assert_int_equal(PARSE(DETECT_REQUEST, "\x0a\x02"
                                           "a\0"),
                     ST_INVALID);
    assert_int_equal(PARSE(DETECT_REQUEST, "\x0a\x01\xff"), ST_INVALID);
    assert_int_equal(PARSE(DETECT_REQUEST, "\x12\x01\xff"), ST_OK); /* bytes may be anything */
    assert_int_equal(PARSE(&bloginfer__v1__control_request__descriptor, "\x0a\x03\x0a\x01\xff"), ST_INVALID);
}

/* A singular submessage given 200,000 times makes protobuf-c merge that often: seconds and gigabytes, were it not for
 * the ceiling. */
static void test_the_arena_stops_the_merge_bomb(void **state)
{
    size_t n = 200000;
    uint8_t *bomb = xmalloc(4 * n);
    int64_t begin = clock_now();

    (void)state;
    for (size_t i = 0; i < n; i++)
        memcpy(bomb + 4 * i, "\x0a\x02\x10\x01", 4); /* ControlRequest.join {shard_index: 1} */
    assert_int_equal(parse(&bloginfer__v1__control_request__descriptor, bomb, 4 * n, 8 << 20).code, ST_EXHAUSTED);
    assert_true(clock_seconds(begin) < 2);
    free(bomb);
}

static void test_the_embedded_descriptors_are_indexed(void **state)
{
    struct descriptors *d;
    size_t size, index;
    const uint8_t *set = descriptors_embedded(&size);

    (void)state;
    assert_int_equal(descriptors_new(&d, set, size).code, ST_OK);
    const struct symbol *s = descriptors_symbol(d, "bloginfer.v1.FederationService.Control");
    assert_true(s && s->kind == SYMBOL_METHOD && s->client_streams && s->server_streams);
    s = descriptors_symbol(d, "bloginfer.v1.FederationService.Submit");
    assert_true(s && s->client_streams && !s->server_streams);
    assert_null(descriptors_symbol(d, "bloginfer.v1"));
    assert_true(descriptors_find_file(d, "bloginfer/v1/federation.proto", &index));
    descriptors_free(d);
}

/* FileDescriptorSets by hand: b imports a, a imports b and c, which is not there. */
static void test_imports_are_followed_once(void **state)
{
    static const char set[] = "\x0a\x0c\x0a\x01"
                              "a"
                              "\x1a\x01"
                              "b"
                              "\x1a\x01"
                              "c"
                              "\x12\x01"
                              "p"
                              "\x0a\x06\x0a\x01"
                              "b"
                              "\x1a\x01"
                              "a";
    struct descriptors *d;
    size_t indexes[2];

    (void)state;
    assert_int_equal(descriptors_new(&d, (const uint8_t *)set, sizeof set - 1).code, ST_OK);
    assert_int_equal(descriptors_n_files(d), 2);
    assert_int_equal(descriptors_closure(d, 1, indexes), 2);
    assert_int_equal(indexes[0], 1);
    assert_int_equal(indexes[1], 0);
    descriptors_free(d);
    assert_int_equal(descriptors_new(&d, (const uint8_t *)set, sizeof set - 2).code, ST_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_malformed_messages_are_invalid),
        cmocka_unit_test(test_strings_with_nul_or_bad_utf8_are_invalid),
        cmocka_unit_test(test_the_arena_stops_the_merge_bomb),
        cmocka_unit_test(test_the_embedded_descriptors_are_indexed),
        cmocka_unit_test(test_imports_are_followed_once),
    };

    return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
