/* batcher_test.c - jobs from one and from many threads on real models. A job whose done() waits at a gate holds the one
 * compute thread, so that what queues meanwhile is known exactly when it opens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "batcher.h"
#include "metrics/metrics.h"
#include "testing.h"

#include <pthread.h>

static struct served *served;
static struct served_model *model;
static struct batcher *batcher;
static struct arena arena;

static int setup(void **state)
{
    testing_setup(state);
    arena_init(&arena, 256 << 20);
    testing_promote("sentiment", testing_publish_random("sentiment", 8, 60));
    served_start(&served, &(struct served_config){.dir = testing_dir, .poll_ms = 10});
    CHECK_OK(testing_acquire(served, "sentiment", &model));
    batcher_start(&batcher, &(struct batcher_config){.threads = 1, .queue_texts = 2000});
    return 0;
}

static int teardown(void **state)
{
    batcher_stop(batcher);
    served_release(model);
    served_stop(served);
    arena_fini(&arena);
    return testing_teardown(state);
}

/* ---- metrics as an operator reads them ---- */

/* The value of the line of /metrics that begins with this; 0: there is none. */
static double metric(const char *line)
{
    struct buf page = BUF_INIT(1 << 20);

    metrics_render(&page);
    const char *at = strstr(page.data, line);
    double value = at ? strtod(at + strlen(line), NULL) : 0;
    buf_fini(&page);
    return value;
}

#define TASK "{task=\"sentiment\"}"

struct books {
    double passes, texts, full, idle, delay, late, gone, refused;
};

static struct books books_now(void)
{
    return (struct books){
        .passes = metric("bloginfer_batch_texts_count" TASK),
        .texts = metric("bloginfer_batch_texts_sum" TASK),
        .full = metric("bloginfer_batch_releases_total{task=\"sentiment\",reason=\"full\"}"),
        .idle = metric("bloginfer_batch_releases_total{task=\"sentiment\",reason=\"idle\"}"),
        .delay = metric("bloginfer_batch_releases_total{task=\"sentiment\",reason=\"delay\"}"),
        .late = metric("bloginfer_batch_dropped_total{task=\"sentiment\",reason=\"deadline\"}"),
        .gone = metric("bloginfer_batch_dropped_total{task=\"sentiment\",reason=\"cancelled\"}"),
        .refused = metric("bloginfer_batch_dropped_total{task=\"sentiment\",reason=\"full\"}"),
    };
}

/* What was added since. */
static struct books books_since(const struct books *before)
{
    struct books b = books_now();
    double *now = (double *)&b;

    for (size_t i = 0; i < sizeof b / sizeof *now; i++)
        now[i] -= ((const double *)before)[i];
    return b;
}

/* ---- jobs ---- */

/* Counts answers up, in the order they come; holds back whoever answers a job that is to hold. */
struct board {
    pthread_mutex_t mu;
    pthread_cond_t changed;
    int n_answers;
    bool open;
};

static struct board board = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, false};

struct task {
    struct batcher_job job;
    bool hold;
    atomic_bool cancelled;
    atomic_int asked, patience; /* cancelled says true after `patience` questions; 0: never */
    struct status st;
    int place; /* among the answers, from 1; 0: none yet */
};

static void task_done(struct batcher_job *job, struct status st)
{
    struct task *t = job->ctx;

    pthread_mutex_lock(&board.mu);
    t->st = st;
    t->place = ++board.n_answers;
    pthread_cond_broadcast(&board.changed);
    while (t->hold && !board.open)
        pthread_cond_wait(&board.changed, &board.mu);
    pthread_mutex_unlock(&board.mu);
}

static bool task_cancelled(void *arg)
{
    struct task *t = arg;

    return t->cancelled || (t->patience && ++t->asked > t->patience);
}

static void gate_open(void)
{
    pthread_mutex_lock(&board.mu);
    board.open = true;
    pthread_cond_broadcast(&board.changed);
    pthread_mutex_unlock(&board.mu);
}

static void wait_done(const struct task *t)
{
    pthread_mutex_lock(&board.mu);
    while (!t->place)
        pthread_cond_wait(&board.changed, &board.mu);
    pthread_mutex_unlock(&board.mu);
}

