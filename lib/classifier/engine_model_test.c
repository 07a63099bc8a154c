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

static void tensor_change(struct classifier *c, const char *name, float factor, float summand)
{
    struct nn_tensor tensors[NN_MAX_TENSORS];
    const struct nn_tensor *t = nn_tensor_find(tensors, nn_tensors(&c->shape, tensors), name);

    for (size_t i = 0; i < t->n; i++)
        c->params[t->offset + i] = c->params[t->offset + i] * factor + (i % 2 ? summand : 0);
}

/* The model says "positive" to everything, and not narrowly. */
static struct classifier *decided(void)
{
    struct classifier *c = sample();

    tensor_change(c, "out.b", 1, 1);
    return c;
}

static struct engine_report report_of(const struct classifier *c, enum engine_kind wanted)
{
    struct engine *e = NULL;
    struct engine_report report;

    CHECK_OK(engine_new(&e, c, wanted, &report));
    assert_string_equal(engine_name(e), engine_kind_name(report.chosen));
    engine_free(e);
    return report;
}

static void test_the_faster_engine_is_chosen(void **state)
{
    (void)state;
    struct classifier *c = decided();
    struct engine_report r = report_of(c, ENGINE_AUTO);

    assert_true(r.n_texts > 30);
    assert_int_equal(r.n_changed, 0);
    assert_true(r.largest_difference > 0 && r.largest_difference <= ENGINE_MAX_DIFFERENCE);
    assert_true(r.fp32_us > 0 && r.int8_us > 0);
    assert_int_equal(r.chosen, r.int8_us < r.fp32_us ? ENGINE_INT8 : ENGINE_FP32);
    assert_non_null(strstr(r.why, "faster"));
    classifier_free(c);
}

static void test_a_choice_can_be_forced(void **state)
{
    (void)state;
    struct classifier *c = decided();

    assert_int_equal(report_of(c, ENGINE_FP32).chosen, ENGINE_FP32);
    assert_int_equal(report_of(c, ENGINE_INT8).chosen, ENGINE_INT8);
    classifier_free(c);
}

/* Characters hardly matter and the output is steep, with its middle at what all texts of some length give: the answer is
 * in digits that int8 does not have. */
static struct classifier *hairline(void)
{
    static const float steep = 1e5f;
    struct classifier *c = sample();
    struct nn_workspace *ws = nn_workspace_new(&c->shape, 1);
    uint16_t ids[60];
    const struct nn_example text = {.ids = ids, .n_ids = COUNT_OF(ids)};
    float probs[2];

    for (size_t i = 0; i < COUNT_OF(ids); i++)
        ids[i] = (uint16_t)(1000 + i);
    tensor_change(c, "embedding", 1e-4f, 0);
    nn_predict(ws, c->params, &text, 1, probs);
    tensor_change(c, "out.w", steep, 0);
    tensor_change(c, "out.b", 0, -steep * logf(probs[1] / probs[0]));
    nn_workspace_free(ws);
    return c;
}

static void test_int8_that_changes_answers_is_refused(void **state)
{
    (void)state;
    struct classifier *c = hairline();

    for (int wanted = ENGINE_AUTO; wanted <= ENGINE_INT8; wanted += ENGINE_INT8 - ENGINE_AUTO) {
        struct engine_report r = report_of(c, (enum engine_kind)wanted);
        assert_int_equal(r.chosen, ENGINE_FP32);
        assert_true(r.n_changed > 0 || r.largest_difference > ENGINE_MAX_DIFFERENCE);
        assert_non_null(strstr(r.why, "refused"));
    }
    classifier_free(c);
}

static void test_a_family_without_int8_gets_fp32(void **state)
{
    (void)state;
    static const struct nn_shape shape = {.family = NN_LINEAR, .buckets = 1024, .classes = 2, .max_tokens = 200};
    struct classifier *c = NULL;

    CHECK_OK(classifier_new(&c, "sentiment", "negative,positive", &shape));
    struct engine_report r = report_of(c, ENGINE_INT8);
    assert_int_equal(r.chosen, ENGINE_FP32);
    assert_int_equal(r.n_texts, 0);
    assert_non_null(strstr(r.why, "linear"));
    classifier_free(c);
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
        cmocka_unit_test(test_the_faster_engine_is_chosen),
        cmocka_unit_test(test_a_choice_can_be_forced),
        cmocka_unit_test(test_int8_that_changes_answers_is_refused),
        cmocka_unit_test(test_a_family_without_int8_gets_fp32),
        cmocka_unit_test(test_a_parameter_that_is_not_finite_is_refused),
        cmocka_unit_test(test_kinds_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
