/* lane_test.c - the queue of one version, without threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lane.h"

#include <stdlib.h>

static struct classifier lstm = {.shape = {.family = NN_LSTM, .classes = 2}};
static struct classifier linear = {.shape = {.family = NN_LINEAR, .classes = 2}};
static struct served_model model = {.classifier = &lstm}, flat = {.classifier = &linear};

/* n rows of this length, that came at `arrival`. */
static struct batcher_job *job_of(struct served_model *m, enum batcher_level level, int64_t arrival, size_t n,
                                  uint32_t length)
{
    struct batcher_job *job = xcalloc(1, sizeof *job);

    job->model = m;
    job->level = level;
    job->arrival = arrival;
    job->n_rows = n;
    job->rows = xcalloc(n, sizeof *job->rows);
    for (size_t i = 0; i < n; i++)
        job->rows[i].example.n_ids = length;
    return job;
}

static void job_free(struct batcher_job *job)
{
    free(job->rows);
    free(job);
}

static size_t take(struct lane *l, enum batcher_level level, size_t max, struct batcher_row **rows)
{
    const struct batcher_row *oldest = lane_oldest(l, level);

    return oldest ? lane_take(l, level, lane_bucket(oldest), max, rows) : 0;
}

static void test_buckets_grow_by_the_root_of_two(void **state)
{
    (void)state;
    struct batcher_job *job = job_of(&model, BATCHER_ONLINE, 0, 1, 1);
    size_t last = 0;

    job->rows[0].job = job;
    for (uint32_t n = 1; n <= NN_MAX_TOKENS; n++) {
        job->rows[0].example.n_ids = n;
        size_t bucket = lane_bucket(&job->rows[0]);
        assert_in_range(bucket, last, last + 1);
        last = bucket;
    }
    assert_int_equal(last, LANE_BUCKETS - 1);
    job->model = &flat;
    assert_int_equal(lane_bucket(&job->rows[0]), 0);
    job_free(job);
}

static void test_texts_of_like_length_go_together(void **state)
{
    (void)state;
    struct batcher_job *first = job_of(&model, BATCHER_ONLINE, 1, 1, 30), *jobs[] = {
                                                                              first,
                                                                              job_of(&model, BATCHER_ONLINE, 2, 2, 200),
                                                                              job_of(&model, BATCHER_ONLINE, 3, 2, 40),
                                                                              job_of(&model, BATCHER_ONLINE, 4, 2, 26),
                                                                              job_of(&model, BATCHER_ONLINE, 5, 2, 3),
                                                                          };
    struct batcher_row *rows[16];
    struct lane l;

    lane_init(&l);
    for (size_t i = 0; i < COUNT_OF(jobs); i++)
        lane_add(&l, jobs[i]);
    assert_int_equal(take(&l, BATCHER_ONLINE, 16, rows), 5); /* 30, 26 and 40 */
    assert_ptr_equal(rows[0]->job, first);
    for (size_t i = 0; i < 5; i++)
        assert_in_range(rows[i]->example.n_ids, 26, 40);
    assert_int_equal(take(&l, BATCHER_ONLINE, 16, rows), 2); /* 200: the oldest that is left */
    assert_int_equal(rows[0]->example.n_ids, 200);
    assert_int_equal(take(&l, BATCHER_ONLINE, 16, rows), 2);
    assert_int_equal(l.n_rows, 0);
    assert_null(lane_oldest(&l, BATCHER_ONLINE));
    for (size_t i = 0; i < COUNT_OF(jobs); i++)
        job_free(jobs[i]);
}

/* Any sequence of arrivals, takes and removals: the oldest is always among what is taken, no take is over its limit, and
 * every row leaves exactly once. */
static void test_no_text_is_lost_or_passed_over(void **state)
{
    (void)state;
    enum { N = 400 };
    struct batcher_job *jobs[N];
    struct batcher_row *rows[64];
    size_t n_in = 0, n_out = 0, n_jobs = 0;
    struct rng rng;
    struct lane l;

    rng_init(&rng, 1);
    lane_init(&l);
    while (n_jobs < N || l.n_rows) {
        if (n_jobs < N && rng_below(&rng, 2)) {
            enum batcher_level level = rng_below(&rng, 4) ? BATCHER_ONLINE : BATCHER_BULK;
            struct batcher_job *job = job_of(&model, level, (int64_t)n_jobs, 1 + (size_t)rng_below(&rng, 20), 0);
            for (size_t i = 0; i < job->n_rows; i++)
                job->rows[i].example.n_ids = 1 + (uint32_t)rng_below(&rng, 300);
            lane_add(&l, job);
            n_in += job->n_rows;
            jobs[n_jobs++] = job;
        } else if (n_jobs && rng_below(&rng, 8) == 0) {
            n_out += lane_remove(&l, jobs[rng_below(&rng, n_jobs)]);
        } else {
            enum batcher_level level = rng_below(&rng, 2) ? BATCHER_ONLINE : BATCHER_BULK;
            size_t max = 1 + (size_t)rng_below(&rng, 64);
            const struct batcher_row *oldest = lane_oldest(&l, level);
            size_t n = take(&l, level, max, rows);
            assert_in_range(n, oldest != NULL, max);
            for (size_t i = 0; i < n; i++) {
                assert_int_equal(rows[i]->job->level, level);
                assert_null(rows[i]->next);
            }
            assert_true(!oldest || rows[0] == oldest);
            n_out += n;
        }
        assert_int_equal(l.n_rows, n_in - n_out);
        assert_int_equal(l.n_rows, l.queues[BATCHER_ONLINE].n_rows + l.queues[BATCHER_BULK].n_rows);
    }
    assert_int_equal(n_in, n_out);
    for (size_t i = 0; i < N; i++)
        job_free(jobs[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets_grow_by_the_root_of_two),
        cmocka_unit_test(test_texts_of_like_length_go_together),
        cmocka_unit_test(test_no_text_is_lost_or_passed_over),
    };

    return cmocka_run_group_tests_name("lane", tests, NULL, NULL);
}
