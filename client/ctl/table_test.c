/* table_test.c - what a terminal would show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "table.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

static void assert_printed(struct table *t, int width, const char *want)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    table_print(t, out, width);
    fclose(out);
    assert_string_equal(text, want);
    free(text);
}

static void test_columns_are_aligned(void **state)
{
    (void)state;
    struct table *t = table_new("TASK", ">VERSION", "NOTE", NULL);

    table_cell(t, "sentiment");
    table_cell(t, "%d", 7);
    table_cell(t, "production");
    table_cell(t, "troll");
    table_cell(t, "%d", 12345678);
    table_cell(t, "%s", "");
    assert_printed(t, 0,
                   "TASK        VERSION  NOTE\n"
                   "sentiment         7  production\n"
                   "troll      12345678  \n");
}

static void test_chinese_takes_two_columns(void **state)
{
    (void)state;
    struct table *t = table_new("TEXT", "N", NULL);

    assert_int_equal(text_width("房间a"), 5);
    table_cell(t, "房间");
    table_cell(t, "1");
    table_cell(t, "abc");
    table_cell(t, "2");
    assert_printed(t, 0,
                   "TEXT  N\n"
                   "房间  1\n"
                   "abc   2\n");
}

static void test_the_last_column_is_cut_at_the_terminals_edge(void **state)
{
    (void)state;
    struct table *t = table_new("N", "TEXT", NULL);

    table_hide_headers(t);
    table_cell(t, "1");
    table_cell(t, "房间很干净"); /* 10 columns, 7 left: three characters and the ellipsis */
    table_cell(t, "2");
    table_cell(t, "1234567");
    assert_printed(t, 10,
                   "1  房间很…\n"
                   "2  1234567\n");
}

static void test_nothing_moves_the_cursor(void **state)
{
    (void)state;
    char *clean = text_clean("a\x1b[2Jb\r\nc\xff\xc3"
                             "\xc2\x9b"
                             "d\t\u202e");

    assert_string_equal(clean, "a [2Jb  c\xef\xbf\xbd\xef\xbf\xbd d  ");
    free(clean);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns_are_aligned),
        cmocka_unit_test(test_chinese_takes_two_columns),
        cmocka_unit_test(test_the_last_column_is_cut_at_the_terminals_edge),
        cmocka_unit_test(test_nothing_moves_the_cursor),
    };

    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
