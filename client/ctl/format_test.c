/* format_test.c - quantities at their edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "format.h"

#include <stdlib.h>
#include <time.h>

static void test_bytes(void **state)
{
    char text[FORMAT_SIZE];

    (void)state;
    assert_string_equal(format_bytes(text, 0), "0 B");
    assert_string_equal(format_bytes(text, 999), "999 B");
    assert_string_equal(format_bytes(text, 1000), "1.0 kB");
    assert_string_equal(format_bytes(text, 999949), "999.9 kB");
    assert_string_equal(format_bytes(text, 999950), "1.0 MB");
    assert_string_equal(format_bytes(text, UINT64_MAX), "18.4 EB");
}

static void test_counts(void **state)
{
    char text[FORMAT_SIZE];

    (void)state;
    assert_string_equal(format_count(text, 0), "0");
    assert_string_equal(format_count(text, 999), "999");
    assert_string_equal(format_count(text, 1000), "1,000");
    assert_string_equal(format_count(text, 12345678), "12,345,678");
    assert_string_equal(format_count(text, UINT64_MAX), "18,446,744,073,709,551,615");
}

static void test_durations(void **state)
{
    char text[FORMAT_SIZE];

    (void)state;
    assert_string_equal(format_duration(text, 0), "0:00");
    assert_string_equal(format_duration(text, 59.6), "1:00");
    assert_string_equal(format_duration(text, 754), "12:34");
    assert_string_equal(format_duration(text, 3723), "1:02:03");
    assert_string_equal(format_duration(text, -5), "0:00");
}

static void test_times(void **state)
{
    char text[FORMAT_SIZE];

    (void)state;
    setenv("TZ", "UTC", 1);
    tzset();
    assert_string_equal(format_time(text, 0), "-");
    assert_string_equal(format_time(text, INT64_C(1795342500999)), "2026-11-22 10:15:00");
    assert_string_equal(format_time(text, -1), "-");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_times),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
