/* slug_test.c - addresses of posts. */
#include "slug.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect(const char *title, unsigned attempt, const char *slug)
{
    char out[SLUG_SIZE];

    slug_make(out, title, attempt);
    assert_string_equal(out, slug);
}

static void test_letters_and_digits_stay(void **state)
{
    (void)state;
    expect("Hello, World!", 1, "hello-world");
    expect("  杭州的雨／Ｃ语言 ", 1, "杭州的雨-c语言");
    expect("Straße 3.5", 1, "strasse-3-5");
    expect("a'b\"c<d>/../e", 1, "a-b-c-d-e");
}

static void test_it_is_no_number_and_never_empty(void **state)
{
    (void)state;
    expect("2026", 1, "post-2026");
    expect("🎉🎉", 1, "post");
    expect("", 2, "post-2");
    expect("2026", 3, "post-2026-3");
    expect("1.2", 1, "1-2");
}

static void test_it_is_short_and_whole(void **state)
{
    char title[600] = "", out[SLUG_SIZE];

    (void)state;
    for (int i = 0; i < 150; i++)
        strcat(title, "中");
    slug_make(out, title, 9);
    assert_true(strlen(out) < SLUG_SIZE);
    assert_int_equal(strspn(out, "\xE4\xB8\xAD") % 3, 0);
    memset(title, 'x', sizeof title - 1);
    slug_make(out, title, 1);
    assert_true(strlen(out) <= 96);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_letters_and_digits_stay),
        cmocka_unit_test(test_it_is_no_number_and_never_empty),
        cmocka_unit_test(test_it_is_short_and_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
