/* served_test.c - versions come and go under running calls, and what does not verify never serves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "metrics/metrics.h"
#include "served.h"
#include "testing.h"

#include <inttypes.h>
#include <pthread.h>
#include <unistd.h>

static atomic_int n_first;

static void first(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&n_first, 1);
}

static struct served *start(void)
{
    struct served *s;
    const struct served_config config = {.dir = testing_dir, .poll_ms = 10, .first = first};

    n_first = 0;
    served_start(&s, &config);
    return s;
}

static struct status acquire(struct served *s, const char *task, const char *version, struct served_model **m)
{
    return served_acquire(s, &(struct served_query){.task = task, .version = version}, m);
}

#define PATIENCE_MS 120000 /* nothing is timed: this only bounds how long a failure takes */

/* The version in service; 0: none. */
static uint64_t version_of(struct served *s, const char *task)
{
    struct served_model *m;
    uint64_t version = 0;

    if (!acquire(s, task, "", &m).code)
        version = m->version;
    served_release(m);
    return version;
}

static void await(struct served *s, const char *task, uint64_t version)
{
    int64_t end = clock_after_ms(PATIENCE_MS);

    while (version_of(s, task) != version) {
        if (clock_now() > end)
            fail_msg("%s: version %" PRIu64 " is not in service after %d ms", task, version, PATIENCE_MS);
        clock_sleep_ms(1);
    }
}

static double loads(const char *task, const char *result)
{
    return series_value(metric_series(metric_counter("bloginfer_model_loads_total", "", "task,result"), task, result));
}

static void await_refused(const char *task, double before)
{
    int64_t end = clock_after_ms(PATIENCE_MS);

    while (loads(task, "refused") <= before) {
        if (clock_now() > end)
            fail_msg("%s: nothing was refused", task);
        clock_sleep_ms(1);
    }
}

/* Whether the model answers as the version with this mark does. */
static bool answers_as(struct served_model *m, uint64_t mark)
{
    const uint16_t ids[] = {5, 6, 7};
    const struct nn_example example = {.ids = ids, .n_ids = 3};
    struct nn_scratch *scratch = engine_scratch_new(m->engine, 1);
    float probs[2];

    engine_run(m->engine, scratch, &example, 1, probs, NULL, NULL);
    nn_scratch_free(scratch);
    return fabsf(probs[1] - testing_prob(mark)) < 1e-4f;
}

static void test_without_a_model(void **state)
{
    (void)state;
    struct served *s = start();
    struct served_model *m;

    CHECK_CODE(ST_PRECONDITION, acquire(s, "sentiment", "", &m));
    CHECK_CODE(ST_PRECONDITION, acquire(s, "troll", "", &m));
    CHECK_CODE(ST_NOT_FOUND, acquire(s, "weather", "", &m));
    CHECK_CODE(ST_INVALID, acquire(s, "../etc", "", &m));
    CHECK_CODE(ST_PRECONDITION, served_ready(s));
    testing_publish("weather", "weather", "dry,wet", 2, 1); /* a candidate at best */
    int64_t end = clock_after_ms(PATIENCE_MS);
    while (acquire(s, "weather", "", &m).code == ST_NOT_FOUND && clock_now() < end)
        clock_sleep_ms(1);
    CHECK_CODE(ST_PRECONDITION, acquire(s, "weather", "", &m));
    assert_int_equal(n_first, 0);
    served_stop(s);
}

/* Is under way for a while, as the loading of a large model is. */
static void slow_first(void *ctx)
{
    atomic_int *stage = ctx;

    atomic_store(stage, 1);
    clock_sleep_ms(200);
    atomic_store(stage, 2);
}

