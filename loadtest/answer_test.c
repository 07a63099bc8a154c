/* answer_test.c - answers as servers write them, in one piece and byte by byte, and what is refused. */
#include "answer.h"
#include "verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

/* Takes the text in pieces; how many bytes belonged to the answer. */
static size_t feed(struct answer *a, const char *text, size_t piece, struct status *st)
{
    size_t size = strlen(text), at = 0, used;

    answer_reset(a);
    do {
        *st = answer_take(a, text + at, size - at < piece ? size - at : piece, &used);
        at += used;
    } while (at < size && !a->done && !st->code);
    return at;
}

static void check_good(const char *text, int code, const char *body, bool keep_alive)
{
    static const size_t pieces[] = {1, 3, 100000};
    struct answer a;
    struct status st;

    answer_init(&a);
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        size_t taken = feed(&a, text, pieces[i], &st);

        assert_int_equal(st.code, ST_OK);
        assert_true(a.done || answer_closed(&a));
        assert_int_equal(taken, strlen(text));
        assert_int_equal(a.code, code);
        assert_string_equal(a.body.size ? a.body.data : "", body);
        assert_int_equal(a.keep_alive, keep_alive);
    }
    answer_fini(&a);
}

static void test_lengths_chunks_and_ends(void **state)
{
    (void)state;
    check_good("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", true);
    check_good("HTTP/1.1 200 \r\ncontent-length:0\r\n\r\n", 200, "", true);
    check_good("HTTP/1.1 204\r\n\r\n", 204, "", true);
    check_good("HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno", 503, "no", false);
    check_good("HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", 200, "",
               false);
    check_good("HTTP/1.0 200 OK\r\n\r\nup to the end", 200, "up to the end", false);
    check_good("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx", 200, "x", true);
    check_good("HTTP/1.1 200 OK\nContent-Length: 1\n\nx", 200, "x", true);
    check_good("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, "x", true);
    check_good(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\nC\r\n, all of you\r\n0\r\nT: r\r\n\r\n",
        200, "hello, all of you", true);
}

static void test_what_follows_is_left(void **state)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nX-Served-By: pod-1 \r\nContent-Length: 2\r\n\r\nokHTTP/1.1";
    struct answer a;
    struct status st;

    (void)state;
    answer_init(&a);
    assert_int_equal(feed(&a, text, sizeof text, &st), strlen(text) - 8);
    assert_true(a.done && !st.code);
    assert_string_equal(a.served_by, "pod-1");
    answer_fini(&a);
}

static void test_bad_answers_are_refused(void **state)
{
    static const char *const bad[] = {
        "hello\r\n",
        "HTTP/2.0 200 OK\r\n",
        "HTTP/1.1 20 OK\r\n",
        "HTTP/1.1 600 OK\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4194305\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 101 Other\r\n\r\n",
    };
    struct answer a;
    struct status st;

    (void)state;
    answer_init(&a);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        feed(&a, bad[i], 1, &st);
        if (st.code != ST_INVALID)
            fail_msg("taken: %s", bad[i]);
    }
    answer_fini(&a);
}

static void test_memory_is_bounded(void **state)
{
    char *head = xmalloc(ANSWER_HEAD_MAX + 64), *block = xcalloc(1, 65536);
    struct answer a;
    struct status st = status_ok();
    size_t used;

    (void)state;
    answer_init(&a);
    memset(head, 'a', ANSWER_HEAD_MAX + 63);
    head[ANSWER_HEAD_MAX + 63] = '\0';
    memcpy(head, "HTTP/1.1 200 OK\r\n", 17);
    feed(&a, head, 100, &st);
    assert_int_equal(st.code, ST_INVALID);
    feed(&a, "HTTP/1.0 200 OK\r\n\r\n", 100, &st);
    for (size_t i = 0; i <= ANSWER_BODY_MAX / 65536 && !st.code; i++)
        st = answer_take(&a, block, 65536, &used);
    assert_int_equal(st.code, ST_INVALID);
    answer_fini(&a);
    free(head);
    free(block);
}

static enum verdict judged(int code, const char *body, bool id_optional, uint32_t *n)
{
    struct answer a;
    enum verdict v;

    answer_init(&a);
    a.code = code;
    buf_puts(&a.body, body);
    v = verdict_of(&a, "u1", id_optional, n);
    answer_fini(&a);
    return v;
}

static void test_verdicts(void **state)
{
    static const char found[] =
        "{\"id\": \"u1\", \"objects\": [{\"label\": \"dog\", \"accuracy\": 0.5, \"rectangle\": {}},"
        "{\"label\": \"cat\", \"accuracy\": 1, \"rectangle\": {}}]}";
    uint32_t n;

    (void)state;
    assert_int_equal(judged(200, found, false, &n), VERDICT_OK);
    assert_int_equal(n, 2);
    assert_int_equal(judged(503, found, false, &n), VERDICT_HTTP);
    assert_int_equal(judged(200, "{\"id\": \"u2\", \"objects\": []}", false, &n), VERDICT_ID);
    assert_int_equal(judged(200, "{\"id\": \"u2\", \"objects\": []}", true, &n), VERDICT_ID);
    assert_int_equal(judged(200, "{\"objects\": []}", false, &n), VERDICT_ID);
    assert_int_equal(judged(200, "{\"objects\": []}", true, &n), VERDICT_OK);
    assert_int_equal(judged(200, "{\"id\": 5, \"objects\": []}", false, &n), VERDICT_BODY);
    assert_int_equal(judged(200, "{\"id\": \"u1\", \"objects\": [5]}", false, &n), VERDICT_BODY);
    assert_int_equal(judged(200, "{\"id\": \"u1\"}", false, &n), VERDICT_BODY);
    assert_int_equal(judged(200, "oops", false, &n), VERDICT_BODY);
    assert_int_equal(judged(200, "", false, &n), VERDICT_BODY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths_chunks_and_ends),
        cmocka_unit_test(test_what_follows_is_left),
        cmocka_unit_test(test_bad_answers_are_refused),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_verdicts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
