/* json_test.c - what a body may be, and what is said of the others. */
#include "json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static json_t *parsed(const char *text)
{
    json_t *out;
    struct status st = json_parse(text, strlen(text), &out);

    if (st.code)
        fail_msg("%s: %s", text, st.msg);
    return out;
}

static void refuse(const char *text, size_t size, const char *part)
{
    json_t *out;
    struct status st = json_parse(text, size, &out);

    assert_int_equal(st.code, ST_INVALID);
    assert_null(out);
    if (!strstr(st.msg, part))
        fail_msg("%s: no \"%s\" in \"%s\"", text, part, st.msg);
}

static void test_objects_are_parsed(void **state)
{
    json_t *o = parsed(" {\"text\": \"\\u597d \\ud83d\\ude00\", \"other\": [1, {\"a\": null}]}\n");
    const char *text;

    (void)state;
    assert_int_equal(json_text(o, "text", 100, true, &text).code, ST_OK);
    assert_string_equal(text, "好 😀");
    json_decref(o);
    o = parsed("\"{\\\"text\\\": \\\"twice\\\"}\""); /* encoded twice */
    assert_int_equal(json_text(o, "text", 100, true, &text).code, ST_OK);
    assert_string_equal(text, "twice");
    json_decref(o);
}

static void test_other_bodies_are_refused(void **state)
{
    static const char *const bad[][2] = {
        {"", "empty"},
        {"{", "line 1"},
        {"[1]", "object"},
        {"5", "object"},
        {"null", "object"},
        {"{\"a\": 1} {}", "end of file"},
        {"{\"a\": 1, \"a\": 2}", "duplicate"},
        {"{'a': 1}", "line 1"},
        {"{\"a\": \"\\ud800\"}", "invalid Unicode"},
        {"{\"a\": \"\\u0000\"}", "u0000"},
        {"{\"a\": \"\xff\"}", "0xff"},
        {"\"\\\"{}\\\"\"", "object"}, /* thrice */
        {"{\"a\": 1e999}", "real number"},
        {"\"{\"", "line 1"},
    };
    char deep[4096];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        refuse(bad[i][0], strlen(bad[i][0]), bad[i][1]);
    refuse("{}\0", 3, "line 1");
    memset(deep, '[', sizeof deep);
    refuse(deep, sizeof deep, "deep");
    memcpy(deep, "\"\\\"[", 4); /* brackets in a string are none */
    deep[sizeof deep - 1] = '"';
    refuse(deep, sizeof deep, "line 1");
}

/* {"a":[0,0,...]} of n zeros: with object and array n + 2 values. */
static char *zeros(size_t n)
{
    struct buf b = BUF_INIT(1 << 20);

    buf_puts(&b, "{\"a\":[0");
    while (--n)
        buf_puts(&b, ",0");
    buf_puts(&b, "]}");
    return buf_take(&b);
}

static void test_values_are_limited(void **state)
{
    char *most = zeros(JSON_MAX_VALUES - 2), *more = zeros(JSON_MAX_VALUES - 1);

    (void)state;
    json_decref(parsed(most));
    refuse(more, strlen(more), "values");
    free(most);
    free(more);
    most = zeros(10000); /* commas in a string are none */
    memcpy(most, "{\"a\":\"0", 7);
    memcpy(most + strlen(most) - 2, "\"}", 2);
    json_decref(parsed(most));
    free(most);
}

