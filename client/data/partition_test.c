/* partition_test.c - the properties every worker relies on: the same everywhere, complete, and skewed when asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "partition.h"

#include <stdlib.h>
#include <string.h>

#define N_ROWS 8000

static struct partition_row rows[N_ROWS];
static uint32_t shards[N_ROWS];

static int make_rows(void **state)
{
    struct rng r;

    (void)state;
    rng_init(&r, 5);
    for (size_t i = 0; i < N_ROWS; i++)
        rows[i] = (struct partition_row){rng_next(&r), (uint32_t)rng_below(&r, 2)};
    return 0;
}

/* counts[s][label]; fails on a shard out of range. */
static void count(const struct partition *p, size_t n, size_t (*counts)[2])
{
    memset(counts, 0, p->n_shards * sizeof *counts);
    partition_assign(p, rows, n, shards);
    for (size_t i = 0; i < n; i++) {
        assert_true(shards[i] < p->n_shards);
        counts[shards[i]][rows[i].label]++;
    }
}

static void test_parse(void **state)
{
    struct partition p = {.alpha = 7};

    (void)state;
    assert_int_equal(partition_parse(&p, NULL).code, ST_OK);
    assert_true(p.alpha == 0);
    assert_int_equal(partition_parse(&p, "iid").code, ST_OK);
    assert_int_equal(partition_parse(&p, "dirichlet:0.3").code, ST_OK);
    assert_true(p.alpha == 0.3);
    for (const char *const *s = (const char *const[]){"dirichlet", "dirichlet:", "dirichlet:0", "dirichlet:-1",
                                                      "dirichlet:nan", "dirichlet:1x", "dirichlet:1e9", "IID", NULL};
         *s; s++)
        assert_int_equal(partition_parse(&p, *s).code, ST_INVALID);
}

static void test_parse_shard(void **state)
{
    uint32_t i, n;

    (void)state;
    assert_int_equal(partition_parse_shard("2/3", &i, &n).code, ST_OK);
    assert_int_equal(i, 2);
    assert_int_equal(n, 3);
    assert_int_equal(partition_parse_shard("0/1024", &i, &n).code, ST_OK);
    for (const char *const *s = (const char *const[]){"3/3", "0/0", "0/1025", "1", "/3", "0/", "-1/3", "0/3x", " 0/3",
                                                      "99999999999/3", "", NULL};
         *s; s++)
        assert_int_equal(partition_parse_shard(*s, &i, &n).code, ST_INVALID);
}

static void test_iid_is_even_in_size_and_label(void **state)
{
    struct partition p = {.n_shards = 4, .seed = 1};
    size_t counts[4][2];

    (void)state;
    count(&p, N_ROWS, counts);
    for (int s = 0; s < 4; s++)
        for (int label = 0; label < 2; label++)
            assert_in_range(counts[s][label], 1000 - 150, 1000 + 150); /* over 5 standard deviations */
}

/* A row stays where it is, whatever other rows there are. */
static void test_iid_depends_on_the_row_alone(void **state)
{
    struct partition p = {.n_shards = 3, .seed = 9};
    uint32_t alone;

    (void)state;
    partition_assign(&p, rows, N_ROWS, shards);
    for (size_t i = 0; i < 100; i++) {
        partition_assign(&p, &rows[i], 1, &alone);
        assert_int_equal(alone, shards[i]);
    }
}

static void test_dirichlet_skews_labels(void **state)
{
    struct partition p = {.n_shards = 4, .seed = 1, .alpha = 0.3};
    size_t counts[4][2];
    double widest = 0;

    (void)state;
    for (p.seed = 1; p.seed <= 20; p.seed++) {
        count(&p, N_ROWS, counts);
        for (int s = 0; s < 4; s++) {
            size_t n = counts[s][0] + counts[s][1];
            double share = (double)counts[s][1] / (double)n;
            assert_true(n >= PARTITION_MIN_ROWS);
            widest += (share > 0.8 || share < 0.2) / 80.0;
        }
    }
    assert_true(widest > 0.3); /* iid: none at all */
}

static void test_a_large_alpha_is_nearly_iid(void **state)
{
    struct partition p = {.n_shards = 4, .seed = 1, .alpha = 1000};
    size_t counts[4][2];

    (void)state;
    count(&p, N_ROWS, counts);
    for (int s = 0; s < 4; s++)
        assert_in_range(counts[s][0], 700, 1300);
}

static void test_few_rows_are_still_shared_out(void **state)
{
    struct partition p = {.n_shards = 8, .seed = 3, .alpha = 0.1};
    size_t counts[8][2], total = 0;

    (void)state;
    count(&p, 80, counts);
    for (int s = 0; s < 8; s++)
        total += counts[s][0] + counts[s][1];
    assert_int_equal(total, 80);
    count(&p, 1, counts);
    count(&p, 0, counts);
    p = (struct partition){.n_shards = 1, .seed = 3, .alpha = 0.01};
    count(&p, N_ROWS, counts);
    assert_int_equal(counts[0][0] + counts[0][1], N_ROWS);
}

static void assert_seeded(struct partition p)
{
    uint32_t *first = malloc(sizeof shards);
    size_t moved = 0;

    partition_assign(&p, rows, N_ROWS, first);
    partition_assign(&p, rows, N_ROWS, shards);
    assert_memory_equal(first, shards, sizeof shards);
    p.seed++;
    partition_assign(&p, rows, N_ROWS, shards);
    for (size_t i = 0; i < N_ROWS; i++)
        moved += first[i] != shards[i];
    assert_true(moved > N_ROWS / 4);
    free(first);
}

static void test_the_seed_decides_alone(void **state)
{
    (void)state;
    assert_seeded((struct partition){.n_shards = 4, .seed = 1});
    assert_seeded((struct partition){.n_shards = 4, .seed = 1, .alpha = 1});
}

/* The order of the rows plays no part. */
static void test_order_does_not_matter(void **state)
{
    struct partition p = {.n_shards = 4, .seed = 1, .alpha = 0.5};
    uint32_t *first = malloc(sizeof shards);

    (void)state;
    partition_assign(&p, rows, N_ROWS, first);
    for (size_t i = 0; i < N_ROWS / 2; i++) {
        struct partition_row row = rows[i];
        rows[i] = rows[N_ROWS - 1 - i];
        rows[N_ROWS - 1 - i] = row;
    }
    partition_assign(&p, rows, N_ROWS, shards);
    for (size_t i = 0; i < N_ROWS; i++)
        assert_int_equal(shards[i], first[N_ROWS - 1 - i]);
    free(first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_shard),
        cmocka_unit_test(test_iid_is_even_in_size_and_label),
        cmocka_unit_test(test_iid_depends_on_the_row_alone),
        cmocka_unit_test(test_dirichlet_skews_labels),
        cmocka_unit_test(test_a_large_alpha_is_nearly_iid),
        cmocka_unit_test(test_few_rows_are_still_shared_out),
        cmocka_unit_test(test_the_seed_decides_alone),
        cmocka_unit_test(test_order_does_not_matter),
    };

    return cmocka_run_group_tests(tests, make_rows, NULL);
}