static void text_of(struct rng *rng, size_t n, char *text)
{
    *text = '\0';
    for (size_t k = 0; k < n; k++)
        sprintf(text + 3 * k, "%c%c%c", 0xe4 + (int)rng_below(rng, 5), 0x80 + (int)rng_below(rng, 64),
                0x80 + (int)rng_below(rng, 64));
}

/* n texts of these lengths, in a's memory. */
static struct task *task_in(struct arena *a, struct served_model *m, struct rng *rng, size_t n, size_t shortest,
                            size_t longest)
{
    struct task *t = arena_zalloc(a, 1, sizeof *t);
    char text[3 * 100 + 1];

    CHECK_OK(batcher_job_init(&t->job, a, m, n));
    for (size_t i = 0; i < n; i++) {
        text_of(rng, shortest + (size_t)rng_below(rng, longest - shortest + 1), text);
        CHECK_OK(batcher_job_text(&t->job, a, i, text, strlen(text)));
    }
    t->job.cancelled = task_cancelled;
    t->job.done = task_done;
    t->job.ctx = t;
    return t;
}

static struct task *task_of(size_t n)
{
    static struct rng rng;
    static bool begun;

    if (!begun)
        rng_init(&rng, 7);
    begun = true;
    return task_in(&arena, model, &rng, n, 25, 25);
}

static void submit(struct task *t)
{
    CHECK_OK(batcher_submit(batcher, &t->job));
}

/* From here to gate_open() nothing is computed. */
static void gate_close(void)
{
    struct task *t = task_of(1);

    board.n_answers = 0;
    board.open = false;
    t->hold = true;
    submit(t);
    wait_done(t);
}

/* The probabilities are what each text alone gives. The sums of a batch are added in another order: a bound. */
static void assert_right(const struct task *t)
{
    const struct engine *e = t->job.model->engine;
    struct nn_scratch *scratch = engine_scratch_new(e, 1);
    size_t C = engine_shape(e)->classes;
    float probs[NN_MAX_CLASSES];

    assert_int_equal(t->st.code, ST_OK);
    for (size_t i = 0; i < t->job.n_rows; i++) {
        assert_true(engine_run(e, scratch, &t->job.rows[i].example, 1, probs, NULL, NULL));
        for (size_t k = 0; k < C; k++)
            assert_true(fabsf(probs[k] - t->job.probs[i * C + k]) < 1e-5f);
    }
    nn_scratch_free(scratch);
}

/* ---- passes ---- */

static void test_what_came_while_busy_is_one_pass(void **state)
{
    (void)state;
    struct task *tasks[5];

    gate_close();
    struct books before = books_now();
    for (size_t i = 0; i < COUNT_OF(tasks); i++)
        submit(tasks[i] = task_of(i + 1));
    assert_int_equal(metric("bloginfer_batch_queue_texts" TASK), 15);
    gate_open();
    for (size_t i = 0; i < COUNT_OF(tasks); i++) {
        wait_done(tasks[i]);
        assert_right(tasks[i]);
        assert_int_equal(tasks[i]->place, 2 + i);
    }
    struct books b = books_since(&before);
    assert_int_equal(b.passes, 1);
    assert_int_equal(b.texts, 15);
    assert_int_equal(b.idle, 1);
    assert_int_equal(metric("bloginfer_batch_queue_texts" TASK), 0);
}

static void test_a_large_job_is_split_and_shares_its_last_pass(void **state)
{
    (void)state;
    struct task *large = task_of(70), *small = task_of(3);

    gate_close();
    struct books before = books_now();
    submit(large);
    submit(small);
    gate_open();
    wait_done(large);
    wait_done(small);
    assert_right(large);
    assert_right(small);
    struct books b = books_since(&before);
    assert_int_equal(b.passes, 3); /* 32, 32, 6 + 3 */
    assert_int_equal(b.texts, 73);
    assert_int_equal(b.full, 2);
}

static void test_the_limit_of_a_pass_changes_at_once(void **state)
{
    (void)state;
    struct task *tasks[4];

    gate_close();
    struct books before = books_now();
    for (size_t i = 0; i < COUNT_OF(tasks); i++) {
        tasks[i] = task_of(5);
        tasks[i]->job.max_batch = i < 3 ? 256 : 4;
        submit(tasks[i]);
    }
    gate_open();
    for (size_t i = 0; i < COUNT_OF(tasks); i++) {
        wait_done(tasks[i]);
        assert_right(tasks[i]);
    }
    assert_int_equal(books_since(&before).passes, 5);
}

