/* queue_test.c - who is let in, in which order, and what is dropped; on the small model. A worker is held by a job whose
 * done() does not return. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "nn/nn.h"
#include "testing.h"

#include <math.h>
#include <sched.h>

#include <cmocka.h>

static char *folder;
static struct served *model;
static uint8_t *file;
static size_t file_size;

static double value(const char *reason)
{
    return series_value(metric_series(metric_counter("bloginfer_detector_dropped_total", "", "reason"), reason));
}

static double depth(void)
{
    return series_value(metric_series(metric_gauge("bloginfer_detector_queue_images", "", NULL)));
}

struct fixture {
    struct queue *queue;
    struct testing_job holder;
};

static struct status submit(struct fixture *f, struct testing_job *t)
{
    int64_t retry_ms = -1;

    t->job.model = served_acquire(model);
    struct status st = queue_submit(f->queue, &t->job, &retry_ms);
    if (st.code)
        served_release(model);
    if (st.code == ST_EXHAUSTED)
        assert_in_range(retry_ms, 10, 10000);
    return st;
}

/* One worker, which is busy until let_go(). */
static void start(struct fixture *f, struct queue_config config)
{
    config.n_workers = 1;
    config.max_bytes = config.max_bytes ? config.max_bytes : 1 << 20;
    config.stages = (struct stages_config){1 << 20, 1000000, RESIZE_PLAIN, 0.45f};
    f->queue = queue_start(&config);
    testing_job_init(&f->holder, file, file_size);
    f->holder.may_go_on = false;
    atomic_store(&model->mean_ns, 0);
    assert_int_equal(submit(f, &f->holder).code, ST_OK);
    testing_job_wait(&f->holder);
    atomic_store(&model->mean_ns, 0);
}

static void stop(struct fixture *f)
{
    testing_job_go_on(&f->holder);
    queue_stop(f->queue);
    assert_true(depth() == 0);
    assert_int_equal(f->holder.st.code, ST_OK);
    assert_int_equal(atomic_load(&model->refs), 1); /* all were given back */
}

static const struct queue_config production = {.max_images = 3, .max_wait_ms = 60000};
static const struct queue_config experiment = {.experiment = true, .max_images = 1, .max_wait_ms = 1};

static void test_first_come_first_served(void **state)
{
    struct testing_job jobs[3];
    struct fixture f;
    (void)state;
    start(&f, production);
    for (int i = 0; i < 3; i++) {
        testing_job_init(&jobs[i], file, file_size);
        assert_int_equal(submit(&f, &jobs[i]).code, ST_OK);
    }
    assert_true(depth() == 3);
    stop(&f);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(jobs[i].st.code, ST_OK);
        assert_true(jobs[i].found.n_objects > 0 && jobs[i].found.width == 300);
        assert_true(jobs[i].order > (i ? jobs[i - 1].order : f.holder.order));
        for (int k = 0; k < N_STAGES; k++)
            assert_true(jobs[i].found.seconds[k] > 0);
    }
}

static void test_a_full_queue_refuses(void **state)
{
    struct testing_job jobs[4];
    struct fixture f;
    double before = value("full");
    (void)state;
    start(&f, production);
    for (int i = 0; i < 4; i++) {
        testing_job_init(&jobs[i], file, file_size);
        assert_int_equal(submit(&f, &jobs[i]).code, i < 3 ? ST_OK : ST_EXHAUSTED);
    }
    assert_true(value("full") == before + 1);
    stop(&f);
}

static void test_bytes_are_bounded(void **state)
{
    const struct queue_config *profiles[] = {&production, &experiment};
    (void)state;
    for (size_t p = 0; p < COUNT_OF(profiles); p++) {
        struct testing_job jobs[2];
        struct queue_config config = *profiles[p];
        struct fixture f;
        config.max_bytes = 1000;
        start(&f, config);
        testing_job_init(&jobs[0], file, file_size);
        testing_job_init(&jobs[1], file, file_size);
        jobs[0].job.held_bytes = 5000; /* an empty queue takes it whatever its size */
        jobs[1].job.held_bytes = 10;
        assert_int_equal(submit(&f, &jobs[0]).code, ST_OK);
        assert_int_equal(submit(&f, &jobs[1]).code, ST_EXHAUSTED);
        stop(&f);
    }
}

