/* loader_test.c - files are found one by one along the path, and what is wrong with them is said without folders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "loader.h"
#include "small_model.h"

#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static char *folder;

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

static void put(const char *name, const char *text)
{
    char *path = xasprintf("%s/%s", folder, name);
    or_die(fs_write_atomic(path, text, strlen(text)));
    free(path);
}

static void assert_refused(const char *name, const char *path, enum code code, const char *says)
{
    struct model *m;
    struct status st = loader_load(&m, name, path);
    if (st.code != code || !strstr(st.msg, says))
        fail_msg("%s \"%s\" instead of %s \"%s\"", code_name(st.code), st.msg, code_name(code), says);
    assert_null(strchr(st.msg, '/'));
}

static void test_found_file_by_file(void **state)
{
    char *other = small_folder(), *path = xasprintf(":/nowhere:%s::%s:", folder, other),
         *gone = xasprintf("%s/small.weights", folder);
    struct model *m;
    (void)state;
    unlink(gone); /* weights from the second folder, the rest from the first */
    put("small.names", "rat\ncow\n");
    struct status st = loader_load(&m, "small", path);
    if (st.code)
        fail_msg("%s", st.msg);
    assert_string_equal(m->labels[1], "cow");
    assert_string_equal(m->name, "small");
    assert_int_equal(strlen(m->sha256), 64);
    assert_true(m->threshold == 0.25f);
    assert_string_equal(m->description, "");
    model_free(m);
    or_die(fs_remove_tree(other));
    free(other);
    free(path);
    free(gone);
}

static void test_missing(void **state)
{
    char *weights = xasprintf("%s/small.weights", folder);
    (void)state;
    assert_refused("large", folder, ST_NOT_FOUND, "large.cfg is missing");
    assert_refused("small", "", ST_NOT_FOUND, "small.cfg is missing");
    unlink(weights);
    assert_refused("small", folder, ST_NOT_FOUND, "small.weights is missing");
    free(weights);
}

static void test_wrong_files(void **state)
{
    (void)state;
    put("small.names", "only one\n");
    assert_refused("small", folder, ST_INVALID, "small.names has 1 names, the cfg has 2 classes");
    put("small.names", "one\n\nthree\n");
    assert_refused("small", folder, ST_INVALID, "line 2 is empty");
    put("small.weights", "not weights, but long enough");
    assert_refused("small", folder, ST_INVALID, "small.weights: the weights have an unknown header");
    put("small.cfg", "[net]\nwidth=1\n");
    assert_refused("small", folder, ST_INVALID, "small.cfg: line 1");
}

/* Every file counts for the digest; the stamp changes with each of them, and when one of them goes. */
static void test_changes_are_seen(void **state)
{
    static const struct {
        const char *name, *text;
    } changes[] = {{"small.names", "rat\ncow\n"}, {"small.cfg", small_cfg}, {"small.weights", "x"}};
    struct loader_stamp before = loader_stamp("small", folder), after, none = {0};
    struct model *a, *b;
    (void)state;
    or_die(loader_load(&a, "small", folder));
    for (size_t i = 0; i < COUNT_OF(changes); i++) {
        put(changes[i].name, changes[i].text);
        after = loader_stamp("small", folder);
        assert_false(loader_stamp_equal(&before, &after));
        before = after;
        if (i == 0) {
            or_die(loader_load(&b, "small", folder));
            assert_string_not_equal(a->digest, b->digest);
            assert_string_equal(a->sha256, b->sha256);
            model_free(b);
        }
    }
    after = loader_stamp("small", folder);
    assert_true(loader_stamp_equal(&before, &after));
    after = loader_stamp("absent", folder);
    assert_true(loader_stamp_equal(&none, &after));
    model_free(a);
}

static void test_list_of_complete_models(void **state)
{
    char *other = small_folder(), *path = xasprintf("/nowhere:%s::%s", folder, other), **names;
    (void)state;
    put("b.cfg", "x");
    put("b.weights", "x");
    put("a.weights", "x");
    put("c.cfg", "x");
    put(".cfg", "x");
    size_t n = loader_list(path, &names);
    assert_int_equal(n, 2); /* small is in both folders */
    assert_string_equal(names[0], "b");
    assert_string_equal(names[1], "small");
    free(names[0]);
    free(names[1]);
    free(names);
    or_die(fs_remove_tree(other));
    free(other);
    free(path);
}

static void test_names_of_files_are_plain(void **state)
{
    static const char *const names[] = {"", "..", ".small", "a/b", "../small", "a:b", "a\nb"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct model *m;
        assert_int_equal(loader_load(&m, names[i], folder).code, ST_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_found_file_by_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changes_are_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_list_of_complete_models, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names_of_files_are_plain, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
