/* What a worker's computing promises: shards add up to the whole, local epochs learn, an abandoned job ends. */
#include "local.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define N_ROWS 96
#define N_IDS  12

static const struct nn_shape shape = {
    .family = NN_LSTM, .vocab = 100, .embed = 8, .hidden = 8, .buckets = 64, .classes = 2, .max_tokens = 20};
static uint16_t ids[N_ROWS][N_IDS];
static uint32_t ngrams[N_ROWS][2];
static struct nn_example rows[N_ROWS];

/* Rows whose label is told by one of two characters. */
static int set_up(void **state)
{
    struct rng r;

    (void)state;
    rng_init(&r, 5);
    for (uint32_t i = 0; i < N_ROWS; i++) {
        for (int k = 0; k < N_IDS; k++)
            ids[i][k] = (uint16_t)(10 + rng_below(&r, 80));
        ids[i][rng_below(&r, N_IDS)] = 1 + i % 2;
        ngrams[i][0] = 1 + i % 7;
        ngrams[i][1] = 20 + i % 11;
        rows[i] = (struct nn_example){ids[i], N_IDS, ngrams[i], 2, i % 2};
    }
    return 0;
}

static float *start_params(void)
{
    float *params = xaligned(nn_n_params(&shape), sizeof *params);

    nn_init(params, &shape, 3);
    return params;
}

/* The mean of the shards' gradients, weighted by their rows, is the gradient of all rows. */
static void test_shards_add_up_to_the_whole(void **state)
{
    size_t n = nn_n_params(&shape);
    float *params = start_params(), *update = xaligned(n, sizeof *update), *whole = xaligned(n, sizeof *whole);
    double *sum = xcalloc(n, sizeof *sum), largest = 0;
    static const uint32_t cuts[] = {0, 10, 55, N_ROWS};
    struct local_plan plan = {.shape = shape, .seed = 1};
    struct local_update about;

    (void)state;
    struct local *all = local_new(&plan, rows, N_ROWS, NULL, 0);
    assert_int_equal(local_train(all, params, 1, 0, 1, whole, &about).code, ST_OK);
    assert_int_equal(about.samples, N_ROWS);
    local_free(all);
    for (uint32_t k = 0; k < 3; k++) {
        plan.shard = k;
        struct local *part = local_new(&plan, rows + cuts[k], cuts[k + 1] - cuts[k], NULL, 0);
        assert_int_equal(local_train(part, params, 1, 0, 1, update, &about).code, ST_OK);
        for (size_t i = 0; i < n; i++)
            sum[i] += (double)about.samples * update[i] / N_ROWS;
        local_free(part);
    }
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(whole[i]));
    for (size_t i = 0; i < n; i++)
        assert_true(fabs(sum[i] - whole[i]) <= 1e-5 * largest);
    free(params);
    free(update);
    free(whole);
    free(sum);
}

static double accuracy(const float *params)
{
    struct local_plan plan = {.shape = shape, .seed = 1};
    struct local *l = local_new(&plan, rows, N_ROWS, rows, N_ROWS);
    struct local_score score;

    assert_int_equal(local_evaluate(l, params, &score).code, ST_OK);
    assert_int_equal(score.rows, N_ROWS);
    assert_true(isfinite(score.loss_sum) && score.loss_sum > 0);
    local_free(l);
    return (double)score.correct / N_ROWS;
}

static void test_local_epochs_learn_and_send_their_change(void **state)
{
    size_t n = nn_n_params(&shape);
    float *params = start_params(), *update = xaligned(n, sizeof *update), *again = xaligned(n, sizeof *again);
    struct local_plan plan = {
        .shape = shape, .seed = 1, .local_epochs = 20, .local_learning_rate = 1e-2, .local_batch = 16};
    struct local_update about;
    struct local *l = local_new(&plan, rows, N_ROWS, rows, N_ROWS);

    (void)state;
    assert_true(accuracy(params) < 0.8);
    assert_int_equal(local_train(l, params, 1, 0, 1, update, &about).code, ST_OK);
    assert_int_equal(about.samples, N_ROWS);
    assert_int_equal(local_rows_done(l), 20 * N_ROWS);
    assert_int_equal(local_train(l, params, 1, 0, 1, again, &about).code, ST_OK);
    assert_memory_equal(update, again, n * sizeof *update); /* the same round gives the same change */
    for (size_t i = 0; i < n; i++)
        params[i] -= update[i];
    assert_true(accuracy(params) > 0.95);
    local_free(l);
    free(params);
    free(update);
    free(again);
}

static void test_an_abandoned_job_ends(void **state)
{
    float *params = start_params(), *update = xaligned(nn_n_params(&shape), sizeof *update);
    struct local_plan plan = {
        .shape = shape, .seed = 1, .local_epochs = 20, .local_learning_rate = 1e-2, .local_batch = 16};
    struct local_update about;
    struct local_score score;
    struct local *l = local_new(&plan, rows, N_ROWS, rows, N_ROWS);

    (void)state;
    local_abandon(l);
    assert_int_equal(local_train(l, params, 1, 0, 1, update, &about).code, ST_ABORTED);
    assert_int_equal(local_rows_done(l), 0);
    assert_int_equal(local_evaluate(l, params, &score).code, ST_ABORTED);
    local_resume(l);
    assert_int_equal(local_evaluate(l, params, &score).code, ST_OK);
    local_free(l);
    free(params);
    free(update);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shards_add_up_to_the_whole),
        cmocka_unit_test(test_local_epochs_learn_and_send_their_change),
        cmocka_unit_test(test_an_abandoned_job_ends),
    };

    return cmocka_run_group_tests_name("local", tests, set_up, NULL);
}
