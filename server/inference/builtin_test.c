/* builtin_test.c - each model that is shipped can be served, is as small as promised, and has a card of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "builtin.h"
#include "testing.h"

#define SIZE_MAX_BYTES (2u << 20)

static struct served_builtin models[BUILTIN_MODELS];

static int setup(void **state)
{
    builtin_models(models);
    return testing_setup(state);
}

static void test_each_is_small_and_of_its_task(void **state)
{
    (void)state;
    for (size_t i = 0; i < BUILTIN_MODELS; i++) {
        struct model *m = NULL;
        struct classifier *c = NULL;

        assert_true(models[i].size <= SIZE_MAX_BYTES);
        CHECK_OK(model_decode(&m, models[i].data, models[i].size));
        CHECK_OK(classifier_from_model(&c, m));
        assert_string_equal(c->task, models[i].task);
        CHECK_OK(classifier_check_labels(c));
        assert_true(c->eval_rows > 1000 && c->eval_accuracy > 0.85);
        classifier_free(c);
        model_free(m);
    }
}

/* A file that is replaced without its card would be described by the old one. */
static void test_each_has_a_card_that_names_its_digest(void **state)
{
    (void)state;
    for (size_t i = 0; i < BUILTIN_MODELS; i++) {
        char *path = xasprintf("%s/server/inference/builtin/%s.md", BLOGINFER_SOURCE_DIR, models[i].task);
        char *card = NULL, hex[2 * SHA256_SIZE + 1];
        uint8_t digest[SHA256_SIZE];
        size_t size = 0;

        sha256(models[i].data, models[i].size, digest);
        CHECK_OK(fs_read(path, 1 << 16, &card, &size));
        if (!strstr(card, hex_encode(digest, sizeof digest, hex)))
            fail_msg("%s does not name %s", path, hex);
        free(card);
        free(path);
    }
}

static const char *label_of(struct served *s, const char *task, const char *text)
{
    const struct served_query q = {.task = task};
    struct served_model *m = NULL;
    struct text_tokens t;
    struct arena arena;
    float probs[NN_MAX_CLASSES], prob;

    arena_init(&arena, 1 << 20);
    CHECK_OK(served_acquire(s, &q, &m));
    assert_int_equal(m->version, 0);
    const struct nn_shape *shape = &m->classifier->shape;
    CHECK_OK(text_tokenise(&t, &arena, text, strlen(text), shape->max_tokens, shape->buckets));
    const struct nn_example example = {.ids = t.ids, .n_ids = t.n_ids, .ngrams = t.ngrams, .n_ngrams = t.n_ngrams};
    struct nn_scratch *scratch = engine_scratch_new(m->engine, 1);
    engine_run(m->engine, scratch, &example, 1, probs, NULL, NULL);
    nn_scratch_free(scratch);
    uint32_t label = classifier_label(m->classifier, probs, CLASSIFIER_THRESHOLD, &prob);
    served_release(m);
    arena_fini(&arena);
    return label ? strcmp(task, "troll") ? "positive" : "troll" : strcmp(task, "troll") ? "negative" : "normal";
}

static void test_they_serve_until_a_version_is_in_production(void **state)
{
    const struct served_config config = {
        .dir = testing_dir, .poll_ms = 10, .builtin = models, .n_builtin = BUILTIN_MODELS};
    const struct served_query q = {.task = "sentiment"};
    struct served_model *m = NULL;
    struct served *s;

    (void)state;
    served_start(&s, &config);
    CHECK_OK(served_ready(s));
    assert_string_equal(label_of(s, "sentiment", "房间很干净，服务热情，下次还会来"), "positive");
    assert_string_equal(label_of(s, "sentiment", "又脏又旧，服务态度极差，再也不会来了"), "negative");
    assert_string_equal(label_of(s, "troll", "谢谢分享，学到了很多"), "normal");
    assert_string_equal(label_of(s, "troll", "你就是个没脑子的废物，滚回去吧"), "troll");
    testing_promote("sentiment", testing_publish("sentiment", "sentiment", "negative,positive", 2, 1));
    uint64_t version = 0;
    for (int64_t end = clock_after_ms(20000); !version && clock_now() < end; clock_sleep_ms(1)) {
        CHECK_OK(served_acquire(s, &q, &m));
        version = m->version;
        served_release(m);
    }
    assert_int_equal(version, 1);
    label_of(s, "troll", "好"); /* still version 0 */
    served_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_is_small_and_of_its_task),
        cmocka_unit_test(test_each_has_a_card_that_names_its_digest),
        cmocka_unit_test(test_they_serve_until_a_version_is_in_production),
    };

    return cmocka_run_group_tests(tests, setup, testing_teardown);
}
