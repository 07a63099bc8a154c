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
    const struct served_config config = {testing_dir, 10, first, NULL};

    n_first = 0;
    served_start(&s, &config);
    return s;
}

/* The version in service; 0: none. */
static uint64_t version_of(struct served *s, const char *task)
{
    struct served_model *m;
    uint64_t version = 0;

    if (!served_acquire(s, task, &m).code)
        version = m->version;
    served_release(m);
    return version;
}

static void await(struct served *s, const char *task, uint64_t version)
{
    int64_t end = clock_after_ms(20000);

    while (version_of(s, task) != version) {
        if (clock_now() > end)
            fail_msg("%s: version %" PRIu64 " is not in service after 20 s", task, version);
        clock_sleep_ms(1);
    }
}

static double loads(const char *task, const char *result)
{
    return series_value(metric_series(metric_counter("bloginfer_model_loads_total", "", "task,result"), task, result));
}

static void await_refused(const char *task, double before)
{
    int64_t end = clock_after_ms(20000);

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
    struct nn_workspace *ws = workspaces_take(m->workspaces);
    float probs[2];

    nn_predict(ws, m->classifier->params, &example, 1, probs);
    workspaces_give(m->workspaces, ws);
    return fabsf(probs[1] - testing_prob(mark)) < 1e-4f;
}

static void test_without_a_model(void **state)
{
    (void)state;
    struct served *s = start();
    struct served_model *m;

    CHECK_CODE(ST_PRECONDITION, served_acquire(s, "sentiment", &m));
    CHECK_CODE(ST_PRECONDITION, served_acquire(s, "troll", &m));
    CHECK_CODE(ST_NOT_FOUND, served_acquire(s, "weather", &m));
    CHECK_CODE(ST_INVALID, served_acquire(s, "../etc", &m));
    CHECK_CODE(ST_PRECONDITION, served_ready(s));
    testing_publish("weather", "weather", "dry,wet", 2, 1); /* a candidate at best */
    int64_t end = clock_after_ms(20000);
    while (served_acquire(s, "weather", &m).code == ST_NOT_FOUND && clock_now() < end)
        clock_sleep_ms(1);
    CHECK_CODE(ST_PRECONDITION, served_acquire(s, "weather", &m));
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
    const struct served_config config = {testing_dir, 10, slow_first, &stage};
    struct served *s;

    (void)state;
    served_start(&s, &config);
    testing_promote("sentiment", testing_publish("sentiment", "sentiment", "negative,positive", 2, 1));
    for (int64_t end = clock_after_ms(20000); !atomic_load(&stage) && clock_now() < end;)
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
    struct served_model *m, *all[STORE_MAX_TASKS];

    testing_publish("sentiment", "sentiment", "negative,positive", 2, 1);
    testing_promote("sentiment", testing_publish("sentiment", "sentiment", "negative,positive", 2, 2));
    testing_promote("troll", testing_publish("troll", "troll", "normal,troll", 2, 1));
    struct served *s = start();
    assert_int_equal(n_first, 2);
    CHECK_OK(served_ready(s));
    CHECK_OK(served_acquire(s, "sentiment", &m));
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
    CHECK_OK(served_acquire(s, "sentiment", &held));
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
        c->n_bad += served_acquire(c->s, "sentiment", &m).code || !answers_as(m, m->version);
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

/* Points production at a version by hand, past the store's own checks. */
static void force_pointer(const char *task, const char *text)
{
    char *path = xasprintf("%s/%s/production", testing_dir, task);

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
    force_pointer("sentiment", "2\n");
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
    CHECK_CODE(ST_PRECONDITION, served_acquire(s, "troll", &m));
    served_stop(s);
}

static void test_pointers_to_nowhere_change_nothing(void **state)
{
    (void)state;
    double before = loads("sentiment", "refused");

    testing_promote("sentiment", testing_publish("sentiment", "sentiment", "negative,positive", 2, 1));
    struct served *s = start();
    force_pointer("sentiment", "77\n");
    await_refused("sentiment", before);
    assert_int_equal(version_of(s, "sentiment"), 1);
    force_pointer("sentiment", "nonsense");
    CHECK_OK(fs_remove_tree(testing_dir));
    CHECK_OK(fs_mkdirs(testing_dir));
    testing_promote("troll", testing_publish("troll", "troll", "normal,troll", 2, 1));
    await(s, "troll", 1); /* so the watcher has been round */
    assert_int_equal(version_of(s, "sentiment"), 1);
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