static void test_lengths_that_differ_much_are_apart_and_nobody_starves(void **state)
{
    (void)state;
    struct rng rng;
    struct task *tasks[9];

    rng_init(&rng, 4);
    gate_close();
    struct books before = books_now();
    submit(tasks[0] = task_in(&arena, model, &rng, 1, 60, 60));
    for (size_t i = 1; i < COUNT_OF(tasks); i++)
        submit(tasks[i] = task_in(&arena, model, &rng, 16, 4, 8));
    gate_open();
    for (size_t i = 0; i < COUNT_OF(tasks); i++) {
        wait_done(tasks[i]);
        assert_right(tasks[i]);
    }
    assert_int_equal(tasks[0]->place, 2); /* it came first */
    assert_int_equal(books_since(&before).passes, 5);
}

static void test_an_idle_batcher_does_not_wait_for_a_delay(void **state)
{
    (void)state;
    struct books before = books_now();

    for (size_t i = 0; i < 100; i++) { /* one caller after the other is no load */
        struct task *t = task_of(1);
        t->job.max_queue_delay_us = 100000;
        submit(t);
        wait_done(t);
        assert_right(t);
    }
    assert_int_equal(books_since(&before).delay, 0);
    assert_int_equal(books_since(&before).idle, 100);
}

/* Two calls at once are load: then the next waits for a full pass, however long. */
static void test_under_load_a_pass_waits_until_it_is_full(void **state)
{
    (void)state;
    struct task *tasks[4];

    gate_close();
    for (size_t i = 0; i < COUNT_OF(tasks); i++) {
        tasks[i] = task_of(1);
        tasks[i]->job.max_queue_delay_us = i < 2 ? 0 : 100000000;
        tasks[i]->job.max_batch = 2;
    }
    submit(tasks[0]);
    submit(tasks[1]);
    gate_open();
    wait_done(tasks[1]);
    struct books before = books_now();
    submit(tasks[2]);
    submit(tasks[3]);
    wait_done(tasks[3]);
    struct books b = books_since(&before);
    assert_int_equal(b.passes, 1);
    assert_int_equal(b.full, 1);
}

static void test_a_delay_ends(void **state)
{
    (void)state;
    struct task *tasks[3];

    gate_close();
    for (size_t i = 0; i < COUNT_OF(tasks); i++) {
        tasks[i] = task_of(1);
        tasks[i]->job.max_queue_delay_us = i < 2 ? 0 : 20000;
    }
    submit(tasks[0]);
    submit(tasks[1]);
    gate_open();
    wait_done(tasks[1]);
    struct books before = books_now();
    int64_t start = clock_now();
    submit(tasks[2]);
    wait_done(tasks[2]);
    assert_true(clock_seconds(start) >= 0.02);
    assert_int_equal(books_since(&before).delay, 1);
}

/* ---- levels ---- */

static void test_bulk_goes_after_online(void **state)
{
    (void)state;
    struct task *bulk = task_of(20), *online = task_of(40);

    bulk->job.level = BATCHER_BULK;
    gate_close();
    submit(bulk);
    submit(online);
    gate_open();
    wait_done(bulk);
    wait_done(online);
    assert_true(online->place < bulk->place);
    assert_right(bulk);
}

static void test_bulk_that_has_waited_goes_first(void **state)
{
    (void)state;
    struct task *bulk = task_of(1), *online = task_of(1);

    bulk->job.level = BATCHER_BULK;
    gate_close();
    submit(bulk);
    while (clock_now() <= bulk->job.arrival + BATCHER_AGE_MS * CLOCK_MS)
        clock_sleep_ms(10);
    submit(online);
    gate_open();
    wait_done(bulk);
    wait_done(online);
    assert_true(bulk->place < online->place);
}

/* ---- what is not computed ---- */

static void test_a_full_queue_refuses_at_once(void **state)
{
    (void)state;
    struct task *most = task_of(1999), *over = task_of(2), *last = task_of(1);

    gate_close();
    struct books before = books_now();
    submit(most);
    CHECK_CODE(ST_EXHAUSTED, batcher_submit(batcher, &over->job));
    submit(last);
    assert_int_equal(books_since(&before).refused, 2);
    over->job.size_bytes = 65 << 20;
    over->job.n_rows = 1;
    gate_open();
    wait_done(most);
    wait_done(last);
    CHECK_CODE(ST_EXHAUSTED, batcher_submit(batcher, &over->job)); /* by its bytes */
    over->job.size_bytes = 63 << 20;
    submit(over);
    wait_done(over);
    submit(over); /* the bytes have been given back */
    wait_done(over);
}

