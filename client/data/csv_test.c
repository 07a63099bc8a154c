/* csv_test.c - every rule of RFC 4180 section 2, and the line that a broken one is named with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "csv.h"

#include <stdlib.h>
#include <string.h>

/* Reads all of `text`; joins fields by '|' and records by '/' into out (256 bytes). */
static struct status read_all(const char *text, char *out)
{
    struct buf joined = BUF_INIT(255);
    struct csv c;
    struct status st;
    bool more = true;

    csv_init(&c, "f.csv", text, strlen(text));
    for (;;) {
        st = csv_next(&c, &more);
        if (st.code || !more)
            break;
        for (size_t i = 0; i < c.n_fields; i++) {
            buf_add(&joined, c.fields[i].text, c.fields[i].size);
            buf_putc(&joined, i + 1 < c.n_fields ? '|' : '/');
        }
    }
    csv_fini(&c);
    memcpy(out, joined.data ? joined.data : "", joined.size + 1);
    buf_fini(&joined);
    return st;
}

static void assert_reads(const char *text, const char *expected)
{
    char out[256];
    struct status st = read_all(text, out);

    assert_string_equal(st.msg, "");
    assert_string_equal(out, expected);
}

static void assert_breaks(const char *text, const char *message)
{
    char out[256];
    struct status st = read_all(text, out);

    assert_int_equal(st.code, ST_INVALID);
    assert_string_equal(st.msg, message);
}

static void test_records_and_fields(void **state)
{
    (void)state;
    assert_reads("a,b\nc,d\n", "a|b/c|d/");
    assert_reads("a,b\r\nc,d", "a|b/c|d/");
    assert_reads("\xef\xbb\xbf,a\n,\n", "|a/|/");
    assert_reads("a\n\n\r\nb\n\n", "a/b/");
    assert_reads("", "");
    assert_reads("\xef\xbb\xbf", "");
    assert_reads("a\rb,c\r", "a\rb|c/");
}

static void test_quoted_fields(void **state)
{
    (void)state;
    assert_reads("\"a,b\",\"c\"\"d\"\"\"\n", "a,b|c\"d\"/");
    assert_reads("\"a\nb\",c\r\n\"\"\n", "a\nb|c//");
    assert_reads("x,\"\"", "x|/");
}

static void test_a_broken_file_is_named_by_line(void **state)
{
    (void)state;
    assert_breaks("a,b\n\"c\nd\n", "f.csv line 2: a quote is left open");
    assert_breaks("a\n\"b\nc\"x\n", "f.csv line 3: text after a closing quote");
    assert_breaks("a\nb\"c\"\n", "f.csv line 2: a quote inside a field that does not begin with one");
    assert_breaks("\"", "f.csv line 1: a quote is left open");
}

static void test_limits(void **state)
{
    char *text = malloc(CSV_MAX_RECORD + 16), out[256];

    (void)state;
    memset(text, ',', CSV_MAX_FIELDS);
    text[CSV_MAX_FIELDS] = '\0';
    assert_breaks(text, "f.csv line 1: over 64 fields");
    text[CSV_MAX_FIELDS - 1] = '\0';
    assert_int_equal(read_all(text, out).code, ST_OK);
    memcpy(text, "a\n\"", 3);
    memset(text + 3, 'x', CSV_MAX_RECORD + 1);
    text[CSV_MAX_RECORD + 4] = '\0';
    assert_breaks(text, "f.csv line 2: a record of over 65,536 bytes; is a quote left open?");
    free(text);
}

static void test_find(void **state)
{
    struct csv c;
    bool more;

    (void)state;
    csv_init(&c, "f.csv", "label,\"TEXT\"\n", 13);
    assert_int_equal(csv_next(&c, &more).code, ST_OK);
    assert_int_equal(csv_find(&c, "TEXT"), 1);
    assert_int_equal(csv_find(&c, "label"), 0);
    assert_true(csv_find(&c, "LABEL") == SIZE_MAX);
    csv_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_and_fields),
        cmocka_unit_test(test_quoted_fields),
        cmocka_unit_test(test_a_broken_file_is_named_by_line),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_find),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
