/* classifier_model_test.c - what is written is read back, and a file that does not fit is refused with its reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "classifier/classifier.h"
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

static const struct nn_shape small = {
    .family = NN_LSTM, .vocab = TEXT_N_IDS, .embed = 4, .hidden = 3, .buckets = 32, .classes = 2, .max_tokens = 20};

static struct classifier *sample(void)
{
    struct classifier *c = NULL;

    CHECK_OK(classifier_new(&c, "sentiment", "negative,positive", &small));
    nn_init(c->params, &c->shape, 7);
    c->loss = NN_HINGE;
    strcpy(c->run, "run-1");
    strcpy(c->source, "weather of 2026");
    strcpy(c->created, "2026-11-22T10:00:00.123Z");
    c->rounds = 5;
    c->workers = 3;
    c->samples = UINT64_C(5000000000);
    c->eval_rows = 1200;
    c->eval_accuracy = 0.875;
    c->eval_loss = 0.25;
    return c;
}

static void test_through_a_file_and_back(void **state)
{
    (void)state;
    struct classifier *c = sample(), *back = NULL;
    struct model *m = classifier_to_model(c), *read = NULL;
    char *data = NULL;
    size_t size;

    CHECK_OK(model_encode(m, &data, &size));
    CHECK_OK(model_decode(&read, data, size));
    CHECK_OK(classifier_from_model(&back, read));
    assert_string_equal(back->task, "sentiment");
    assert_string_equal(back->labels[0], "negative");
    assert_string_equal(back->labels[1], "positive");
    assert_memory_equal(&back->shape, &small, sizeof small);
    assert_int_equal(back->loss, NN_HINGE);
    assert_int_equal(back->n_params, nn_n_params(&small));
    assert_memory_equal(back->params, c->params, c->n_params * sizeof(float));
    assert_string_equal(back->run, c->run);
    assert_string_equal(back->source, c->source);
    assert_string_equal(back->created, c->created);
    assert_int_equal(back->rounds, 5);
    assert_int_equal(back->workers, 3);
    assert_true(back->samples == c->samples && back->eval_rows == 1200);
    assert_true(back->eval_accuracy == 0.875 && back->eval_loss == 0.25);
    free(data);
    model_free(m);
    model_free(read);
    classifier_free(c);
    classifier_free(back);
}

static void test_without_evaluation(void **state)
{
    (void)state;
    struct classifier *c = sample(), *back = NULL;

    c->eval_rows = 0;
    struct model *m = classifier_to_model(c);
    assert_null(model_get(m, "eval_accuracy"));
    CHECK_OK(classifier_from_model(&back, m));
    assert_true(isnan(back->eval_accuracy));
    model_free(m);
    classifier_free(c);
    classifier_free(back);
}

static void test_metadata_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"format", "bloginfer.model.v2"},
        {"architecture", "svm"},
        {"loss", "squared"},
        {"vocabulary", "counted"},
        {"task", "../x"},
        {"task", ""},
        {"labels", "negative"},
        {"labels", "a,b,c"},
        {"labels", "a,a"},
        {"labels", "a,"},
        {"labels", ",b"},
        {"labels", "a,b\n"},
        {"vocab", "100"},
        {"embed", "5"},
        {"embed", "0"},
        {"embed", "-4"},
        {"embed", "4x"},
        {"embed", ""},
        {"hidden", "4294967299"},
        {"hidden", "1000000"},
        {"buckets", "4294967295"},
        {"classes", "3"},
        {"classes", "1"},
        {"max_tokens", "0"},
        {"samples", "99999999999999999999"},
        {"rounds", "five"},
        {"eval_accuracy", "nan"},
        {"eval_loss", "0.1 "},
    };
    struct classifier *c = sample(), *back = NULL;

    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct model *m = classifier_to_model(c);
        model_set(m, bad[i][0], bad[i][1]);
        struct status st = classifier_from_model(&back, m);
        if (st.code != ST_DATA_LOSS)
            fail_msg("%s=%s: %s %s", bad[i][0], bad[i][1], code_name(st.code), st.msg);
        model_free(m);
    }
    classifier_free(c);
}

static void test_missing_metadata_is_refused(void **state)
{
    (void)state;
    struct classifier *c = sample(), *back = NULL;
    struct model *m = classifier_to_model(c);

    for (size_t i = 0; i < m->n_meta; i++) {
        char first = m->meta[i].key[0];
        if (!strcmp(m->meta[i].key, "loss"))
            continue; /* absent in files of before there were two */
        m->meta[i].key[0] = '#';
        assert_int_equal(classifier_from_model(&back, m).code, ST_DATA_LOSS);
        m->meta[i].key[0] = first;
    }
    for (size_t i = 0; i < m->n_meta; i++)
        if (!strcmp(m->meta[i].key, "loss"))
            m->meta[i].key[0] = '#';
    CHECK_OK(classifier_from_model(&back, m));
    assert_int_equal(back->loss, NN_CROSS_ENTROPY);
    classifier_free(back);
    CHECK_OK(classifier_from_model(&back, m));
    classifier_free(back);
    classifier_free(c);
    model_free(m);
}

static void test_tensors_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct classifier *c = sample(), *back = NULL;
    struct model *m = classifier_to_model(c);

    for (size_t i = 0; i < m->n_tensors; i++) {
        m->tensors[i].dims[0]++;
        assert_int_equal(classifier_from_model(&back, m).code, ST_DATA_LOSS);
        m->tensors[i].dims[0]--;
        m->tensors[i].n_dims++;
        assert_int_equal(classifier_from_model(&back, m).code, ST_DATA_LOSS);
        m->tensors[i].n_dims--;
        m->tensors[i].name[0] = '#';
        assert_int_equal(classifier_from_model(&back, m).code, ST_DATA_LOSS);
        model_free(m);
        m = classifier_to_model(c);
    }
    free(m->tensors[--m->n_tensors].name);
    assert_int_equal(classifier_from_model(&back, m).code, ST_DATA_LOSS);
    classifier_free(c);
    model_free(m);
}

static void test_label_of_two(void **state)
{
    (void)state;
    struct classifier *c = sample();
    float prob;

    assert_int_equal(classifier_label(c, (float[]){0.5f, 0.5f}, 0.5, &prob), 1);
    assert_true(prob == 0.5f);
    assert_int_equal(classifier_label(c, (float[]){0.75f, 0.25f}, 0.5, &prob), 0);
    assert_true(prob == 0.25f); /* of the second, also when the first is the answer */
    assert_int_equal(classifier_label(c, (float[]){0.75f, 0.25f}, 0.2, &prob), 1);
    classifier_free(c);
}

static void test_label_of_more(void **state)
{
    (void)state;
    struct nn_shape shape = small;
    struct classifier *c = NULL;
    float prob;

    shape.classes = 3;
    CHECK_OK(classifier_new(&c, "topic", "a,b,c", &shape));
    assert_int_equal(classifier_label(c, (float[]){0.3f, 0.3f, 0.4f}, 0.5, &prob), 2);
    assert_true(prob == 0.4f);
    assert_int_equal(classifier_label(c, (float[]){0.4f, 0.4f, 0.2f}, 0.5, &prob), 0);
    classifier_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_through_a_file_and_back),
        cmocka_unit_test(test_without_evaluation),
        cmocka_unit_test(test_metadata_that_does_not_fit_is_refused),
        cmocka_unit_test(test_missing_metadata_is_refused),
        cmocka_unit_test(test_tensors_that_do_not_fit_are_refused),
        cmocka_unit_test(test_label_of_two),
        cmocka_unit_test(test_label_of_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