static void test_a_frozen_service_waits_for_its_watcher_and_serves_on(void **state)
{
    atomic_int stage = 0;
    const struct served_config config = {.dir = testing_dir, .poll_ms = 10, .first = slow_first, .ctx = &stage};
    struct served *s;

    (void)state;
    served_start(&s, &config);
    testing_promote("sentiment", testing_publish("sentiment", "sentiment", "negative,positive", 2, 1));
    for (int64_t end = clock_after_ms(PATIENCE_MS); !atomic_load(&stage) && clock_now() < end;)
        clock_sleep_ms(1);
    assert_int_equal(stage, 1);
    served_freeze(s);
    assert_int_equal(stage, 2);
    assert_int_equal(version_of(s, "sentiment"), 1);
    served_stop(s);
}

static void test_production_is_served_from_the_start(void **state)
{
    (void)state;
    struct served_model *m, *all[SERVED_MAX_MODELS];

    testing_publish("sentiment", "sentiment", "negative,positive", 2, 1);
    testing_promote("sentiment", testing_publish("sentiment", "sentiment", "negative,positive", 2, 2));
    testing_promote("troll", testing_publish("troll", "troll", "normal,troll", 2, 1));
    struct served *s = start();
    assert_int_equal(n_first, 2);
    CHECK_OK(served_ready(s));
    CHECK_OK(acquire(s, "sentiment", "", &m));
    assert_int_equal(m->version, 2);
    assert_true(answers_as(m, 2));
    assert_int_equal(strlen(m->sha256), 64);
    served_release(m);
    assert_int_equal(served_acquire_all(s, all), 2);
    served_release(all[0]);
    served_release(all[1]);
    served_stop(s);
}

static void test_the_first_model_comes_later(void **state)
{
    (void)state;
    struct served *s = start();

    testing_promote("sentiment", testing_publish("sentiment", "sentiment", "negative,positive", 2, 1));
    await(s, "sentiment", 1);
    CHECK_OK(served_ready(s));
    testing_promote("sentiment", testing_publish("sentiment", "sentiment", "negative,positive", 2, 2));
    await(s, "sentiment", 2);
    assert_int_equal(n_first, 1);
    served_stop(s);
}

static void test_a_held_model_outlives_its_service(void **state)
{
    (void)state;
    struct served_model *held;

    testing_promote("sentiment", testing_publish("sentiment", "sentiment", "negative,positive", 2, 1));
    struct served *s = start();
    CHECK_OK(acquire(s, "sentiment", "", &held));
    testing_promote("sentiment", testing_publish("sentiment", "sentiment", "negative,positive", 2, 2));
    await(s, "sentiment", 2);
    assert_int_equal(held->version, 1);
    assert_true(answers_as(held, 1));
    served_release(held);
    served_stop(s);
}

struct caller {
    struct served *s;
    atomic_bool *stop;
    int n_calls, n_bad;
};

static void *call_for_ever(void *arg)
{
    struct caller *c = arg;
    struct served_model *m;

    for (; !*c->stop; c->n_calls++) {
        c->n_bad += acquire(c->s, "sentiment", "", &m).code || !answers_as(m, m->version);
        served_release(m);
    }
    return NULL;
}

static void test_no_call_notices_a_swap(void **state)
{
    (void)state;
    atomic_bool stop = false;
    struct caller callers[3];
    pthread_t threads[3];

    testing_promote("sentiment", testing_publish("sentiment", "sentiment", "negative,positive", 2, 1));
    struct served *s = start();
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        callers[i] = (struct caller){s, &stop, 0, 0};
        threads[i] = thread_start("caller", 0, call_for_ever, &callers[i]);
    }
    for (uint64_t v = 2; v <= 10; v++) {
        testing_promote("sentiment", testing_publish("sentiment", "sentiment", "negative,positive", 2, v));
        await(s, "sentiment", v);
    }
    for (uint64_t v = 9; v >= 5; v--) { /* and back */
        uint64_t previous = 0;
        CHECK_OK(store_previous(testing_dir, "sentiment", &previous));
        assert_int_equal(previous, v);
        testing_promote("sentiment", previous);
        await(s, "sentiment", v);
    }
    stop = true;
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(callers[i].n_bad, 0);
        assert_true(callers[i].n_calls > 0);
    }
    served_stop(s);
}

