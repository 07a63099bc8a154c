/* engine_model_test.c - an engine answers as the model it was made from, and says what it is and why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "classifier/engine.h"
#include "text/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_OK(call)                                                                                                 \
    do {                                                                                                               \
        struct status check_ = (call);                                                                                 \
        if (check_.code)                                                                                               \
            fail_msg("%s: %s", #call, check_.msg);                                                                     \
    } while (0)

static struct classifier *sample(void)
{
    static const struct nn_shape shape = {.family = NN_LSTM,
                                          .vocab = TEXT_N_IDS,
                                          .embed = 16,
                                          .hidden = 24,
                                          .buckets = 1024,
                                          .classes = 2,
                                          .max_tokens = 200};
    struct classifier *c = NULL;

    CHECK_OK(classifier_new(&c, "sentiment", "negative,positive", &shape));
    nn_init(c->params, &c->shape, 7);
    return c;
}

static void test_an_engine_outlives_its_classifier_and_answers_like_it(void **state)
{
    (void)state;
    static const uint16_t ids[] = {700, 800, 900, 1000};
    static const uint32_t ngrams[] = {5, 7, 1000};
    const struct nn_example text = {ids, COUNT_OF(ids), ngrams, COUNT_OF(ngrams), 0};
    struct classifier *c = sample();
    struct nn_workspace *ws = nn_workspace_new(&c->shape, 1);
    struct engine_report report;
    struct engine *e = NULL;
    float expected[2], probs[2];

    CHECK_OK(engine_new(&e, c, ENGINE_FP32, &report));
    nn_predict(ws, c->params, &text, 1, expected);
    nn_workspace_free(ws);
    classifier_free(c);
    struct nn_scratch *scratch = engine_scratch_new(e, 1);
    assert_true(engine_run(e, scratch, &text, 1, probs, NULL, NULL));
    assert_true(fabsf(probs[1] - expected[1]) < 1e-4f);
    assert_string_equal(engine_name(e), "fp32");
    assert_int_equal(report.chosen, ENGINE_FP32);
    assert_true(engine_bytes(e) > TEXT_N_IDS);
    nn_scratch_free(scratch);
    engine_free(e);
}

static void test_a_parameter_that_is_not_finite_is_refused(void **state)
{
    (void)state;
    struct classifier *c = sample();
    struct engine *e = NULL;

    c->params[100] = NAN;
    assert_int_equal(engine_new(&e, c, ENGINE_AUTO, NULL).code, ST_INVALID);
    assert_null(e);
    classifier_free(c);
}

static void test_kinds_have_names(void **state)
{
    (void)state;
    enum engine_kind kind = ENGINE_FP32;

    CHECK_OK(engine_kind_parse("auto", &kind));
    assert_int_equal(kind, ENGINE_AUTO);
    CHECK_OK(engine_kind_parse("int8", &kind));
    assert_string_equal(engine_kind_name(kind), "int8");
    assert_int_equal(engine_kind_parse("fp64", &kind).code, ST_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_engine_outlives_its_classifier_and_answers_like_it),
        cmocka_unit_test(test_a_parameter_that_is_not_finite_is_refused),
        cmocka_unit_test(test_kinds_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
