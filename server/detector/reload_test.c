/* reload_test.c - files change under a detector that serves. The check is a process of its own: this very program, as the
 * detector's is the detector. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "metrics/metrics.h"
#include "nn/nn.h"
#include "reload.h"
#include "testing.h"

#include <math.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

static char *folder;

struct fixture {
    struct detector *detector;
    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t cond;
    int n_changes;
};

static void changed(void *ctx)
{
    struct fixture *f = ctx;

    pthread_mutex_lock(&f->mu);
    f->n_changes++;
    pthread_cond_broadcast(&f->cond);
    pthread_mutex_unlock(&f->mu);
}

/* Until so many changes were told in all. */
static void await(struct fixture *f, int n)
{
    pthread_mutex_lock(&f->mu);
    while (f->n_changes < n)
        pthread_cond_wait(&f->cond, &f->mu);
    pthread_mutex_unlock(&f->mu);
}

static void start(struct fixture *f, const char *model, const char *others, int64_t poll_ms)
{
    struct detector_config config = testing_config(folder, model, 2);

    *f = (struct fixture){.n_changes = 0};
    pthread_mutex_init(&f->mu, NULL);
    cond_init_monotonic(&f->cond);
    config.models.others = others;
    config.poll_ms = poll_ms;
    config.changed = changed;
    config.ctx = f;
    or_die(detector_open(&f->detector, &config));
}

static int setup(void **state)
{
    (void)state;
    folder = small_folder();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    or_die(fs_remove_tree(folder));
    free(folder);
    return 0;
}

static void put(const char *name, const void *data, size_t size)
{
    char *path = xasprintf("%s/%s", folder, name);
    or_die(fs_write_atomic(path, data, size));
    free(path);
}

/* Other weights: each but the header a little smaller. */
static void put_weights(const char *name)
{
    struct cfg *c = small_cfg_parse();
    size_t size;
    uint8_t *file = small_weights(c, 2, &size);
    float *numbers = (float *)(void *)(file + 20);

    for (size_t i = 0; i < c->n_params; i++)
        numbers[i] *= 0.875f;
    put(name, file, size);
    free(file);
    free(c);
}

static struct served *acquire(struct fixture *f, const char *name)
{
    struct served *s = NULL;
    struct status st = models_acquire(detector_models(f->detector), name, &s);
    if (st.code)
        fail_msg("%s", st.msg);
    return s;
}

static struct status problem(struct fixture *f)
{
    struct models_entry e = models_get(detector_models(f->detector), 0);
    served_release(e.served);
    return e.problem;
}

/* Pictures on their way through two threads while the model is replaced under them, some of them twice. */
static void test_new_files_take_over(void **state)
{
    struct testing_job jobs[40];
    struct fixture f;
    size_t size;
    uint8_t *file = testing_picture(300, 200, &size);
    int64_t retry_ms;
    (void)state;
    start(&f, "small", "", 10);
    struct served *old = acquire(&f, "");
    put_weights("small.weights");
    for (int i = 0; i < 20; i++) {
        testing_job_init(&jobs[i], file, size);
        assert_int_equal(detector_submit(f.detector, "", &jobs[i].job, &retry_ms).code, ST_OK);
    }
    await(&f, 1);
    struct served *now = acquire(&f, "");
    assert_ptr_not_equal(now, old);
    assert_string_not_equal(now->model->sha256, old->model->sha256);
    assert_true(now->forward_seconds > 0);
    for (int i = 20; i < 40; i++) {
        testing_job_init(&jobs[i], file, size);
        assert_int_equal(detector_submit(f.detector, "", &jobs[i].job, &retry_ms).code, ST_OK);
    }
    for (int i = 0; i < 40; i++) {
        testing_job_wait(&jobs[i]);
        assert_int_equal(jobs[i].st.code, ST_OK);
    }
    served_release(now);
    detector_freeze(f.detector);
    assert_int_equal(f.n_changes, 1);
    detector_close(f.detector);
    assert_int_equal(atomic_load(&old->refs), 1);
    served_release(old);
    free(file);
}

