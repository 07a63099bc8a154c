/* dataset_test.c - what each format gives, leaves out and refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dataset.h"

#include <stdlib.h>
#include <string.h>

static const char *const labels[] = {"negative", "positive"};

static void assert_row(const struct dataset *d, size_t i, const char *text, uint32_t label)
{
    assert_true(i < d->rows.n);
    assert_string_equal(d->texts.data + dataset_at(d, i)->offset, text);
    assert_int_equal(dataset_at(d, i)->size, strlen(text));
    assert_int_equal(dataset_at(d, i)->label, label);
}

static void test_tsv(void **state)
{
    static const char text[] = "很好\tpositive\r\n\nＡ\tB \tnegative\nx\xff\tpositive\n\tnegative";
    struct dataset d;

    (void)state;
    dataset_init(&d);
    assert_int_equal(dataset_parse_tsv(&d, "f.tsv", text, strlen(text), labels).code, ST_OK);
    assert_int_equal(d.rows.n, 3);
    assert_row(&d, 0, "很好", 1);
    assert_row(&d, 1, "a b", 0);
    assert_row(&d, 2, "", 0);
    assert_int_equal(d.n_skipped, 1);
    dataset_fini(&d);
}

static void assert_tsv_breaks(const char *text, const char *message)
{
    struct dataset d;
    struct status st;

    dataset_init(&d);
    st = dataset_parse_tsv(&d, "f.tsv", text, strlen(text), labels);
    assert_int_equal(st.code, ST_INVALID);
    assert_string_equal(st.msg, message);
    dataset_fini(&d);
}

static void test_a_broken_tsv_is_named_by_line(void **state)
{
    (void)state;
    assert_tsv_breaks("a\tpositive\nno tab\n", "f.tsv line 2: not a text, a tab and negative or positive");
    assert_tsv_breaks("a\tgood\n", "f.tsv line 1: not a text, a tab and negative or positive");
    assert_tsv_breaks("\n\na\t\n", "f.tsv line 3: not a text, a tab and negative or positive");
}

static void test_csv(void **state)
{
    static const char text[] = "\xef\xbb\xbf,label,TEXT\n1,1,\"说\"\"好\"\"，真好\"\n2,0,b\xff\n3,0,C\n";
    struct dataset d;

    (void)state;
    dataset_init(&d);
    assert_int_equal(dataset_parse_csv(&d, "f.csv", text, strlen(text)).code, ST_OK);
    assert_int_equal(d.rows.n, 2);
    assert_row(&d, 0, "说\"好\",真好", 1);
    assert_row(&d, 1, "c", 0);
    assert_int_equal(d.n_skipped, 1);
    dataset_fini(&d);
}

static void assert_csv_breaks(const char *text, const char *message)
{
    struct dataset d;
    struct status st;

    dataset_init(&d);
    st = dataset_parse_csv(&d, "f.csv", text, strlen(text));
    assert_int_equal(st.code, ST_INVALID);
    assert_string_equal(st.msg, message);
    dataset_fini(&d);
}

static void test_a_broken_csv_is_named_by_line(void **state)
{
    (void)state;
    assert_csv_breaks("", "f.csv line 1: no columns TEXT and label");
    assert_csv_breaks("label,text\n0,a\n", "f.csv line 1: no columns TEXT and label");
    assert_csv_breaks("label,TEXT\n0,a\n1\n", "f.csv line 3: 1 fields under 2 columns");
    assert_csv_breaks("label,TEXT\n0,a\n2,a\n", "f.csv line 3: a label other than 0 and 1");
    assert_csv_breaks("label,TEXT\n0,\"a\n", "f.csv line 2: a quote is left open");
}

static void test_lines(void **state)
{
    struct dataset d;

    (void)state;
    dataset_init(&d);
    assert_int_equal(dataset_parse_lines(&d, "f.txt", "a\r\nb\n\xc3\n", 7, 1).code, ST_OK);
    assert_int_equal(d.rows.n, 2);
    assert_row(&d, 0, "a", 1);
    assert_row(&d, 1, "b", 1);
    assert_int_equal(d.n_skipped, 1);
    dataset_fini(&d);
}

static void test_a_long_text_is_left_out(void **state)
{
    size_t size = TEXT_MAX_BYTES + 3;
    char *text = malloc(size);
    struct dataset d;

    (void)state;
    memset(text, 'x', size);
    memcpy(text + size - 2, "\ny", 2);
    dataset_init(&d);
    assert_int_equal(dataset_parse_lines(&d, "f.txt", text, size, 0).code, ST_OK);
    assert_int_equal(d.rows.n, 1);
    assert_row(&d, 0, "y", 0);
    assert_int_equal(d.n_skipped, 1);
    dataset_fini(&d);
    free(text);
}

static void test_rows_are_bounded(void **state)
{
    size_t size = 2 * ((size_t)DATASET_MAX_ROWS + 1);
    char *text = malloc(size);
    struct dataset d;
    struct status st;

    (void)state;
    for (size_t i = 0; i < size; i += 2)
        memcpy(text + i, "x\n", 2);
    dataset_init(&d);
    assert_int_equal(dataset_parse_lines(&d, "f.txt", text, size - 2, 0).code, ST_OK);
    dataset_fini(&d);
    dataset_init(&d);
    st = dataset_parse_lines(&d, "f.txt", text, size, 0);
    assert_int_equal(st.code, ST_EXHAUSTED);
    assert_non_null(strstr(st.msg, "f.txt line 1000001: over 1000000 rows"));
    dataset_fini(&d);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tsv),
        cmocka_unit_test(test_a_broken_tsv_is_named_by_line),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_a_broken_csv_is_named_by_line),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_a_long_text_is_left_out),
        cmocka_unit_test(test_rows_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