static void test_what_nobody_waits_for_is_not_computed(void **state)
{
    (void)state;
    struct task *late = task_of(40), *gone = task_of(3), *other = task_of(2);

    gate_close();
    struct books before = books_now();
    late->job.deadline = clock_now() + CLOCK_MS;
    submit(late);
    submit(gone);
    submit(other);
    while (clock_now() <= late->job.deadline)
        clock_sleep_ms(1);
    gone->cancelled = true;
    gate_open();
    wait_done(late);
    wait_done(gone);
    wait_done(other);
    assert_int_equal(late->st.code, ST_DEADLINE);
    assert_int_equal(gone->st.code, ST_CANCELLED);
    assert_right(other);
    struct books b = books_since(&before);
    assert_int_equal(b.late, 40);
    assert_int_equal(b.gone, 3);
    assert_int_equal(b.texts, 2);
    assert_int_equal(b.passes, 1);
    assert_int_equal(metric("bloginfer_batch_queue_texts" TASK), 0);
}

static void test_a_pass_ends_when_its_last_caller_goes(void **state)
{
    (void)state;
    struct task *a = task_of(1), *b = task_of(1);

    gate_close();
    struct books before = books_now();
    a->patience = b->patience = 1; /* asked before the pass; gone at the next question, which the engine asks */
    submit(a);
    submit(b);
    gate_open();
    wait_done(a);
    wait_done(b);
    assert_int_equal(a->st.code, ST_CANCELLED);
    assert_int_equal(b->st.code, ST_CANCELLED);
    struct books since = books_since(&before);
    assert_int_equal(since.gone, 2);
    assert_int_equal(since.passes, 0);
}

static void test_a_pass_goes_on_for_its_last_caller(void **state)
{
    (void)state;
    struct task *a = task_of(1), *b = task_of(1);

    gate_close();
    a->patience = 1;
    submit(a);
    submit(b);
    gate_open();
    wait_done(b);
    assert_right(b);
    wait_done(a);
}

static void test_a_stop_computes_what_waits(void **state)
{
    (void)state;
    struct task *t = task_of(100);

    gate_close();
    t->job.max_queue_delay_us = 100000000;
    submit(t);
    gate_open();
    batcher_stop(batcher);
    batcher = NULL;
    assert_true(t->place > 0);
    assert_right(t);
}

/* ---- on a poller ---- */

static void *visit(void *arg)
{
    struct task *one = task_of(1), *other = task_of(2), *full = task_of(32);

    (void)arg;
    assert_true(batcher_due(batcher) == CLOCK_NEVER);
    submit(one);
    submit(other);
    assert_true(batcher_due(batcher) > INT64_MIN && batcher_due(batcher) <= clock_now());
    assert_int_equal(one->place, 0);
    batcher_run(batcher);
    assert_true(one->place > 0 && other->place > 0);
    assert_right(one);
    assert_right(other);
    assert_true(batcher_due(batcher) == CLOCK_NEVER);
    submit(full);
    assert_true(batcher_due(batcher) == INT64_MIN);
    batcher_run(batcher);
    assert_right(full);
    batcher_run(batcher); /* nothing to do */
    return NULL;
}

static void test_a_visitor_computes_what_it_submits(void **state)
{
    (void)state;
    pthread_t thread = thread_start("visitor", 0, visit, NULL); /* a thread that visits once does so for good */

    pthread_join(thread, NULL);
    struct task *t = task_of(1); /* and what others submit wakes the batcher's own */
    submit(t);
    wait_done(t);
    assert_right(t);
}

/* ---- many threads, many models ---- */

struct submitter {
    uint64_t seed;
    struct arena arena;
    struct task *tasks[60];
};