/* Points at a version by hand, past the store's own checks. */
static void force_pointer(const char *task, const char *pointer, const char *text)
{
    char *path = xasprintf("%s/%s/%s", testing_dir, task, pointer);

    CHECK_OK(fs_write_atomic(path, text, strlen(text)));
    free(path);
}

static void test_a_damaged_version_never_serves(void **state)
{
    (void)state;
    double before = loads("sentiment", "refused");
    char path[PATH_MAX], *data = NULL;
    size_t size;

    testing_promote("sentiment", testing_publish("sentiment", "sentiment", "negative,positive", 2, 1));
    struct served *s = start();
    testing_publish("sentiment", "sentiment", "negative,positive", 2, 2);
    CHECK_OK(
        fs_read(store_path(path, sizeof path, testing_dir, "sentiment", 2, STORE_MODEL_FILE), 1 << 24, &data, &size));
    data[size / 2] ^= 1;
    CHECK_OK(fs_write_atomic(path, data, size));
    free(data);
    force_pointer("sentiment", "production", "2\n");
    await_refused("sentiment", before);
    assert_int_equal(version_of(s, "sentiment"), 1);
    CHECK_OK(served_ready(s));
    testing_promote("sentiment", testing_publish("sentiment", "sentiment", "negative,positive", 2, 3));
    await(s, "sentiment", 3);
    assert_true(loads("sentiment", "refused") == before + 1); /* tried once, not at every poll */
    served_stop(s);
}

static void test_a_model_of_another_task_never_serves(void **state)
{
    (void)state;
    double before = loads("troll", "refused");
    struct served_model *m;

    testing_promote("troll", testing_publish("troll", "sentiment", "negative,positive", 2, 1));
    struct served *s = start();
    assert_true(loads("troll", "refused") == before + 1);
    CHECK_CODE(ST_PRECONDITION, acquire(s, "troll", "", &m));
    served_stop(s);
}

static void test_pointers_to_nowhere_change_nothing(void **state)
{
    (void)state;
    double before = loads("sentiment", "refused");

    testing_promote("sentiment", testing_publish("sentiment", "sentiment", "negative,positive", 2, 1));
    struct served *s = start();
    force_pointer("sentiment", "production", "77\n");
    await_refused("sentiment", before);
    assert_int_equal(version_of(s, "sentiment"), 1);
    force_pointer("sentiment", "production", "nonsense");
    CHECK_OK(fs_remove_tree(testing_dir));
    CHECK_OK(fs_mkdirs(testing_dir));
    testing_promote("troll", testing_publish("troll", "troll", "normal,troll", 2, 1));
    await(s, "troll", 1); /* so the watcher has been round */
    assert_int_equal(version_of(s, "sentiment"), 1);
    served_stop(s);
}

/* Waits until the alias stands on this version; 0: on none. */
static void await_alias(struct served *s, const char *task, const char *alias, uint64_t version)
{
    int64_t end = clock_after_ms(PATIENCE_MS);
    uint64_t now;

    do {
        struct served_model *m;
        now = acquire(s, task, alias, &m).code ? 0 : m->version;
        served_release(m);
        if (clock_now() > end)
            fail_msg("%s: %s is not version %" PRIu64 " after %d ms", task, alias, version, PATIENCE_MS);
        clock_sleep_ms(1);
    } while (now != version);
}

static void point_candidate(uint64_t version)
{
    CHECK_OK(store_set_pointer(testing_dir, "sentiment", STORE_CANDIDATE, version));
}

