/* detector_test.c - pictures in, objects out, on the small network and, where their weights are, on the real ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "metrics/metrics.h"
#include "nn/nn.h"
#include "testing.h"

#include <math.h>
#include <unistd.h>

#include <cmocka.h>

#define DOG       "/usr/share/darknet/data/dog.jpg"
#define N_THREADS 4

static char *folder;
static struct detector *small; /* two threads; opened once, since each opening asks darknet */

static struct detector *open_detector(const struct detector_config *config)
{
    struct detector *d;

    or_die(detector_open(&d, config));
    return d;
}

static double images_with(const char *result)
{
    return series_value(
        metric_series(metric_counter("bloginfer_detector_images_total", "", "model,result"), "small", result));
}

static void test_a_picture(void **state)
{
    struct detection found;
    size_t size;
    uint8_t *file = testing_picture(300, 200, &size);
    double before = images_with("ok");
    (void)state;
    assert_int_equal(testing_detect(small, "", file, size, 0.05f, CLOCK_NEVER, &found).code, ST_OK);
    assert_int_equal(found.width, 300);
    assert_int_equal(found.height, 200);
    assert_true(found.n_objects > 0); /* random weights see something everywhere */
    for (size_t i = 0; i < found.n_objects; i++) {
        const struct box_object *o = &found.objects[i];
        assert_true(o->confidence >= 0.05f && (i == 0 || o->confidence <= o[-1].confidence));
        assert_true(o->left >= 0 && o->left + o->width <= 300.01f && o->top >= 0 && o->top + o->height <= 200.01f);
    }
    assert_true(images_with("ok") == before + 1);
    assert_int_equal(testing_detect(small, "small", file, size, 0, CLOCK_NEVER, &found).code, ST_OK);
    assert_int_equal(testing_detect(small, "large", file, size, 0, CLOCK_NEVER, &found).code, ST_NOT_FOUND);
    assert_int_equal(testing_detect(small, "", file, size / 2, 0, CLOCK_NEVER, &found).code, ST_INVALID);
    free(file);
}

static void test_without_a_model(void **state)
{
    struct detector_config config = testing_config(folder, "absent", 1);
    struct detector *d = open_detector(&config);
    struct detection found;
    (void)state;
    struct status st = testing_detect(d, "", (const uint8_t *)"x", 1, 0, CLOCK_NEVER, &found);
    assert_int_equal(st.code, ST_PRECONDITION);
    assert_non_null(strstr(st.msg, "the detector has no model: absent.cfg is missing; ./bloginfer fetch"));
    assert_int_equal(models_ready(detector_models(d)).code, ST_PRECONDITION);
    detector_close(d);
}

static void test_wrong_settings(void **state)
{
    struct detector_config config = testing_config(folder, "small", 1);
    struct detector *d;
    (void)state;
    config.models.serve.engine = "gpu";
    assert_int_equal(detector_open(&d, &config).code, ST_INVALID);
    config = testing_config(folder, "small", 0);
    assert_int_equal(detector_open(&d, &config).code, ST_INVALID);
    config = testing_config(folder, "small", 1);
    config.queue.stages.nms = 0;
    assert_int_equal(detector_open(&d, &config).code, ST_INVALID);
}

static void assert_same_objects(const struct detection *a, const struct detection *b)
{
    assert_int_equal(a->n_objects, b->n_objects);
    for (size_t i = 0; i < a->n_objects; i++)
        assert_true(fabsf(a->objects[i].confidence - b->objects[i].confidence) < 1e-3f);
}

/* darknet itself can serve, and says the same. */
static void test_darknet_as_the_engine(void **state)
{
    struct detector_config config = testing_config(folder, "small", 2);
    struct detection a, b;
    size_t size;
    uint8_t *file = testing_picture(300, 200, &size);
    (void)state;
    config.models.serve.engine = "darknet";
    struct detector *theirs = open_detector(&config);
    if (models_ready(detector_models(theirs)).code)
        fail_msg("%s", models_ready(detector_models(theirs)).msg);
    assert_int_equal(testing_detect(small, "", file, size, 0.2f, CLOCK_NEVER, &a).code, ST_OK);
    assert_int_equal(testing_detect(theirs, "", file, size, 0.2f, CLOCK_NEVER, &b).code, ST_OK);
    assert_same_objects(&a, &b);
    free(file);
    detector_close(theirs);
}

struct job {
    const uint8_t *file;
    size_t size;
    const struct detection *want;
    int n_wrong;
};

