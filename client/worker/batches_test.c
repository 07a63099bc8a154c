/* What the order of a worker's rows promises. */
#include "batches.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define N_ROWS 1000

static struct nn_example rows[N_ROWS];

static int set_up(void **state)
{
    struct rng r;

    (void)state;
    rng_init(&r, 7);
    for (int i = 0; i < N_ROWS; i++)
        rows[i].n_ids = 1 + (uint32_t)rng_below(&r, 200);
    return 0;
}

static void test_every_row_comes_once_a_round(void **state)
{
    static const uint32_t counts[] = {1, 7, 50, 51, 333, 1000};

    (void)state;
    for (size_t k = 0; k < COUNT_OF(counts); k++) {
        struct batches b;
        uint8_t seen[N_ROWS] = {0};

        batches_init(&b, rows, N_ROWS, counts[k], 3, 0);
        for (uint32_t place = 0; place < counts[k]; place++) {
            uint32_t n;
            const uint32_t *at = batches_at(&b, place, &n);

            assert_true(n >= 1 && n <= batches_max(N_ROWS, counts[k]));
            for (uint32_t i = 0; i < n; i++)
                seen[at[i]]++;
        }
        for (int i = 0; i < N_ROWS; i++)
            assert_int_equal(seen[i], 1);
        batches_fini(&b);
    }
}

static void test_more_batches_than_rows_leave_none_empty(void **state)
{
    struct batches b;
    uint32_t n;

    (void)state;
    batches_init(&b, rows, 3, 10, 3, 0);
    for (uint32_t place = 0; place < 10; place++) {
        const uint32_t *at = batches_at(&b, place, &n);
        assert_int_equal(n, 1);
        assert_true(*at < 3);
    }
    batches_fini(&b);
}

static void test_the_order_is_the_seeds(void **state)
{
    struct batches a, b, c;

    (void)state;
    batches_init(&a, rows, N_ROWS, 40, 11, 2);
    batches_init(&b, rows, N_ROWS, 40, 11, 2);
    batches_init(&c, rows, N_ROWS, 40, 12, 2);
    assert_memory_equal(a.rows, b.rows, sizeof *a.rows * N_ROWS);
    assert_memory_equal(a.which, b.which, sizeof *a.which * 40);
    assert_memory_not_equal(a.rows, c.rows, sizeof *a.rows * N_ROWS);
    batches_fini(&a);
    batches_fini(&b);
    batches_fini(&c);
}

static uint32_t longest(const struct batches *b, uint32_t place)
{
    uint32_t n, most = 0;
    const uint32_t *at = batches_at(b, place, &n);

    for (uint32_t i = 0; i < n; i++)
        most = rows[at[i]].n_ids > most ? rows[at[i]].n_ids : most;
    return most;
}

/* Two workers meet in every exchange with rows of like length, and little of a batch is padding. */
static void test_the_batches_of_an_exchange_are_alike(void **state)
{
    struct batches a, b;
    uint64_t padded = 0, tokens = 0;

    (void)state;
    batches_init(&a, rows, N_ROWS, 40, 5, 0);
    batches_init(&b, rows, N_ROWS, 40, 5, 1);
    for (uint32_t place = 0; place < 40; place++) {
        uint32_t n, most = longest(&a, place);
        const uint32_t *at = batches_at(&a, place, &n);

        assert_true(abs((int)most - (int)longest(&b, place)) < 60);
        padded += (uint64_t)n * most;
        for (uint32_t i = 0; i < n; i++)
            tokens += rows[at[i]].n_ids;
    }
    assert_true((double)padded / (double)tokens < 1.15);
    batches_fini(&a);
    batches_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_comes_once_a_round),
        cmocka_unit_test(test_more_batches_than_rows_leave_none_empty),
        cmocka_unit_test(test_the_order_is_the_seeds),
        cmocka_unit_test(test_the_batches_of_an_exchange_are_alike),
    };

    return cmocka_run_group_tests_name("batches", tests, set_up, NULL);
}