static void test_both_pointers_serve_by_name_and_number(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t version;
    } wanted[] = {{"", 1}, {NULL, 1}, {"production", 1}, {"candidate", 2}, {"1", 1}, {"2", 2}};
    struct served_model *m;

    for (uint64_t v = 1; v <= 3; v++)
        testing_publish("sentiment", "sentiment", "negative,positive", 2, v);
    testing_promote("sentiment", 1);
    point_candidate(2);
    struct served *s = start();
    for (size_t i = 0; i < COUNT_OF(wanted); i++) {
        CHECK_OK(acquire(s, "sentiment", wanted[i].name, &m));
        assert_int_equal(m->version, wanted[i].version);
        assert_true(answers_as(m, wanted[i].version));
        const struct served_state state_now = served_state(m);
        assert_int_equal(state_now.production, m->version == 1);
        assert_int_equal(state_now.candidate, m->version == 2);
        served_release(m);
    }
    struct status st = acquire(s, "sentiment", "3", &m);
    assert_int_equal(st.code, ST_NOT_FOUND);
    assert_non_null(strstr(st.msg, "2 (candidate)"));
    assert_non_null(strstr(st.msg, "1 (production)"));
    CHECK_CODE(ST_NOT_FOUND, acquire(s, "sentiment", SERVED_BUILTIN, &m));
    CHECK_CODE(ST_INVALID, acquire(s, "sentiment", "newest", &m));
    CHECK_CODE(ST_INVALID, acquire(s, "sentiment", "01", &m));
    CHECK_CODE(ST_INVALID, acquire(s, "sentiment", "99999999999999999999", &m));
    served_stop(s);
}

static void test_pointers_move_over_versions_that_are_loaded(void **state)
{
    (void)state;
    struct served_model *candidate, *m;

    for (uint64_t v = 1; v <= 3; v++)
        testing_publish("sentiment", "sentiment", "negative,positive", 2, v);
    testing_promote("sentiment", 1);
    point_candidate(2);
    struct served *s = start();
    double before = loads("sentiment", "ok");
    CHECK_OK(acquire(s, "sentiment", "candidate", &candidate));
    testing_promote("sentiment", 2);
    await(s, "sentiment", 2);
    CHECK_OK(acquire(s, "sentiment", "production", &m));
    assert_ptr_equal(m, candidate); /* the same, not loaded again */
    assert_true(loads("sentiment", "ok") == before);
    served_release(m);
    served_release(candidate);
    CHECK_CODE(ST_NOT_FOUND, acquire(s, "sentiment", "1", &m));
    point_candidate(3);
    await_alias(s, "sentiment", "candidate", 3);
    point_candidate(0);
    await_alias(s, "sentiment", "candidate", 0);
    CHECK_CODE(ST_NOT_FOUND, acquire(s, "sentiment", "3", &m));
    assert_int_equal(version_of(s, "sentiment"), 2);
    served_stop(s);
}

static void test_a_damaged_candidate_takes_the_older_one_with_it(void **state)
{
    (void)state;
    double before = loads("sentiment", "refused");

    for (uint64_t v = 1; v <= 2; v++)
        testing_publish("sentiment", "sentiment", "negative,positive", 2, v);
    testing_promote("sentiment", 1);
    point_candidate(2);
    struct served *s = start();
    await_alias(s, "sentiment", "candidate", 2);
    force_pointer("sentiment", "candidate", "77\n");
    await_refused("sentiment", before);
    await_alias(s, "sentiment", "candidate", 0);
    assert_int_equal(version_of(s, "sentiment"), 1);
    served_stop(s);
}