static void test_a_bad_file_changes_nothing_but_the_description(void **state)
{
    struct fixture f;
    char *path = xasprintf("%s/small.weights", folder), *good;
    size_t size;
    (void)state;
    or_die(fs_read(path, 1 << 24, &good, &size));
    start(&f, "small", "", 10);
    struct served *old = acquire(&f, "");
    put("small.weights", good, size - 1);
    await(&f, 1);
    assert_int_equal(problem(&f).code, ST_INVALID);
    assert_non_null(strstr(problem(&f).msg, "small.weights"));
    assert_int_equal(models_ready(detector_models(f.detector)).code, ST_OK);
    ((float *)(void *)(good + 20))[100] = NAN;
    put("small.weights", good, size);
    await(&f, 2);
    assert_non_null(strstr(problem(&f).msg, "finite"));
    unlink(path);
    await(&f, 3);
    assert_int_equal(problem(&f).code, ST_NOT_FOUND);
    struct served *still = acquire(&f, "");
    assert_ptr_equal(still, old);
    served_release(still);
    put_weights("small.weights");
    await(&f, 4);
    assert_int_equal(problem(&f).code, ST_OK);
    served_release(old);
    detector_close(f.detector);
    free(good);
    free(path);
}

/* The content counts, not the time of the file; but what was wrong in between is forgotten. */
static void test_the_same_content_again(void **state)
{
    struct fixture f;
    char *path = xasprintf("%s/small.cfg", folder);
    (void)state;
    start(&f, "small", "", 10);
    struct served *old = acquire(&f, "");
    put("small.cfg", small_cfg, strlen(small_cfg)); /* a new inode and a new time */
    put("small.names", "rat\ncow\nhen\n", 12);
    await(&f, 1);
    assert_non_null(strstr(problem(&f).msg, "3 names"));
    put("small.names", "cat\ndog\n", 8);
    await(&f, 2);
    assert_int_equal(problem(&f).code, ST_OK);
    struct served *still = acquire(&f, "");
    assert_ptr_equal(still, old);
    served_release(still);
    served_release(old);
    detector_close(f.detector);
    free(path);
}

static void test_a_model_appears(void **state)
{
    struct fixture f;
    struct served *s = NULL;
    (void)state;
    start(&f, "later", "all", 10);
    assert_int_equal(models_ready(detector_models(f.detector)).code, ST_PRECONDITION);
    put("later.cfg", small_cfg, strlen(small_cfg));
    put("later.names", "rat\ncow\n", 8);
    put_weights("later.weights");
    put("third.cfg", small_cfg, strlen(small_cfg));
    put("third.names", "rat\ncow\n", 8);
    put_weights("third.weights");
    for (int n = 1; models_acquire(detector_models(f.detector), "third", &s).code; n++)
        await(&f, n);
    assert_string_equal(s->model->labels[1], "cow");
    served_release(s);
    served_release(acquire(&f, "later"));
    assert_int_equal(models_ready(detector_models(f.detector)).code, ST_OK);
    detector_close(f.detector);
}

/* SIGHUP does not wait for the next look, and a look of its own is enough. */
static void test_at_once_when_asked(void **state)
{
    struct fixture f;
    (void)state;
    start(&f, "small", "", 3600000);
    struct served *old = acquire(&f, "");
    put_weights("small.weights");
    detector_reload(f.detector);
    await(&f, 1);
    struct served *now = acquire(&f, "");
    assert_ptr_not_equal(now, old);
    served_release(now);
    served_release(old);
    detector_close(f.detector); /* does not wait an hour */
}

static void test_a_check_says_what_is_wrong(void **state)
{
    const struct served_config config = {.path = folder, .engine = "openblas", .precision = "auto", .n_workers = 1};
    struct served_check checked;
    int never = eventfd(0, EFD_CLOEXEC), stop = eventfd(1, EFD_CLOEXEC);
    (void)state;
    struct status st = check_run(&checked, "absent", &config, never);
    assert_int_equal(st.code, ST_NOT_FOUND);
    assert_string_equal(st.msg, "absent.cfg is missing");
    assert_int_equal(check_run(&checked, "small", &config, never).code, ST_OK);
    assert_string_equal(checked.engine, "openblas");
    assert_int_equal(strlen(checked.digest), 64);
    assert_int_equal(check_run(&checked, "small", &config, stop).code, ST_CANCELLED);
    close(never);
    close(stop);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_new_files_take_over),    TEST(test_a_bad_file_changes_nothing_but_the_description),
        TEST(test_the_same_content_again), TEST(test_a_model_appears),
        TEST(test_at_once_when_asked),     TEST(test_a_check_says_what_is_wrong),
    };
    int exit_code;

    if (check_main(argc, argv, &exit_code))
        return exit_code;
    nn_setup_blas(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