static void *run(void *arg)
{
    struct job *j = arg;
    struct detection found;

    for (int i = 0; i < 30; i++) {
        struct status st = testing_detect(small, "", j->file, j->size, 0.05f, CLOCK_NEVER, &found);
        j->n_wrong += st.code || found.n_objects != j->want->n_objects ||
                      memcmp(found.objects, j->want->objects, found.n_objects * sizeof *found.objects) != 0;
    }
    return NULL;
}

/* More callers than threads, each with its own picture: everybody gets his own answer. */
static void test_many_callers(void **state)
{
    struct detection want[N_THREADS];
    struct job jobs[N_THREADS];
    pthread_t threads[N_THREADS];
    uint8_t *files[N_THREADS];
    (void)state;
    for (int i = 0; i < N_THREADS; i++) {
        size_t size;
        files[i] = testing_picture(100 + 90 * i, 200 - 20 * i, &size);
        assert_int_equal(testing_detect(small, "", files[i], size, 0.05f, CLOCK_NEVER, &want[i]).code, ST_OK);
        jobs[i] = (struct job){files[i], size, &want[i], 0};
    }
    for (int i = 0; i < N_THREADS; i++)
        threads[i] = thread_start("detect", 0, run, &jobs[i]);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < N_THREADS; i++) {
        assert_int_equal(jobs[i].n_wrong, 0);
        free(files[i]);
    }
}

/* ---- real weights ---- */

static char *real_path(void)
{
    const char *models = getenv("BLOGINFER_MODELS"), *data = getenv("BLOGINFER_DATA"), *home = getenv("BLOGINFER_HOME");

    return xasprintf("%s:%s/models:%s/data/models:%s/var/data/models:/usr/share/darknet/cfg:/usr/share/darknet/data",
                     models ? models : "", data ? data : "", home ? home : "", BLOGINFER_SOURCE_DIR);
}

static bool saw(char *const *labels, const struct detection *found, const char *label)
{
    for (size_t i = 0; i < found->n_objects; i++)
        if (strcmp(labels[found->objects[i].class_id], label) == 0)
            return true;
    return false;
}

static void find_the_dog(const char *name)
{
    char *path = real_path(), *file;
    struct detector_config config = testing_config(path, name, 1);
    struct detection found;
    struct served *s;
    size_t size;

    config.models.serve.engine = "auto";
    struct detector *d = open_detector(&config);
    struct status st = models_ready(detector_models(d));
    if (strstr(st.msg, "missing")) {
        print_message("skipped: %s (looked in BLOGINFER_MODELS, BLOGINFER_DATA/models, BLOGINFER_HOME/data/models)\n",
                      st.msg);
        detector_close(d);
        free(path);
        skip();
    }
    if (st.code)
        fail_msg("%s", st.msg);
    or_die(models_acquire(detector_models(d), "", &s));
    or_die(fs_read(DOG, 1 << 24, &file, &size));
    assert_int_equal(testing_detect(d, "", (const uint8_t *)file, size, 0, CLOCK_NEVER, &found).code, ST_OK);
    assert_int_equal(found.width, 768);
    assert_int_equal(found.height, 576);
    assert_true(saw(s->model->labels, &found, "dog"));
    assert_true(saw(s->model->labels, &found, "bicycle"));
    assert_true(saw(s->model->labels, &found, "car") || saw(s->model->labels, &found, "truck"));
    served_release(s);
    free(file);
    detector_close(d);
    free(path);
}

static void test_yolov3_tiny_finds_the_dog(void **state)
{
    (void)state;
    find_the_dog("yolov3-tiny");
}

static void test_yolo_fastest_finds_the_dog(void **state)
{
    (void)state;
    find_the_dog("yolo-fastest-1.1-xl");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_picture),
        cmocka_unit_test(test_without_a_model),
        cmocka_unit_test(test_wrong_settings),
        cmocka_unit_test(test_yolov3_tiny_finds_the_dog),
        cmocka_unit_test(test_yolo_fastest_finds_the_dog),
        cmocka_unit_test(test_many_callers),
        cmocka_unit_test(test_darknet_as_the_engine), /* last: it brings OpenCV into this process */
    };
    (void)argc;
    nn_setup_blas(argv);
    folder = small_folder();
    struct detector_config config = testing_config(folder, "small", 2);
    small = open_detector(&config);
    or_die(models_ready(detector_models(small)));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    detector_close(small);
    or_die(fs_remove_tree(folder));
    free(folder);
    return failed;
}
