/* pbjson_test.c - messages of the real protos through pbjson.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bloginfer/v1/classify.pb-c.h"
#include "bloginfer/v1/federation.pb-c.h"
#include "pbjson/pbjson.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The message's JSON equals this text, key by key. */
static void assert_json(const void *message, const char *want)
{
    json_t *got = pbjson_encode(message), *expected = json_loads(want, 0, NULL);
    char *text = json_dumps(got, JSON_COMPACT);

    if (!expected || !json_equal(got, expected))
        fail_msg("got  %s\nwant %s", text, want);
    free(text);
    json_decref(got);
    json_decref(expected);
}

static void test_every_scalar_is_shown_with_its_default(void **state)
{
    (void)state;
    Bloginfer__V1__RoundProgress m = BLOGINFER__V1__ROUND_PROGRESS__INIT;

    assert_json(&m, "{\"round\":0,\"exchange\":0,\"exchanges\":0}");
}

static void test_enums_lists_and_submessages(void **state)
{
    (void)state;
    Bloginfer__V1__WorkerState w = BLOGINFER__V1__WORKER_STATE__INIT, *workers[] = {&w, &w};
    Bloginfer__V1__Run run = BLOGINFER__V1__RUN__INIT;

    w.worker_id = "r/0";
    w.connected = true;
    w.train_rows = UINT64_C(9007199254740993); /* not a double */
    run.run_id = "r";
    run.state = BLOGINFER__V1__RUN_STATE__RUN_STATE_TRAINING;
    run.workers = workers;
    run.n_workers = 2;
    run.started_ms = -1;
#define W "{\"worker_id\":\"r/0\",\"shard_index\":0,\"connected\":true,\"train_rows\":9007199254740993,\"eval_rows\":0}"
    assert_json(&run, "{\"run_id\":\"r\",\"state\":\"training\",\"message\":\"\",\"rounds\":[],\"version\":0,"
                      "\"promoted\":false,\"started_ms\":-1,\"ended_ms\":0,\"workers\":[" W "," W "]}");
    run.state = 77;
    json_t *object = pbjson_encode(&run.base);
    assert_string_equal(json_string_value(json_object_get(object, "state")), "77");
    json_decref(object);
}

static void test_only_the_set_side_of_a_oneof(void **state)
{
    (void)state;
    Bloginfer__V1__RoundProgress progress = BLOGINFER__V1__ROUND_PROGRESS__INIT;
    Bloginfer__V1__WatchRunResponse event = BLOGINFER__V1__WATCH_RUN_RESPONSE__INIT;

    event.event_case = BLOGINFER__V1__WATCH_RUN_RESPONSE__EVENT_PROGRESS;
    event.progress = &progress;
    assert_json(&event, "{\"progress\":{\"round\":0,\"exchange\":0,\"exchanges\":0}}");
}

static void test_floats_are_short_and_nan_is_null(void **state)
{
    (void)state;
    Bloginfer__V1__LabelProbability p = BLOGINFER__V1__LABEL_PROBABILITY__INIT;

    p.label = "a\xff"; /* not UTF-8 */
    p.probability = 0.1f;
    assert_json(&p, "{\"label\":\"\",\"probability\":0.1}");
    p.label = "好";
    p.probability = NAN;
    assert_json(&p, "{\"label\":\"好\",\"probability\":null}");
}

static struct status decode(Bloginfer__V1__RunConfig *config, const char *text, struct arena *arena)
{
    json_t *object = json_loads(text, JSON_DECODE_ANY, NULL);

    assert_non_null(object);
    struct status st = pbjson_decode(&config->base, object, arena);
    json_decref(object);
    return st;
}

static void test_decode_sets_what_is_named(void **state)
{
    (void)state;
    Bloginfer__V1__RunConfig c = BLOGINFER__V1__RUN_CONFIG__INIT;
    struct arena arena;

    arena_init(&arena, 4096);
    c.workers = 7;
    struct status st = decode(&c,
                              "{\"task\":\"troll\",\"rounds\":4294967295,\"learning_rate\":1,"
                              "\"seed\":9223372036854775807,\"continue_from_production\":true}",
                              &arena);
    assert_int_equal(st.code, ST_OK);
    assert_string_equal(c.task, "troll");
    assert_int_equal(c.rounds, UINT32_MAX);
    assert_int_equal(c.workers, 7);
    assert_true(c.learning_rate == 1.0);
    assert_int_equal(c.seed, INT64_MAX);
    assert_true(c.continue_from_production);
    arena_fini(&arena);
}

static void test_decode_refuses_by_name(void **state)
{
    static const char *const wrong[][2] = {
        {"{\"epochs\":1}", "\"epochs\": no such field"},
        {"{\"rounds\":\"5\"}", "\"rounds\": must be a whole number"},
        {"{\"rounds\":-1}", "\"rounds\": must be a whole number"},
        {"{\"rounds\":4294967296}", "from 0 to 4294967295"},
        {"{\"rounds\":1.5}", "\"rounds\": must be a whole number"},
        {"{\"seed\":-1}", "\"seed\": must be a whole number"},
        {"{\"learning_rate\":\"1\"}", "\"learning_rate\": must be a number"},
        {"{\"task\":null}", "\"task\": must be a string"},
        {"{\"continue_from_production\":1}", "must be true or false"},
        {"[]", "must be a JSON object"},
    };
    struct arena arena;

    (void)state;
    arena_init(&arena, 4096);
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        Bloginfer__V1__RunConfig c = BLOGINFER__V1__RUN_CONFIG__INIT;
        struct status st = decode(&c, wrong[i][0], &arena);

        assert_int_equal(st.code, ST_INVALID);
        if (!strstr(st.msg, wrong[i][1]))
            fail_msg("%s: \"%s\"", wrong[i][0], st.msg);
    }
    arena_fini(&arena);
}

static void test_decode_refuses_lists_and_what_does_not_fit(void **state)
{
    (void)state;
    Bloginfer__V1__Run run = BLOGINFER__V1__RUN__INIT;
    json_t *object = json_pack("{s:[]}", "rounds"), *text = json_pack("{s:s%}", "message", "0123456789", (size_t)10);
    struct arena arena;

    arena_init(&arena, 8);
    assert_int_equal(pbjson_decode(&run.base, object, &arena).code, ST_INVALID);
    assert_int_equal(pbjson_decode(&run.base, text, &arena).code, ST_EXHAUSTED);
    arena_fini(&arena);
    json_decref(object);
    json_decref(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_scalar_is_shown_with_its_default),
        cmocka_unit_test(test_enums_lists_and_submessages),
        cmocka_unit_test(test_only_the_set_side_of_a_oneof),
        cmocka_unit_test(test_floats_are_short_and_nan_is_null),
        cmocka_unit_test(test_decode_sets_what_is_named),
        cmocka_unit_test(test_decode_refuses_by_name),
        cmocka_unit_test(test_decode_refuses_lists_and_what_does_not_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