static void *submit_all(void *arg)
{
    struct submitter *s = arg;
    struct rng rng;

    rng_init(&rng, s->seed);
    for (size_t i = 0; i < COUNT_OF(s->tasks); i++) {
        size_t n = rng_below(&rng, 4) ? 1 : 1 + (size_t)rng_below(&rng, 80);
        struct task *t = s->tasks[i] = task_in(&s->arena, model, &rng, n, 0, 90); /* some are clipped */
        t->job.level = rng_below(&rng, 3) ? BATCHER_ONLINE : BATCHER_BULK;
        t->job.max_batch = 24;
        t->job.max_queue_delay_us = (uint32_t)rng_below(&rng, 2) * 300;
        while (batcher_submit(batcher, &t->job).code) /* full */
            clock_sleep_ms(1);
        if (rng_below(&rng, 4) == 0)
            wait_done(t);
    }
    return NULL;
}

static void test_many_threads_get_their_own_answers(void **state)
{
    (void)state;
    struct submitter submitters[4];
    pthread_t threads[4];
    double larger = metric("bloginfer_batch_texts_count" TASK) -
                    metric("bloginfer_batch_texts_bucket{task=\"sentiment\",le=\"32\"}");

    batcher_stop(batcher);
    batcher_start(&batcher, &(struct batcher_config){.threads = 3, .queue_texts = 500});
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        submitters[i].seed = 100 + i;
        arena_init(&submitters[i].arena, 64 << 20);
        threads[i] = thread_start("submitter", 0, submit_all, &submitters[i]);
    }
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        pthread_join(threads[i], NULL);
        for (size_t k = 0; k < COUNT_OF(submitters[i].tasks); k++) {
            wait_done(submitters[i].tasks[k]);
            assert_right(submitters[i].tasks[k]);
        }
    }
    assert_true(metric("bloginfer_batch_texts_count" TASK) -
                    metric("bloginfer_batch_texts_bucket{task=\"sentiment\",le=\"32\"}") ==
                larger); /* none was over its limit */
    batcher_stop(batcher);
    batcher = NULL; /* nothing of it is in done() any more */
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        arena_fini(&submitters[i].arena);
}

/* Jobs of the old and of the new version wait together; each is answered by its own. */
static void test_versions_that_change_do_not_mix(void **state)
{
    (void)state;
    struct served_model *versions[6] = {NULL};
    struct task *tasks[6][4];
    struct rng rng;

    rng_init(&rng, 9);
    gate_close();
    for (size_t v = 0; v < COUNT_OF(versions); v++) {
        uint64_t version = testing_publish("sentiment", "sentiment", "negative,positive", 2, v + 1);
        testing_promote("sentiment", version);
        while (!versions[v]) {
            CHECK_OK(testing_acquire(served, "sentiment", &versions[v]));
            if (versions[v]->version != version) {
                served_release(versions[v]);
                versions[v] = NULL;
                clock_sleep_ms(1);
            }
        }
        for (size_t i = 0; i < COUNT_OF(tasks[v]); i++)
            submit(tasks[v][i] = task_in(&arena, versions[v], &rng, 1 + i, 5, 40));
    }
    gate_open();
    for (size_t v = 0; v < COUNT_OF(versions); v++) {
        for (size_t i = 0; i < COUNT_OF(tasks[v]); i++) {
            wait_done(tasks[v][i]);
            assert_int_equal(tasks[v][i]->st.code, ST_OK);
            for (size_t k = 0; k <= i; k++)
                assert_true(fabsf(tasks[v][i]->job.probs[2 * k + 1] - testing_prob(v + 1)) < 1e-4f);
        }
        served_release(versions[v]);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_came_while_busy_is_one_pass),
        TEST(test_a_large_job_is_split_and_shares_its_last_pass),
        TEST(test_the_limit_of_a_pass_changes_at_once),
        TEST(test_lengths_that_differ_much_are_apart_and_nobody_starves),
        TEST(test_an_idle_batcher_does_not_wait_for_a_delay),
        TEST(test_under_load_a_pass_waits_until_it_is_full),
        TEST(test_a_delay_ends),
        TEST(test_bulk_goes_after_online),
        TEST(test_bulk_that_has_waited_goes_first),
        TEST(test_a_full_queue_refuses_at_once),
        TEST(test_what_nobody_waits_for_is_not_computed),
        TEST(test_a_pass_ends_when_its_last_caller_goes),
        TEST(test_a_pass_goes_on_for_its_last_caller),
        TEST(test_a_stop_computes_what_waits),
        TEST(test_a_visitor_computes_what_it_submits),
        TEST(test_many_threads_get_their_own_answers),
        TEST(test_versions_that_change_do_not_mix),
    };

    return cmocka_run_group_tests_name("batcher", tests, NULL, NULL);
}
