/* parameters_test.c - what is read is what was set, and nothing else is taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/parameters.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static enum code parse(struct model_parameters *p, const char *text)
{
    return model_parameters_parse(p, text, strlen(text)).code;
}

static void test_absent_members_have_their_defaults(void **state)
{
    (void)state;
    struct model_parameters p, defaults = model_parameters_default();

    assert_int_equal(parse(&p, "{}"), ST_OK);
    assert_true(model_parameters_equal(&p, &defaults));
    assert_true(p.threshold == 0.5 && p.max_batch == 32 && p.max_queue_delay_us == 0);
    assert_true(p.canary_percent == 0 && p.shadow_percent == 0);
    assert_int_equal(parse(&p, "{\"canary_percent\": 2.5, \"max_batch\": 64}"), ST_OK);
    assert_true(p.canary_percent == 2.5 && p.max_batch == 64 && p.threshold == 0.5);
    assert_false(model_parameters_equal(&p, &defaults));
}

static void test_what_is_written_is_read(void **state)
{
    (void)state;
    const struct model_parameters p = {0.1 + 0.2, 256, 100000, 100.0 / 3, 1e-9};
    struct model_parameters again;

    char *text = model_parameters_format(&p);
    assert_int_equal(parse(&again, text), ST_OK);
    assert_true(model_parameters_equal(&p, &again));
    free(text);
}

static void test_damage_is_refused(void **state)
{
    (void)state;
    static const char *const damaged[] = {
        "",
        "[]",
        "0",
        "{",
        "{} x",
        "{\"theshold\": 0.5}",
        "{\"threshold\": \"0.5\"}",
        "{\"threshold\": null}",
        "{\"threshold\": 1.01}",
        "{\"threshold\": -0.1}",
        "{\"threshold\": 0.4, \"threshold\": 0.6}",
        "{\"threshold\": 1e999}",
        "{\"max_batch\": 0}",
        "{\"max_batch\": 257}",
        "{\"max_batch\": 1.5}",
        "{\"max_queue_delay_us\": 100001}",
        "{\"max_queue_delay_us\": 18446744073709551616}",
        "{\"canary_percent\": 101}",
        "{\"shadow_percent\": -1}",
    };
    struct model_parameters p = {0.25, 1, 2, 3, 4};

    for (size_t i = 0; i < COUNT_OF(damaged); i++)
        if (parse(&p, damaged[i]) != ST_DATA_LOSS)
            fail_msg("taken: %s", damaged[i]);
    assert_true(p.threshold == 0.25 && p.shadow_percent == 4); /* untouched */
    char *large = xmalloc(PARAMETERS_MAX_BYTES + 2);
    memset(large, ' ', PARAMETERS_MAX_BYTES + 1);
    memcpy(large, "{}", 2);
    large[PARAMETERS_MAX_BYTES + 1] = '\0';
    assert_int_equal(parse(&p, large), ST_DATA_LOSS);
    large[PARAMETERS_MAX_BYTES] = '\0';
    assert_int_equal(parse(&p, large), ST_OK);
    free(large);
}

static void test_a_message_names_the_member_and_its_range(void **state)
{
    (void)state;
    struct model_parameters p = model_parameters_default();

    p.max_batch = 1000;
    struct status st = model_parameters_check(&p);
    assert_int_equal(st.code, ST_INVALID);
    assert_string_equal(st.msg, "max_batch: 1000, must be 1 to 256");
    p = model_parameters_default();
    p.threshold = NAN;
    assert_int_equal(model_parameters_check(&p).code, ST_INVALID);
}

static void test_members_by_name(void **state)
{
    (void)state;
    struct model_parameters p = model_parameters_default();
    const struct model_parameters from = {.threshold = 0.9, .max_batch = 300, .shadow_percent = 7};

    assert_int_equal(model_parameters_set(&p, "canary_percent", 12.5).code, ST_OK);
    assert_true(p.canary_percent == 12.5);
    assert_int_equal(model_parameters_set(&p, "max_batch", 1.5).code, ST_INVALID);
    struct status st = model_parameters_set(&p, "weight", 1);
    assert_int_equal(st.code, ST_INVALID);
    assert_non_null(strstr(st.msg, "max_queue_delay_us"));
    assert_int_equal(model_parameters_copy(&p, &from, "threshold").code, ST_OK);
    assert_int_equal(model_parameters_copy(&p, &from, "max_batch").code, ST_INVALID);
    assert_int_equal(model_parameters_copy(&p, &from, "").code, ST_INVALID);
    assert_true(p.threshold == 0.9 && p.max_batch == 32 && p.shadow_percent == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_absent_members_have_their_defaults),
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_damage_is_refused),
        cmocka_unit_test(test_members_by_name),
        cmocka_unit_test(test_a_message_names_the_member_and_its_range),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