static void test_versions_are_loaded_and_unloaded_by_number(void **state)
{
    (void)state;
    struct served_model *m;

    for (uint64_t v = 1; v <= 3; v++)
        testing_publish("sentiment", "sentiment", "negative,positive", 2, v);
    testing_promote("sentiment", 1);
    struct served *s = start();
    CHECK_OK(served_load(s, "sentiment", 3));
    CHECK_OK(acquire(s, "sentiment", "3", &m));
    assert_true(answers_as(m, 3));
    assert_int_equal(served_state(m).loads, 1);
    served_release(m);
    CHECK_OK(served_load(s, "sentiment", 3)); /* a second client */
    CHECK_OK(served_unload(s, "sentiment", 3, CLOCK_NEVER));
    CHECK_OK(acquire(s, "sentiment", "3", &m));
    served_release(m);
    CHECK_OK(served_unload(s, "sentiment", 3, CLOCK_NEVER));
    CHECK_CODE(ST_NOT_FOUND, acquire(s, "sentiment", "3", &m));
    CHECK_CODE(ST_NOT_FOUND, served_unload(s, "sentiment", 3, CLOCK_NEVER));

    CHECK_CODE(ST_PRECONDITION, served_unload(s, "sentiment", 1, CLOCK_NEVER));
    CHECK_OK(served_load(s, "sentiment", 1));
    CHECK_OK(served_unload(s, "sentiment", 1, CLOCK_NEVER));
    assert_int_equal(version_of(s, "sentiment"), 1); /* the pointer's */

    CHECK_CODE(ST_NOT_FOUND, served_load(s, "sentiment", 4));
    CHECK_CODE(ST_NOT_FOUND, served_load(s, "weather", 1));
    CHECK_CODE(ST_INVALID, served_load(s, "sentiment", 0));
    CHECK_CODE(ST_INVALID, served_load(s, "../x", 1));
    CHECK_CODE(ST_NOT_FOUND, acquire(s, "weather", "", &m)); /* has left no trace */
    served_stop(s);
}

static void test_loads_are_bounded(void **state)
{
    (void)state;
    for (uint64_t v = 1; v <= SERVED_MAX_LOADED + 1; v++)
        testing_publish("sentiment", "sentiment", "negative,positive", 2, v);
    struct served *s = start();
    for (uint64_t v = 1; v <= SERVED_MAX_LOADED; v++)
        CHECK_OK(served_load(s, "sentiment", v));
    CHECK_CODE(ST_EXHAUSTED, served_load(s, "sentiment", SERVED_MAX_LOADED + 1));
    CHECK_OK(served_unload(s, "sentiment", 1, CLOCK_NEVER));
    CHECK_OK(served_load(s, "sentiment", SERVED_MAX_LOADED + 1));
    served_freeze(s);
    CHECK_OK(served_unload(s, "sentiment", 2, CLOCK_NEVER));
    CHECK_CODE(ST_UNAVAILABLE, served_load(s, "sentiment", 1));
    served_stop(s);
}

static void *release_later(void *arg)
{
    clock_sleep_ms(50);
    served_release(arg);
    return NULL;
}

static void test_an_unload_waits_for_running_calls(void **state)
{
    (void)state;
    struct served_model *m;

    testing_publish("sentiment", "sentiment", "negative,positive", 2, 1);
    struct served *s = start();
    CHECK_OK(served_load(s, "sentiment", 1));
    CHECK_OK(acquire(s, "sentiment", "1", &m));
    CHECK_CODE(ST_DEADLINE, served_unload(s, "sentiment", 1, clock_after_ms(20)));
    struct served_model *none;
    CHECK_CODE(ST_PRECONDITION, acquire(s, "sentiment", "1", &none)); /* but nobody new gets it */
    assert_true(answers_as(m, 1));
    served_release(m);

    CHECK_OK(served_load(s, "sentiment", 1));
    CHECK_OK(acquire(s, "sentiment", "1", &m));
    pthread_t thread = thread_start("caller", 0, release_later, m);
    int64_t begin = clock_now();
    CHECK_OK(served_unload(s, "sentiment", 1, CLOCK_NEVER));
    assert_true(clock_seconds(begin) > 0.02);
    pthread_join(thread, NULL);
    served_stop(s);
}

