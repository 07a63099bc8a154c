/* detector_test.c - pictures in, objects out, on the small network and, where their weights are, on the real ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "detector.h"
#include "metrics/metrics.h"
#include "nn/nn.h"
#include "image/picture.h"
#include "network/small_model.h"

#include <math.h>
#include <unistd.h>

#include <cmocka.h>

#define DOG       "/usr/share/darknet/data/dog.jpg"
#define N_THREADS 4

static char *folder;
static struct detector *small; /* two engines; opened once, since each opening asks darknet */

static struct detector_config small_config(int64_t n_engines)
{
    return (struct detector_config){.model = "small",
                                    .path = folder,
                                    .engine = "openblas",
                                    .n_engines = n_engines,
                                    .max_image_bytes = 1 << 20,
                                    .max_pixels = 1000000};
}

static struct detector *open_small(int64_t n_engines)
{
    struct detector_config config = small_config(n_engines);
    struct detector *d;

    or_die(detector_open(&d, &config));
    or_die(detector_ready(d));
    return d;
}

static uint8_t *small_picture(int width, int height, size_t *size)
{
    return picture_jpeg(&(struct picture_jpeg){width, height, 3, false, 0}, size);
}

static double images_with(const char *result)
{
    return series_value(metric_series(metric_counter("bloginfer_detector_images_total", "", "result"), result));
}

static void test_a_picture(void **state)
{
    struct detector *d = small;
    struct detection found;
    size_t size;
    uint8_t *file = small_picture(300, 200, &size);
    double before = images_with("ok");
    (void)state;
    assert_int_equal(detector_detect(d, file, size, 0.05f, CLOCK_NEVER, &found).code, ST_OK);
    assert_int_equal(found.width, 300);
    assert_int_equal(found.height, 200);
    assert_true(found.n_objects > 0); /* random weights see something everywhere */
    for (size_t i = 0; i < found.n_objects; i++) {
        const struct box_object *o = &found.objects[i];
        assert_true(o->confidence >= 0.05f && (i == 0 || o->confidence <= o[-1].confidence));
        assert_true(o->left >= 0 && o->left + o->width <= 300.01f && o->top >= 0 && o->top + o->height <= 200.01f);
    }
    assert_true(images_with("ok") == before + 1);
    free(file);
}

static void test_what_is_refused(void **state)
{
    static const float thresholds[] = {-1, 0.0001f, 1.5f, NAN, INFINITY};
    struct detector *d = small;
    struct detection found;
    size_t size;
    uint8_t *file = small_picture(1100, 1000, &size);
    (void)state;
    struct status st = detector_detect(d, file, size, 0, CLOCK_NEVER, &found);
    assert_int_equal(st.code, ST_INVALID);
    assert_non_null(strstr(st.msg, "1100x1000"));
    free(file);
    file = small_picture(100, 100, &size);
    for (size_t i = 0; i < COUNT_OF(thresholds); i++)
        assert_int_equal(detector_detect(d, file, size, thresholds[i], CLOCK_NEVER, &found).code, ST_INVALID);
    assert_int_equal(detector_detect(d, file, size / 2, 0, CLOCK_NEVER, &found).code, ST_INVALID);
    assert_int_equal(detector_detect(d, file, size, 0, clock_now() - 1, &found).code, ST_DEADLINE);
    assert_int_equal(detector_detect(d, file, size, 0, CLOCK_NEVER, &found).code, ST_OK); /* and goes on */
    free(file);
}

static void test_threshold_of_the_settings(void **state)
{
    struct detector_config config = small_config(1);
    struct detector *d;
    (void)state;
    config.threshold = 0.4;
    assert_int_equal(detector_open(&d, &config).code, ST_OK);
    assert_true(detector_threshold(d) == 0.4f);
    detector_close(d);
    assert_true(detector_threshold(small) == 0.25f);
}

static void test_without_a_model(void **state)
{
    struct detector_config config = small_config(1);
    struct detection found;
    struct detector *d;
    (void)state;
    config.model = "absent";
    assert_int_equal(detector_open(&d, &config).code, ST_OK);
    assert_null(detector_model(d));
    struct status st = detector_detect(d, (const uint8_t *)"x", 1, 0, CLOCK_NEVER, &found);
    assert_int_equal(st.code, ST_PRECONDITION);
    assert_non_null(strstr(st.msg, "the detector has no model: absent.cfg is missing; ./bloginfer fetch"));
    assert_int_equal(detector_ready(d).code, ST_PRECONDITION);
    detector_close(d);
}