static void test_what_would_come_too_late_is_refused_at_once(void **state)
{
    struct testing_job jobs[3];
    struct fixture f;
    double before = value("wait");
    (void)state;
    start(&f, production);
    atomic_store(&model->mean_ns, 10 * CLOCK_SECOND);
    for (int i = 0; i < 3; i++)
        testing_job_init(&jobs[i], file, file_size);
    jobs[0].job.deadline = clock_now() + 15 * CLOCK_SECOND; /* nobody ahead but the holder, of unknown length */
    assert_int_equal(submit(&f, &jobs[0]).code, ST_OK);
    jobs[1].job.deadline = clock_now() + 15 * CLOCK_SECOND; /* 10 seconds wait ahead of it */
    assert_int_equal(submit(&f, &jobs[1]).code, ST_EXHAUSTED);
    jobs[1].job.deadline = clock_now() + 30 * CLOCK_SECOND;
    assert_int_equal(submit(&f, &jobs[1]).code, ST_OK);
    jobs[2].job.deadline = clock_now() + 25 * CLOCK_SECOND;
    assert_int_equal(submit(&f, &jobs[2]).code, ST_EXHAUSTED);
    assert_true(value("wait") == before + 2);
    stop(&f);
}

static void test_calls_without_a_deadline_get_one(void **state)
{
    struct queue_config config = production;
    struct testing_job job;
    struct fixture f;
    (void)state;
    config.max_wait_ms = 5000;
    start(&f, config);
    testing_job_init(&job, file, file_size);
    int64_t before = clock_now();
    assert_int_equal(submit(&f, &job).code, ST_OK);
    assert_true(job.job.deadline >= before + 5 * CLOCK_SECOND && job.job.deadline <= clock_now() + 5 * CLOCK_SECOND);
    stop(&f);
}

/* However long a picture takes by the last measurement, an idle worker tries: else that would never change. */
static void test_an_idle_worker_takes_what_comes(void **state)
{
    struct testing_job job;
    struct fixture f;
    (void)state;
    start(&f, production);
    testing_job_go_on(&f.holder);
    do {
        atomic_store(&model->mean_ns, 3600 * CLOCK_SECOND);
        testing_job_init(&job, file, file_size);
        job.job.deadline = clock_now() + 60 * CLOCK_SECOND;
    } while (submit(&f, &job).code); /* until the holder's end is seen */
    testing_job_wait(&job);
    assert_int_equal(job.st.code, ST_OK);
    assert_true(atomic_load(&model->mean_ns) < 3600 * CLOCK_SECOND);
    stop(&f);
}

static void test_experiment_refuses_nothing_that_fits(void **state)
{
    struct testing_job jobs[50];
    struct fixture f;
    (void)state;
    start(&f, experiment);
    atomic_store(&model->mean_ns, 3600 * CLOCK_SECOND);
    for (int i = 0; i < 50; i++) {
        testing_job_init(&jobs[i], file, file_size);
        jobs[i].job.held_bytes = 20000;
        jobs[i].job.deadline = i == 49 ? clock_now() + 600 * CLOCK_SECOND : CLOCK_NEVER;
        assert_int_equal(submit(&f, &jobs[i]).code, ST_OK);
    }
    stop(&f);
    for (int i = 0; i < 50; i++)
        assert_int_equal(jobs[i].st.code, ST_OK);
}

static bool gone(void *ctx)
{
    (void)ctx;
    return true;
}

static void test_what_nobody_waits_for_is_not_computed(void **state)
{
    struct testing_job left, late, fine;
    struct fixture f;
    double cancelled = value("cancelled"), deadline = value("deadline");
    (void)state;
    start(&f, experiment);
    testing_job_init(&left, file, file_size);
    left.job.gone = gone;
    testing_job_init(&late, file, file_size);
    late.job.deadline = clock_now() + CLOCK_MS;
    testing_job_init(&fine, file, file_size);
    assert_int_equal(submit(&f, &left).code, ST_OK);
    assert_int_equal(submit(&f, &late).code, ST_OK);
    assert_int_equal(submit(&f, &fine).code, ST_OK);
    while (clock_now() < late.job.deadline)
        sched_yield();
    stop(&f);
    assert_int_equal(left.st.code, ST_CANCELLED);
    assert_int_equal(late.st.code, ST_DEADLINE);
    assert_int_equal(fine.st.code, ST_OK);
    assert_true(left.found.seconds[STAGE_DECODE] == 0 && late.found.seconds[STAGE_DECODE] == 0);
    assert_true(value("cancelled") == cancelled + 1 && value("deadline") == deadline + 1);
}