static void test_fields_are_typed_and_limited(void **state)
{
    json_t *o = parsed("{\"s\": \"12345\", \"n\": 5, \"z\": null}");
    const char *text;
    struct status st;
    double number;

    (void)state;
    assert_int_equal(json_text(o, "s", 5, true, &text).code, ST_OK);
    st = json_text(o, "s", 4, true, &text);
    assert_string_equal(st.msg, "\"s\" is over the limit of 4 bytes");
    st = json_text(o, "missing", 5, true, &text);
    assert_string_equal(st.msg, "\"missing\" is missing");
    assert_int_equal(json_text(o, "missing", 5, false, &text).code, ST_OK);
    assert_null(text);
    assert_int_equal(json_text(o, "n", 5, false, &text).code, ST_INVALID);
    assert_int_equal(json_text(o, "z", 5, false, &text).code, ST_INVALID);
    assert_int_equal(json_number(o, "n", 0, 5, 9, &number).code, ST_OK);
    assert_true(number == 5);
    assert_int_equal(json_number(o, "missing", 0, 5, 9, &number).code, ST_OK);
    assert_true(number == 9);
    st = json_number(o, "n", 0, 4, 9, &number);
    assert_string_equal(st.msg, "\"n\" has to be 0 to 4");
    assert_int_equal(json_number(o, "s", 0, 5, 9, &number).code, ST_INVALID);
    json_decref(o);
}

static void test_reals_are_short(void **state)
{
    json_t *o = json_pack("[o, o, o, o]", json_rounded((double)0.1F, 6), json_rounded(1, 6), json_rounded(NAN, 6),
                          json_rounded(12345.678, 2));
    char *text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));

    (void)state;
    assert_string_equal(text, "[0.1,1.0,null,12345.68]");
    free(text);
    json_decref(o);
}

/* What is left of the text and, behind a bar, what was cut out; the arena's. */
static char *cut(struct arena *arena, const char *json)
{
    char *copy = arena_strdup(arena, json);
    struct json_span text = {copy, strlen(copy)}, value;
    struct status st = json_cut(&text, "image", arena, &value);

    assert_int_equal(st.code, ST_OK);
    assert_int_equal(text.size, strlen(text.at));
    return value.at ? arena_printf(arena, "%s|%.*s", text.at, (int)value.size, value.at)
                    : arena_printf(arena, "%s", text.at);
}

static void test_a_string_is_cut_out(void **state)
{
    static const char *const cases[][2] = {
        {"{\"image\": \"abc\", \"id\": \"1\"}", "{\"image\": \"\", \"id\": \"1\"}|abc"},
        {" {\"a\":[1,{\"image\":\"no\"},\"]}\\\\\"],\"image\":\"abc\"}",
         " {\"a\":[1,{\"image\":\"no\"},\"]}\\\\\"],\"image\":\"\"}|abc"},
        {"{\"image\":\"\"}", "{\"image\":\"\"}|"},
        {"{\"image\":\"a\\/b\\u002Bc\\u003d\"}", "{\"image\":\"\"}|a/b+c="},
        {"{\"image\":\"a\\\"b\\n\"}", "{\"image\":\"\"}|a\\\"b\\n"},
        {"{\"image\":\"a\",\"image\":\"b\"}", "{\"image\":\"\",\"image\":\"b\"}|a"},
        {"\"{\\\"id\\\":1,\\\"image\\\":\\\"abc\\\"}\"", "{\"id\":1,\"image\":\"\"}|abc"},
        {"{\"image\": 5}", "{\"image\": 5}"},
        {"{\"images\": \"x\"}", "{\"images\": \"x\"}"},
        {"{\"image\": \"endless", "{\"image\": \"endless"},
        {"{\"image\"", "{\"image\""},
        {"{\"a\": [\"image\"", "{\"a\": [\"image\""},
        {"[\"image\"]", "[\"image\"]"},
        {"", ""},
    };
    struct arena arena;

    (void)state;
    arena_init(&arena, 1 << 16);
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_string_equal(cut(&arena, cases[i][0]), cases[i][1]);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objects_are_parsed), cmocka_unit_test(test_other_bodies_are_refused),
        cmocka_unit_test(test_values_are_limited), cmocka_unit_test(test_fields_are_typed_and_limited),
        cmocka_unit_test(test_reals_are_short),    cmocka_unit_test(test_a_string_is_cut_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
