/* reply_test.c - replies whole and in pieces, and what a server cannot make us take. */
#include "redis/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES 4096

/* The replies as text, read in pieces of this size, or the code of the error. The caller's. */
static char *read_all(const char *bytes, size_t size, size_t piece, size_t arena_bytes)
{
    struct reply_parser *p = reply_parser_new(MAX_BYTES);
    struct buf out = BUF_INIT(1 << 16);
    struct redis_reply *r = NULL;
    struct arena arena;
    struct status st = status_ok();

    arena_init(&arena, arena_bytes);
    reply_parser_target(p, &arena);
    for (size_t at = 0; at < size && !st.code; at += piece) {
        st = reply_parser_feed(p, bytes + at, piece < size - at ? piece : size - at);
        while (!st.code && !(st = reply_parser_next(p, &r)).code && r) {
            buf_printf(&out, "%d(%zu) ", (int)r->kind, r->n);
            if (r->kind == REDIS_TEXT || r->kind == REDIS_ERROR)
                buf_printf(&out, "%s ", r->text);
            for (size_t i = 0; r->kind == REDIS_ARRAY && i < r->n; i++)
                buf_printf(&out, "[%d(%zu)] ", (int)r->items[i].kind, r->items[i].n);
        }
    }
    if (st.code)
        buf_puts(&out, code_name(st.code));
    arena_fini(&arena);
    reply_parser_free(p);
    return buf_take(&out);
}

static void expect_of(const char *bytes, size_t size, size_t piece, size_t arena_bytes, const char *want)
{
    char *got = read_all(bytes, size, piece, arena_bytes);

    assert_string_equal(got, want);
    free(got);
}

static void expect(const char *bytes, const char *want)
{
    for (size_t piece = 1; piece <= strlen(bytes); piece++)
        expect_of(bytes, strlen(bytes), piece, 1 << 16, want);
}

static void test_every_kind_in_any_pieces(void **state)
{
    (void)state;
    expect("+OK\r\n:-7\r\n$5\r\nhello\r\n$0\r\n\r\n$-1\r\n*-1\r\n-ERR no\r\n",
           "1(2) OK 2(0) 1(5) hello 1(0)  0(0) 0(0) 4(6) ERR no ");
    expect("*4\r\n$1\r\na\r\n*2\r\n:1\r\n:2\r\n$-1\r\n+x\r\n*0\r\n", "3(4) [1(1)] [3(2)] [0(0)] [1(1)] 3(0) ");
}

static void test_bytes_are_not_text(void **state)
{
    static const char bytes[] = "$4\r\na\0\r\n\r\n";
    struct reply_parser *p = reply_parser_new(MAX_BYTES);
    struct redis_reply *r = NULL;
    struct arena arena;

    (void)state;
    arena_init(&arena, 1 << 16);
    reply_parser_target(p, &arena);
    assert_int_equal(reply_parser_feed(p, bytes, sizeof bytes - 1).code, ST_OK);
    assert_int_equal(reply_parser_next(p, &r).code, ST_OK);
    assert_int_equal(r->n, 4);
    assert_memory_equal(r->text, "a\0\r\n", 5);
    arena_fini(&arena);
    reply_parser_free(p);
}

static void test_a_reply_over_the_ceiling_is_refused(void **state)
{
    char bytes[3 * MAX_BYTES];
    int n = snprintf(bytes, sizeof bytes, "$1000000000\r\n");

    (void)state;
    memset(bytes + n, 'x', sizeof bytes - (size_t)n);
    expect_of(bytes, sizeof bytes, 512, 1 << 16, "RESOURCE_EXHAUSTED"); /* long before it is whole */
    n = snprintf(bytes, sizeof bytes, "$%d\r\n", MAX_BYTES - 16);
    bytes[n + MAX_BYTES - 16] = '\r';
    bytes[n + MAX_BYTES - 15] = '\n';
    expect_of(bytes, (size_t)n + MAX_BYTES - 14, 4096, 1 << 16, "RESOURCE_EXHAUSTED"); /* with what describes it */
    expect("*2147483647\r\n", "RESOURCE_EXHAUSTED");
    expect("*200\r\n", "RESOURCE_EXHAUSTED");
}

static void test_a_full_arena_is_an_error(void **state)
{
    (void)state;
    expect_of("+OK\r\n", 5, 5, 8, "RESOURCE_EXHAUSTED");
    expect_of("$64\r\n", 5, 5, 64, "");
    expect_of("*3\r\n:1\r\n", 8, 8, 80, "RESOURCE_EXHAUSTED");
}

static void test_the_ceiling_is_that_of_one_reply(void **state)
{
    struct reply_parser *p = reply_parser_new(MAX_BYTES);
    char bytes[3100] = "$3000\r\n";
    struct redis_reply *r = NULL;
    struct arena arena;

    (void)state;
    memset(bytes + 7, 'y', 3000);
    memcpy(bytes + 3007, "\r\n", 3);
    arena_init(&arena, 1 << 16);
    reply_parser_target(p, &arena);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(reply_parser_feed(p, bytes, 3009).code, ST_OK);
        assert_int_equal(reply_parser_next(p, &r).code, ST_OK);
        assert_non_null(r);
    }
    arena_fini(&arena);
    reply_parser_free(p);
}

static void test_other_protocols_are_told(void **state)
{
    char deep[200];

    (void)state;
    expect("HTTP/1.1 400 Bad Request\r\n\r\n", "UNAVAILABLE");
    expect("$-7\r\n", "UNAVAILABLE");
    expect("*-7\r\n", "UNAVAILABLE");
    expect(":12x\r\n", "UNAVAILABLE");
    for (size_t i = 0; i < 160; i += 4)
        memcpy(deep + i, "*1\r\n", 5);
    expect(deep, "UNAVAILABLE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_in_any_pieces),
        cmocka_unit_test(test_bytes_are_not_text),
        cmocka_unit_test(test_a_reply_over_the_ceiling_is_refused),
        cmocka_unit_test(test_a_full_arena_is_an_error),
        cmocka_unit_test(test_the_ceiling_is_that_of_one_reply),
        cmocka_unit_test(test_other_protocols_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