static bool gone_after_some(void *ctx)
{
    struct testing_job *t = ctx;

    return t->order++ >= 3; /* order is not used yet */
}

static void test_a_caller_may_leave_between_two_stages(void **state)
{
    struct testing_job job;
    struct fixture f;
    (void)state;
    start(&f, experiment);
    testing_job_init(&job, file, file_size);
    job.job.gone = gone_after_some;
    assert_int_equal(submit(&f, &job).code, ST_OK);
    stop(&f);
    assert_int_equal(job.st.code, ST_CANCELLED);
    assert_true(job.found.seconds[STAGE_BOXES] == 0);
}

static void test_a_full_queue_is_swept_first(void **state)
{
    struct testing_job dead[3], fine;
    struct fixture f;
    (void)state;
    start(&f, production);
    for (int i = 0; i < 3; i++) {
        testing_job_init(&dead[i], file, file_size);
        dead[i].job.gone = gone;
        assert_int_equal(submit(&f, &dead[i]).code, ST_OK);
    }
    testing_job_init(&fine, file, file_size);
    assert_int_equal(submit(&f, &fine).code, ST_OK); /* and they were told before it returned */
    for (int i = 0; i < 3; i++)
        assert_int_equal(dead[i].st.code, ST_CANCELLED);
    stop(&f);
    assert_int_equal(fine.st.code, ST_OK);
}

static void test_what_is_wrong_with_a_picture(void **state)
{
    static const float thresholds[] = {-1, 0.0001f, 1.5f, (float)NAN, (float)INFINITY};
    struct testing_job cut, big;
    struct fixture f;
    size_t size;
    uint8_t *large = testing_picture(1100, 1000, &size);
    (void)state;
    start(&f, production);
    testing_job_init(&cut, file, file_size / 2);
    testing_job_init(&big, large, size);
    assert_int_equal(submit(&f, &cut).code, ST_OK);
    assert_int_equal(submit(&f, &big).code, ST_OK);
    for (size_t i = 0; i < COUNT_OF(thresholds); i++) {
        struct testing_job job;
        testing_job_init(&job, file, file_size);
        job.job.threshold = thresholds[i];
        assert_int_equal(submit(&f, &job).code, ST_INVALID);
    }
    stop(&f);
    assert_int_equal(cut.st.code, ST_INVALID);
    assert_int_equal(big.st.code, ST_INVALID);
    assert_non_null(strstr(big.st.msg, "1100x1000"));
    free(large);
}

static void test_bytes_by_the_memory_limit(void **state)
{
    struct queue_config config = {
        .n_workers = 1, .experiment = true, .stages = {1 << 20, 1000000, RESIZE_PLAIN, 0.45f}};
    (void)state;
    queue_stop(queue_start(&config));
    double limit = series_value(metric_series(metric_gauge("bloginfer_detector_queue_limit_bytes", "", NULL)));
    assert_true(limit >= 16 << 20 && limit <= (double)memory_limit() / 2);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_come_first_served),
        cmocka_unit_test(test_a_full_queue_refuses),
        cmocka_unit_test(test_bytes_are_bounded),
        cmocka_unit_test(test_what_would_come_too_late_is_refused_at_once),
        cmocka_unit_test(test_calls_without_a_deadline_get_one),
        cmocka_unit_test(test_an_idle_worker_takes_what_comes),
        cmocka_unit_test(test_experiment_refuses_nothing_that_fits),
        cmocka_unit_test(test_what_nobody_waits_for_is_not_computed),
        cmocka_unit_test(test_a_caller_may_leave_between_two_stages),
        cmocka_unit_test(test_a_full_queue_is_swept_first),
        cmocka_unit_test(test_what_is_wrong_with_a_picture),
        cmocka_unit_test(test_bytes_by_the_memory_limit),
    };
    (void)argc;
    nn_setup_blas(argv);
    folder = small_folder();
    or_die(served_load(
        &model, "small",
        &(struct served_config){.path = folder, .engine = "openblas", .precision = "auto", .n_workers = 1}, NULL));
    file = testing_picture(300, 200, &file_size);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    served_release(model);
    free(file);
    or_die(fs_remove_tree(folder));
    free(folder);
    return failed;
}
