/* ranges_test.c - what is printed is read again as it was; what is wrong is refused with its line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "ranges.h"

#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DIGEST_A "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIGEST_B "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
#define HEAD     "bloginfer-ranges 1\nweights " DIGEST_A "\nimages " DIGEST_B " 128\n"

static void test_read_as_printed(void **state)
{
    const char text[] = "# a comment\n\n" HEAD "layers 2\n0 -1.5 2e1 -1.25 10 float # worst\n 1 0 0 0 0\r\n";
    struct ranges *r, *again;
    struct buf printed = BUF_INIT(RANGES_MAX_BYTES);
    (void)state;
    assert_int_equal(ranges_parse(&r, text, strlen(text)).code, ST_OK);
    assert_string_equal(r->weights, DIGEST_A);
    assert_string_equal(r->images, DIGEST_B);
    assert_int_equal(r->n_images, 128);
    assert_int_equal(r->n_layers, 2);
    assert_true(r->layers[0].min == -1.5f && r->layers[0].max == 20 && r->layers[0].low == -1.25f);
    assert_true(r->layers[0].keep_float && !r->layers[1].keep_float);
    ranges_print(r, &printed);
    assert_int_equal(ranges_parse(&again, printed.data, printed.size).code, ST_OK);
    assert_memory_equal(r, again, sizeof *r);
    buf_fini(&printed);
    free(again);
    free(r);
}

static void test_refused_with_the_line(void **state)
{
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"", "ends"},
        {"bloginfer-ranges 2\n", "line 1"},
        {"bloginfer-ranges 1\nweights 12\n", "line 2"},
        {"bloginfer-ranges 1\nweights " DIGEST_A "\nimages " DIGEST_B " -1\n", "line 3"},
        {HEAD "layers 257\n", "line 4"},
        {HEAD "layers 2\n0 0 1 0 1\n", "ends"},
        {HEAD "layers 1\n0 0 1 0 1\n1 0 1 0 1\n", "line 6"},
        {HEAD "layers 1\n1 0 1 0 1\n", "line 5"},
        {HEAD "layers 1\n0 0 1 0 2\n", "line 5"},
        {HEAD "layers 1\n0 0 nan 0 0\n", "line 5"},
        {HEAD "layers 1\n0 0 1e30 0 0\n", "line 5"},
        {HEAD "layers 1\n0 0 0x10 0 0\n", "line 5"},
        {HEAD "layers 1\n0 0 1 0 1 double\n", "line 5"},
        {HEAD "layers 1\n0 0 1 0 1 float float\n", "line 5"},
        {HEAD "layers 1\n0 0 1 0\n", "line 5"},
        {"1 2 3 4 5 6 7 8 9\n", "line 1"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct ranges *r;
        struct status st = ranges_parse(&r, wrong[i].text, strlen(wrong[i].text));
        if (st.code != ST_INVALID || !strstr(st.msg, wrong[i].says))
            fail_msg("%zu: %s", i, st.msg);
    }
}

static void test_public_weights_are_known(void **state)
{
    static const char *const known[] = {"dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
                                        "fac5fb41786c1f38f04972a658443b189f48720d7d117f9a044100e98a35b0c5"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        struct ranges *r = ranges_known(known[i]);
        assert_non_null(r);
        assert_string_equal(r->weights, known[i]);
        free(r);
    }
    assert_null(ranges_known(DIGEST_A));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_as_printed),
        cmocka_unit_test(test_refused_with_the_line),
        cmocka_unit_test(test_public_weights_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