static void test_wrong_settings(void **state)
{
    struct detector_config config = small_config(1);
    struct detector *d;
    (void)state;
    config.engine = "gpu";
    assert_int_equal(detector_open(&d, &config).code, ST_INVALID);
    config = small_config(0);
    assert_int_equal(detector_open(&d, &config).code, ST_INVALID);
}

/* darknet itself can serve, and says the same. */
static void test_darknet_as_the_engine(void **state)
{
    struct detector_config config = small_config(2);
    struct detector *theirs;
    struct detection a, b;
    size_t size;
    uint8_t *file = small_picture(300, 200, &size);
    (void)state;
    config.engine = "darknet";
    assert_int_equal(detector_open(&theirs, &config).code, ST_OK);
    if (detector_ready(theirs).code)
        fail_msg("%s", detector_ready(theirs).msg);
    assert_int_equal(detector_detect(small, file, size, 0.2f, CLOCK_NEVER, &a).code, ST_OK);
    assert_int_equal(detector_detect(theirs, file, size, 0.2f, CLOCK_NEVER, &b).code, ST_OK);
    assert_int_equal(a.n_objects, b.n_objects);
    for (size_t i = 0; i < a.n_objects; i++)
        assert_true(fabsf(a.objects[i].confidence - b.objects[i].confidence) < 1e-3f);
    free(file);
    detector_close(theirs);
}

struct job {
    struct detector *d;
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
        struct status st = detector_detect(j->d, j->file, j->size, 0.05f, CLOCK_NEVER, &found);
        j->n_wrong += st.code || found.n_objects != j->want->n_objects ||
                      memcmp(found.objects, j->want->objects, found.n_objects * sizeof *found.objects) != 0;
    }
    return NULL;
}

/* More threads than engines, each with its own picture: everybody gets his own answer. */
static void test_many_threads(void **state)
{
    struct detector *d = small;
    struct detection want[N_THREADS];
    struct job jobs[N_THREADS];
    pthread_t threads[N_THREADS];
    uint8_t *files[N_THREADS];
    (void)state;
    for (int i = 0; i < N_THREADS; i++) {
        size_t size;
        files[i] = small_picture(100 + 90 * i, 200 - 20 * i, &size);
        assert_int_equal(detector_detect(d, files[i], size, 0.05f, CLOCK_NEVER, &want[i]).code, ST_OK);
        jobs[i] = (struct job){d, files[i], size, &want[i], 0};
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

static bool saw(const struct detector *d, const struct detection *found, const char *label)
{
    for (size_t i = 0; i < found->n_objects; i++)
        if (strcmp(detector_model(d)->labels[found->objects[i].class_id], label) == 0)
            return true;
    return false;
}

static void find_the_dog(const char *name)
{
    char *path = real_path(), *file;
    struct detector_config config = {.model = name,
                                     .path = path,
                                     .engine = "auto",
                                     .n_engines = 1,
                                     .max_image_bytes = 10 << 20,
                                     .max_pixels = 40000000};
    struct detection found;
    struct detector *d;
    size_t size;

    assert_int_equal(detector_open(&d, &config).code, ST_OK);
    free(path);
    if (strstr(detector_ready(d).msg, "missing")) {
        print_message("skipped: %s (looked in BLOGINFER_MODELS, BLOGINFER_DATA/models, BLOGINFER_HOME/data/models)\n",
                      detector_ready(d).msg);
        detector_close(d);
        skip();
    }
    if (detector_ready(d).code)
        fail_msg("%s", detector_ready(d).msg);
    or_die(fs_read(DOG, 1 << 24, &file, &size));
    assert_int_equal(detector_detect(d, (const uint8_t *)file, size, 0, CLOCK_NEVER, &found).code, ST_OK);
    assert_int_equal(found.width, 768);
    assert_int_equal(found.height, 576);
    assert_true(saw(d, &found, "dog"));
    assert_true(saw(d, &found, "bicycle"));
    assert_true(saw(d, &found, "car") || saw(d, &found, "truck"));
    free(file);
    detector_close(d);
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
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_threshold_of_the_settings),
        cmocka_unit_test(test_without_a_model),
        cmocka_unit_test(test_wrong_settings),
        cmocka_unit_test(test_yolov3_tiny_finds_the_dog),
        cmocka_unit_test(test_yolo_fastest_finds_the_dog),
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_darknet_as_the_engine), /* last: it brings OpenCV into this process */
    };
    (void)argc;
    nn_setup_blas(argv);
    folder = small_folder();
    small = open_small(2);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    detector_close(small);
    or_die(fs_remove_tree(folder));
    free(folder);
    return failed;
}
