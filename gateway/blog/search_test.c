/* search_test.c - the texts of tsvectors and tsqueries. That PostgreSQL finds by them what it should is shown where posts
 * are searched. */
#include "search.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_document(const char *text, const char *vector)
{
    struct buf out = BUF_INIT(1 << 20);
    struct search_part part = {text, strlen(text), 'A'};

    assert_int_equal(search_document(&out, &part, 1).code, ST_OK);
    char *is = buf_take(&out);
    assert_string_equal(is, vector);
    free(is);
}

static void expect_query(const char *text, const char *query)
{
    struct buf out = BUF_INIT(4096);

    assert_int_equal(search_query(&out, text, strlen(text)).code, ST_OK);
    char *is = buf_take(&out);
    assert_string_equal(is, query);
    free(is);
}

static void test_dense_scripts_are_cut_into_characters_and_pairs(void **state)
{
    (void)state;
    expect_document("西湖好", "'西':1A '西湖':1A '湖':2A '湖好':2A '好':3A ");
    expect_document("西，湖", "'西':1A '湖':2A ");
    expect_query("西湖好", "('西湖' <-> '湖好')");
    expect_query("湖", "'湖'");
}

static void test_words_are_folded(void **state)
{
    (void)state;
    expect_document("ＡＢＣ Straße 3.5", "'abc':1A 'strasse':2A '3':3A '5':4A ");
    expect_query("gRPC c11", "'grpc':* & 'c11':*");
    expect_document("C语言", "'c':1A '语':2A '语言':2A '言':3A ");
    expect_query("C语言", "'c':* & ('语言')");
}

static void test_nothing_of_a_text_is_syntax(void **state)
{
    (void)state;
    expect_document("a'b\\c:1D | !", "'a':1A 'b':2A 'c':3A '1d':4A ");
    expect_query("a' | !b:* <-> (", "'a':* & 'b':*");
    expect_query("!!! 。，", "");
    expect_document("", "");
}

static void test_parts_have_weights_and_make_no_phrase(void **state)
{
    struct buf out = BUF_INIT(4096);
    struct search_part parts[] = {{"杭", 3, 'A'}, {"州", 3, 'D'}};

    (void)state;
    assert_int_equal(search_document(&out, parts, 2).code, ST_OK);
    assert_string_equal(out.data, "'杭':1A '州':10D ");
    buf_fini(&out);
}

static void test_limits(void **state)
{
    size_t size = 2 * SEARCH_MAX_INDEXED;
    char *text = xmalloc(size), *query;
    struct buf out = BUF_INIT(12 * SEARCH_MAX_INDEXED);
    struct search_part part = {text, size, 'D'};

    (void)state;
    for (size_t i = 0; i + 3 <= size; i += 3)
        memcpy(text + i, "好", 3);
    text[size - 1] = text[size - 2] = ' ';
    assert_int_equal(search_document(&out, &part, 1).code, ST_OK);
    assert_non_null(strstr(out.data, ":16383D"));
    assert_null(strstr(out.data, ":16384D"));
    buf_fini(&out);

    struct buf small = BUF_INIT(64);
    assert_int_equal(search_document(&small, &part, 1).code, ST_EXHAUSTED);
    buf_fini(&small);

    memset(text, 'x', 200);
    text[200] = '\0';
    query = xasprintf("'%.*s':*", SEARCH_MAX_WORD, text);
    expect_query(text, query);
    free(query);
    expect_query("a b c d e f g h i j k l m n o p q r", "'a':* & 'b':* & 'c':* & 'd':* & 'e':* & 'f':* & 'g':* & 'h':* "
                                                        "& 'i':* & 'j':* & 'k':* & 'l':* & 'm':* & 'n':* & "
                                                        "'o':* & 'p':*");
    free(text);
}

static void test_what_is_not_utf8_is_refused(void **state)
{
    struct buf out = BUF_INIT(64);

    (void)state;
    assert_int_equal(search_query(&out, "a\xFF", 2).code, ST_INVALID);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dense_scripts_are_cut_into_characters_and_pairs),
        cmocka_unit_test(test_words_are_folded),
        cmocka_unit_test(test_nothing_of_a_text_is_syntax),
        cmocka_unit_test(test_parts_have_weights_and_make_no_phrase),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_what_is_not_utf8_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
