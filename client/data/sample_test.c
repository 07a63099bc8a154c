/* sample_test.c - what sample.h promises of the built-in sample. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sample.h"

#include <stdlib.h>
#include <string.h>

static void make(struct dataset *d, const char *task)
{
    dataset_init(d);
    assert_int_equal(sample_add(d, task).code, ST_OK);
    assert_int_equal(d->rows.n, SAMPLE_ROWS);
    assert_int_equal(d->n_skipped, 0);
}

static const char *text_at(const struct dataset *d, size_t i)
{
    return d->texts.data + dataset_at(d, i)->offset;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void assert_distinct_and_balanced(const char *task)
{
    struct dataset d;
    const char **texts = malloc(SAMPLE_ROWS * sizeof *texts);
    size_t ones = 0;

    make(&d, task);
    for (size_t i = 0; i < SAMPLE_ROWS; i++) {
        texts[i] = text_at(&d, i);
        assert_true(dataset_at(&d, i)->size >= 3 && dataset_at(&d, i)->size < 1000);
        assert_null(strpbrk(texts[i], "<>|")); /* every slot was filled */
        ones += dataset_at(&d, i)->label;
    }
    assert_int_equal(ones, SAMPLE_ROWS / 2);
    qsort(texts, SAMPLE_ROWS, sizeof *texts, by_text);
    for (size_t i = 1; i < SAMPLE_ROWS; i++)
        assert_string_not_equal(texts[i], texts[i - 1]);
    free(texts);
    dataset_fini(&d);
}

static void test_texts_are_distinct_and_balanced(void **state)
{
    (void)state;
    assert_distinct_and_balanced("sentiment");
    assert_distinct_and_balanced("troll");
}

static void test_it_is_always_the_same(void **state)
{
    struct dataset a, b;

    (void)state;
    make(&a, "sentiment");
    make(&b, "sentiment");
    assert_int_equal(a.texts.size, b.texts.size);
    assert_memory_equal(a.texts.data, b.texts.data, a.texts.size);
    dataset_fini(&a);
    dataset_fini(&b);
}

static void test_an_unknown_task_has_none(void **state)
{
    struct dataset d;

    (void)state;
    dataset_init(&d);
    assert_int_equal(sample_add(&d, "spam").code, ST_NOT_FOUND);
    dataset_fini(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_are_distinct_and_balanced),
        cmocka_unit_test(test_it_is_always_the_same),
        cmocka_unit_test(test_an_unknown_task_has_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
