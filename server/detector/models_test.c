/* models_test.c - several models by name: which are there, which is the default, and what a replacement leaves alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/isa.h"
#include "models.h"
#include "network/small_model.h"
#include "nn/nn.h"

#include <unistd.h>

#include <cmocka.h>

static char *folder;

/* A second complete model in the folder. */
static void copy_model(const char *to)
{
    static const char *const endings[] = {"cfg", "weights", "names"};

    for (size_t i = 0; i < COUNT_OF(endings); i++) {
        char *from_path = xasprintf("%s/small.%s", folder, endings[i]), *data;
        char *to_path = xasprintf("%s/%s.%s", folder, to, endings[i]);
        size_t size;
        or_die(fs_read(from_path, 1 << 24, &data, &size));
        or_die(fs_write_atomic(to_path, data, size));
        free(data);
        free(to_path);
        free(from_path);
    }
}

static struct models *open_models(const char *model, const char *others)
{
    const struct models_config config = {
        .model = model,
        .others = others,
        .serve = {.path = folder, .engine = "openblas", .precision = "auto", .n_workers = 1}};
    struct models *m;

    or_die(models_open(&m, &config));
    return m;
}

static void assert_serves(struct models *m, const char *name, const char *as)
{
    struct served *s = NULL;

    assert_int_equal(models_acquire(m, name, &s).code, ST_OK);
    assert_string_equal(s->model->name, as);
    served_release(s);
}

static void test_by_name_and_by_default(void **state)
{
    struct models *m = open_models("small", "other,small,,other");
    struct served *s = NULL;
    (void)state;
    assert_int_equal(models_count(m), 2);
    assert_serves(m, "", "small");
    assert_serves(m, NULL, "small");
    assert_serves(m, "small", "small");
    assert_serves(m, "other", "other");
    struct status st = models_acquire(m, "third", &s);
    assert_int_equal(st.code, ST_NOT_FOUND);
    assert_non_null(strstr(st.msg, "no model \"third\": there is small, other"));
    struct models_entry e = models_get(m, 1);
    assert_string_equal(e.name, "other");
    assert_false(e.is_default);
    assert_int_equal(e.problem.code, ST_OK);
    served_release(e.served);
    assert_int_equal(models_ready(m).code, ST_OK);
    models_close(m);
}

static void test_all_in_the_folders(void **state)
{
    struct models *m = open_models("other", "all");
    (void)state;
    assert_int_equal(models_count(m), 2);
    assert_serves(m, "", "other");
    assert_serves(m, "small", "small");
    copy_model("third");
    models_find(m);
    assert_int_equal(models_count(m), 3);
    struct models_entry e = models_get(m, 2);
    assert_null(e.served);
    assert_string_equal(e.name, "third");
    assert_int_equal(models_ready(m).code, ST_OK); /* nobody asked for it by name */
    models_close(m);
}

static void test_one_that_is_missing(void **state)
{
    struct models *m = open_models("small", "absent");
    struct served *s = NULL;
    (void)state;
    assert_serves(m, "", "small");
    struct status st = models_acquire(m, "absent", &s);
    assert_int_equal(st.code, ST_PRECONDITION);
    assert_non_null(strstr(st.msg, "absent.cfg is missing; ./bloginfer fetch"));
    assert_int_equal(models_ready(m).code, ST_PRECONDITION); /* it was named */
    struct models_entry e = models_get(m, 1);
    assert_null(e.served);
    assert_int_equal(e.problem.code, ST_NOT_FOUND);
    models_close(m);
}

static void test_what_is_replaced_stays_for_those_who_have_it(void **state)
{
    struct models *m = open_models("small", "");
    struct served *old = NULL, *next = NULL;
    (void)state;
    assert_int_equal(models_acquire(m, "", &old).code, ST_OK);
    or_die(served_load(&next, "other", models_config(m), NULL));
    models_replace(m, 0, next);
    assert_serves(m, "", "other"); /* the place is the name's; what stands in it is whoever was put there */
    assert_string_equal(old->model->labels[1], "dog");
    engine_forward(old->workers[0].engine, old->workers[0].input);
    served_release(old);
    models_refuse(m, 0, status_errorf(ST_INVALID, "nonsense"));
    assert_serves(m, "", "other");
    assert_int_equal(models_ready(m).code, ST_OK);
    struct models_entry e = models_get(m, 0);
    assert_string_equal(e.problem.msg, "nonsense");
    served_release(e.served);
    models_close(m);
}

static void test_wrong_settings(void **state)
{
    struct models_config config = {.model = "small",
                                   .others = "",
                                   .serve = {.path = folder, .engine = "gpu", .precision = "auto", .n_workers = 1}};
    struct models *m;
    (void)state;
    assert_int_equal(models_open(&m, &config).code, ST_INVALID);
    config.serve.engine = "openblas";
    config.serve.precision = "int8";
    struct status st = models_open(&m, &config);
    assert_int_equal(st.code, ST_INVALID);
    assert_non_null(strstr(st.msg, "openblas (fp32)"));
    config.serve.engine = "auto";
    config.serve.precision = "bf16";
    if (!isa_has_bf16()) {
        st = models_open(&m, &config);
        assert_int_equal(st.code, ST_UNAVAILABLE);
        assert_string_equal(st.msg, "engine bf16 needs a CPU with AVX512-BF16");
    }
    config.serve.engine = "openblas";
    config.serve.precision = "fp32";
    config.others = "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p";
    assert_int_equal(models_open(&m, &config).code, ST_INVALID);
}

static void test_threshold_of_the_settings(void **state)
{
    struct served_config config = {
        .path = folder, .engine = "openblas", .precision = "auto", .n_workers = 2, .threshold = 0.4f};
    struct served *s;
    (void)state;
    or_die(served_load(&s, "small", &config, NULL));
    assert_true(s->threshold == 0.4f);
    assert_int_equal(s->n_workers, 2);
    served_release(s);
    config.threshold = 0;
    or_die(served_load(&s, "small", &config, NULL));
    assert_true(s->threshold == 0.25f);
    served_release(s);
}

static void test_files_that_changed_since_their_check(void **state)
{
    const struct served_config config = {.path = folder, .engine = "openblas", .precision = "auto", .n_workers = 1};
    struct served_check checked;
    struct served *s;
    (void)state;
    or_die(served_try(&checked, "small", &config));
    assert_string_equal(checked.engine, "openblas");
    assert_true(checked.forward_seconds > 0);
    or_die(served_load(&s, "small", &config, &checked));
    assert_true(s->forward_seconds == checked.forward_seconds);
    served_release(s);
    checked.digest[0] ^= 1;
    assert_int_equal(served_load(&s, "small", &config, &checked).code, ST_ABORTED);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_name_and_by_default),
        cmocka_unit_test(test_all_in_the_folders),
        cmocka_unit_test(test_one_that_is_missing),
        cmocka_unit_test(test_what_is_replaced_stays_for_those_who_have_it),
        cmocka_unit_test(test_wrong_settings),
        cmocka_unit_test(test_threshold_of_the_settings),
        cmocka_unit_test(test_files_that_changed_since_their_check),
    };
    (void)argc;
    nn_setup_blas(argv);
    folder = small_folder();
    copy_model("other");
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    or_die(fs_remove_tree(folder));
    free(folder);
    return failed;
}