static void test_the_builtin_model_serves_until_there_is_another(void **state)
{
    (void)state;
    char path[PATH_MAX], *data = NULL, *damaged;
    struct served_model *m;
    struct served *s;
    size_t size;

    testing_publish("sentiment", "sentiment", "negative,positive", 2, 1);
    CHECK_OK(
        fs_read(store_path(path, sizeof path, testing_dir, "sentiment", 1, STORE_MODEL_FILE), 1 << 24, &data, &size));
    damaged = xmalloc(size);
    memcpy(damaged, data, size);
    damaged[size / 2] ^= 0x7f;
    memset(damaged + size - 4, 0xff, 4); /* not a number */
    const struct served_builtin builtin[] = {{"sentiment", data, size}, {"troll", damaged, size}};
    served_start(&s, &(struct served_config){
                         .dir = testing_dir, .poll_ms = 10, .builtin = builtin, .n_builtin = COUNT_OF(builtin)});
    CHECK_OK(served_ready(s));
    CHECK_OK(acquire(s, "sentiment", "", &m));
    assert_int_equal(m->version, 0);
    assert_true(answers_as(m, 1));
    assert_true(served_state(m).production);
    assert_int_equal(strlen(m->sha256), 64);
    served_release(m);
    CHECK_CODE(ST_PRECONDITION, acquire(s, "troll", "", &m));
    CHECK_OK(acquire(s, "sentiment", SERVED_BUILTIN, &m));
    served_release(m);
    testing_promote("sentiment", testing_publish("sentiment", "sentiment", "negative,positive", 2, 2));
    await(s, "sentiment", 2);
    CHECK_CODE(ST_NOT_FOUND, acquire(s, "sentiment", SERVED_BUILTIN, &m));
    served_stop(s);
    free(damaged);
    free(data);
}

static void test_parameters_follow_the_store(void **state)
{
    (void)state;
    struct model_parameters p = model_parameters_default();
    struct served_model *m;
    int64_t end = clock_after_ms(PATIENCE_MS);

    testing_promote("sentiment", testing_publish("sentiment", "sentiment", "negative,positive", 2, 1));
    p.threshold = 0.75;
    CHECK_OK(store_set_parameters(testing_dir, "sentiment", &p));
    struct served *s = start();
    CHECK_OK(acquire(s, "sentiment", "", &m));
    assert_true(served_parameters(m).threshold == 0.75);
    char *path = xasprintf("%s/sentiment/%s", testing_dir, PARAMETERS_FILE);
    CHECK_OK(fs_write_atomic(path, "{\"threshold\": 7}", 16));
    testing_promote("troll", testing_publish("troll", "troll", "normal,troll", 2, 1));
    await(s, "troll", 1); /* so the watcher has been round */
    assert_true(served_parameters(m).threshold == 0.75);
    p.threshold = 0.25;
    CHECK_OK(store_set_parameters(testing_dir, "sentiment", &p));
    while (served_parameters(m).threshold != 0.25 && clock_now() < end)
        clock_sleep_ms(1);
    assert_true(served_state(m).parameters.threshold == 0.25);
    free(path);
    served_release(m);
    served_stop(s);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, testing_setup, testing_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_without_a_model),
        TEST(test_a_frozen_service_waits_for_its_watcher_and_serves_on),
        TEST(test_production_is_served_from_the_start),
        TEST(test_the_first_model_comes_later),
        TEST(test_a_held_model_outlives_its_service),
        TEST(test_no_call_notices_a_swap),
        TEST(test_a_damaged_version_never_serves),
        TEST(test_a_model_of_another_task_never_serves),
        TEST(test_pointers_to_nowhere_change_nothing),
        TEST(test_both_pointers_serve_by_name_and_number),
        TEST(test_pointers_move_over_versions_that_are_loaded),
        TEST(test_a_damaged_candidate_takes_the_older_one_with_it),
        TEST(test_versions_are_loaded_and_unloaded_by_number),
        TEST(test_loads_are_bounded),
        TEST(test_an_unload_waits_for_running_calls),
        TEST(test_the_builtin_model_serves_until_there_is_another),
        TEST(test_parameters_follow_the_store),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
