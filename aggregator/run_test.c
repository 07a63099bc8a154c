/* What a run promises to its workers and operators. Workers here are threads that speak to the run as control.c and
 * bulk.c do; the network has tests of its own. */
#include "run.h"

#include "classifier/classifier.h"
#include "text/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define WAIT_MS 60000

/* ---- a home for runs ---- */

static char home[64];
static struct run_house house;

static int set_up(void **state)
{
    char store[96];

    (void)state;
    snprintf(home, sizeof home, "/tmp/bloginfer-run-XXXXXX");
    assert_non_null(mkdtemp(home));
    snprintf(store, sizeof store, "%s/models", home);
    house = (struct run_house){.state_dir = home, .join_timeout_ms = WAIT_MS, .heartbeat_ms = 1000};
    assert_int_equal(registry_open(&house.registry, store, 0).code, ST_OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    registry_close(house.registry);
    assert_int_equal(fs_remove_tree(home).code, ST_OK);
    return 0;
}

static struct run *new_run(const char *id, const struct run_config *c)
{
    struct run *r;
    struct status st = run_new(&r, &house, id, c);

    if (st.code)
        fail_msg("%s", st.msg);
    run_start(r);
    return r;
}

static enum run_state state_of(struct run *r)
{
    struct run_view v;

    run_view(r, &v);
    run_view_fini(&v);
    return v.state;
}

/* ---- watching ---- */

struct signal {
    pthread_mutex_t mu;
    pthread_cond_t cond;
    uint64_t n;
};

static void signal_init(struct signal *s)
{
    pthread_mutex_init(&s->mu, NULL);
    cond_init_monotonic(&s->cond);
    s->n = 0;
}

static void signal_raise(void *arg)
{
    struct signal *s = arg;

    pthread_mutex_lock(&s->mu);
    s->n++;
    pthread_cond_broadcast(&s->cond);
    pthread_mutex_unlock(&s->mu);
}

/* Sleeps until the count is not `seen`; returns it. Dies after WAIT_MS. */
static uint64_t signal_wait(struct signal *s, uint64_t seen)
{
    struct timespec t = clock_timespec(clock_after_ms(WAIT_MS));

    pthread_mutex_lock(&s->mu);
    while (s->n == seen)
        if (pthread_cond_timedwait(&s->cond, &s->mu, &t))
            fail_msg("nothing happened for %d ms", WAIT_MS);
    seen = s->n;
    pthread_mutex_unlock(&s->mu);
    return seen;
}

/* Waits until pred says so. */
static void wait_for(struct run *r, bool (*pred)(const struct run_view *v))
{
    struct signal s;
    struct run_watcher watcher = {.wake = signal_raise, .arg = &s};
    uint64_t seen = 0;

    signal_init(&s);
    run_watch(r, &watcher);
    for (;;) {
        struct run_view v;

        run_view(r, &v);
        bool done = pred(&v);
        run_view_fini(&v);
        if (done)
            break;
        seen = signal_wait(&s, seen);
    }
    run_unwatch(r, &watcher);
}

static bool has_ended(const struct run_view *v)
{
    return run_state_ended(v->state);
}

static bool has_one_round(const struct run_view *v)
{
    return v->n_rounds >= 1 || run_state_ended(v->state);
}

static bool nobody_is_there(const struct run_view *v)
{
    return v->n_workers == 0;
}

/* ---- a worker ---- */

struct hand {
    struct run *run;
    uint32_t shard, count;
    float gradient; /* every value of its update */
    uint64_t samples;
    uint32_t leave_after; /* exchanges; 0: stays */
    uint32_t leave_after_reports;
    bool deserts; /* leaves instead of reporting */
    bool silent;  /* joins, never delivers; still reports */
    pthread_t thread;
    struct signal signal;
    struct status joined;
    uint32_t delivered, reported;
    struct nn_shape scored; /* by its last report */
    bool replaced;
};

static enum run_verdict deliver(struct run *r, uint32_t shard, uint64_t version, uint64_t samples, float value,
                                struct status *why)
{
    size_t n = nn_n_params(run_shape(r));
    struct run_update u = {.shard_index = shard,
                           .base_version = version,
                           .samples = samples,
                           .total_bytes = n * sizeof(float),
                           .loss = 0.5};
    struct spool *spool = NULL;
    enum run_verdict v = run_submit_begin(r, &u, &spool, why);

    if (v == RUN_ACCEPTED) {
        float *values = xcalloc(n, sizeof *values);
        for (size_t i = 0; i < n; i++)
            values[i] = value;
        struct status st = spool_append(spool, 0, crc32c(0, values, n * sizeof *values), values, n * sizeof *values);
        assert_int_equal(st.code, ST_OK);
        free(values);
        v = run_submit(r, &u, spool, why);
    }
    spool_free(spool);
    return v;
}

static void *work(void *arg)
{
    struct hand *h = arg;
    struct run_join join = {h->shard, h->count, 20, 10, "test", "0"};
    struct run_directive d = {0};
    struct run_member *m;
    struct status why;
    uint64_t seen = 0;

    h->joined = run_join(h->run, &join, signal_raise, &h->signal, &m);
    if (h->joined.code)
        return NULL;
    for (;;) {
        bool fresh = run_next_directive(h->run, m, &d);

        if (run_member_replaced(h->run, m)) {
            h->replaced = true;
            break;
        }
        if (!fresh) {
            seen = signal_wait(&h->signal, seen);
            continue;
        }
        if (d.kind == RUN_END)
            break;
        if (d.kind == RUN_TRAIN && !h->silent)
            h->delivered += deliver(h->run, h->shard, d.base_version, h->samples, h->gradient, &why) == RUN_ACCEPTED;
        if (d.kind == RUN_EVALUATE && h->deserts)
            break;
        if (d.kind == RUN_EVALUATE) {
            run_report(h->run, m,
                       &(struct run_report){.base_version = d.base_version, .rows = 10, .correct = 9, .loss_sum = 3});
            h->scored = d.shape;
            h->reported++;
        }
        if ((h->leave_after && h->delivered == h->leave_after) ||
            (h->leave_after_reports && h->reported == h->leave_after_reports))
            break;
    }
    run_leave(h->run, m);
    return NULL;
}

static void put_to_work(struct hand *h, struct run *r, uint32_t shard, uint32_t count)
{
    h->run = r;
    h->shard = shard;
    h->count = count;
    if (!h->samples)
        h->samples = 20;
    signal_init(&h->signal);
    h->thread = thread_start("hand", 0, work, h);
}

static void put_all_to_work(struct hand *hands, uint32_t n, struct run *r)
{
    for (uint32_t i = 0; i < n; i++)
        put_to_work(&hands[i], r, i, n);
}

static void let_go(struct hand *hands, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        pthread_join(hands[i].thread, NULL);
}

/* ---- the promises ---- */

static const struct run_config three = {.rounds = 2, .workers = 3, .global_batch = 30};

static void test_a_run_trains_evaluates_publishes_and_is_promoted(void **state)
{
    struct hand hands[3] = {{.gradient = 0.001f}, {.gradient = 0.002f}, {.gradient = 0.003f}};
    struct run *r = new_run("first", &three);
    struct run_view v;
    uint64_t production;

    (void)state;
    put_all_to_work(hands, 3, r);
    wait_for(r, has_ended);
    let_go(hands, 3);
    run_view(r, &v);
    assert_string_equal(v.message, "");
    assert_int_equal(v.state, RUN_FINISHED);
    assert_int_equal(v.n_rounds, 2);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(v.rounds[i].round, i + 1);
        assert_int_equal(v.rounds[i].updates, 6); /* 60 rows in exchanges of 30: 2 exchanges of 3 workers */
        assert_int_equal(v.rounds[i].samples, 120);
        assert_int_equal(v.rounds[i].workers, 3);
        assert_int_equal(v.rounds[i].eval_rows, 30);
        assert_true(fabs(v.rounds[i].eval_accuracy - 0.9) < 1e-12);
        assert_true(fabs(v.rounds[i].train_loss - 0.5) < 1e-12);
        assert_int_equal(v.rounds[i].bytes_up, 6 * nn_n_params(run_shape(r)) * sizeof(float));
    }
    assert_int_equal(v.version, 1);
    assert_true(v.promoted);
    const char *files[] = {"model.safetensors", "metrics.jsonl", "curve.svg", "SHA256SUMS"};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        char path[256];
        assert_true(fs_exists(store_path(path, sizeof path, registry_dir(house.registry), "sentiment", 1, files[i])));
    }
    assert_int_equal(store_get_pointer(registry_dir(house.registry), "sentiment", STORE_PRODUCTION, &production).code,
                     ST_OK);
    assert_int_equal(production, 1);
    run_view_fini(&v);
    run_suspend(r);
    run_release(r);
}

static void test_the_step_is_that_of_the_mean_weighted_by_samples(void **state)
{
    struct run_config c = {.rounds = 1, .workers = 2, .local_epochs = 1}; /* FedAvg: params -= mean */
    struct hand hands[2] = {{.gradient = 0.5f, .samples = 5}, {.gradient = -0.25f, .samples = 15}};
    struct run *r = new_run("mean", &c);
    struct model *m;

    (void)state;
    put_all_to_work(hands, 2, r);
    wait_for(r, has_ended);
    let_go(hands, 2);
    assert_int_equal(state_of(r), RUN_FINISHED);
    float *start = xaligned(nn_n_params(run_shape(r)), sizeof *start);
    nn_init(start, run_shape(r), 1);
    assert_int_equal(store_load(registry_dir(house.registry), "sentiment", 1, &m, NULL).code, ST_OK);
    double mean = (5 * 0.5 + 15 * -0.25) / 20;
    for (size_t i = 0; i < m->block_n; i += 997)
        assert_true(fabs(m->block[i] - (start[i] - mean)) < 1e-6);
    model_free(m);
    free(start);
    run_suspend(r);
    run_release(r);
}

static void test_a_worker_that_leaves_costs_only_itself(void **state)
{
    struct hand hands[3] = {{.gradient = 0.001f}, {.gradient = 0.001f}, {.gradient = 0.001f, .leave_after = 1}};
    struct run *r = new_run("leaves", &three);
    struct run_view v;

    (void)state;
    put_all_to_work(hands, 3, r);
    wait_for(r, has_ended);
    let_go(hands, 3);
    run_view(r, &v);
    assert_int_equal(v.state, RUN_FINISHED);
    assert_int_equal(v.rounds[1].workers, 2);
    assert_int_equal(hands[2].delivered, 1);
    run_view_fini(&v);
    run_suspend(r);
    run_release(r);
}

static void test_a_silent_worker_is_not_waited_for_beyond_the_deadline(void **state)
{
    struct run_config c = {.rounds = 1, .workers = 3, .global_batch = 60, .exchange_timeout_ms = 300};
    struct hand hands[3] = {{.gradient = 0.001f}, {.gradient = 0.001f}, {.silent = true}};
    struct run *r = new_run("silent", &c);
    struct run_view v;

    (void)state;
    put_all_to_work(hands, 3, r);
    wait_for(r, has_ended);
    let_go(hands, 3);
    run_view(r, &v);
    assert_int_equal(v.state, RUN_FINISHED);
    assert_int_equal(v.rounds[0].updates, 2);
    assert_true(v.rounds[0].seconds >= 0.3);
    run_view_fini(&v);
    run_suspend(r);
    run_release(r);
}

static void test_an_evaluation_waits_for_a_quorum(void **state)
{
    struct run_config c = {.rounds = 1, .workers = 1};
    struct hand leaves = {.gradient = 0.001f, .deserts = true}, comes = {.gradient = 0.001f};
    struct run *r = new_run("deserted", &c);
    struct run_view v;

    (void)state;
    put_to_work(&leaves, r, 0, 1);
    let_go(&leaves, 1);
    put_to_work(&comes, r, 0, 1);
    wait_for(r, has_ended);
    let_go(&comes, 1);
    run_view(r, &v);
    assert_int_equal(v.state, RUN_FINISHED);
    assert_int_equal(v.rounds[0].eval_rows, 10);
    run_view_fini(&v);
    run_suspend(r);
    run_release(r);
}

static void test_an_evaluation_that_nobody_answers_lasts_until_its_deadline(void **state)
{
    struct run_config c = {.rounds = 1, .workers = 1, .exchange_timeout_ms = 300};
    struct hand leaves = {.gradient = 0.001f, .deserts = true};
    struct run *r = new_run("unanswered", &c);
    struct run_view v;

    (void)state;
    put_to_work(&leaves, r, 0, 1);
    wait_for(r, has_one_round);
    let_go(&leaves, 1);
    run_view(r, &v);
    assert_int_equal(v.n_rounds, 1);
    assert_int_equal(v.rounds[0].eval_rows, 0);
    assert_true(v.rounds[0].seconds >= 0.3);
    run_view_fini(&v);
    wait_for(r, has_ended);
    run_suspend(r);
    run_release(r);
}

static void test_production_is_compared_on_the_same_rows_alone(void **state)
{
    struct run_config c = {.rounds = 1, .workers = 2, .quorum = 1};
    struct hand first[2] = {{.gradient = 0.001f}, {.gradient = 0.001f}};
    struct hand second[2] = {{.gradient = 0.001f}, {.gradient = 0.001f, .leave_after_reports = 1}};
    struct run *r = new_run("one", &c);
    struct run_view v;

    (void)state;
    put_all_to_work(first, 2, r);
    wait_for(r, has_ended);
    let_go(first, 2);
    run_suspend(r);
    run_release(r);
    r = new_run("two", &c);
    put_all_to_work(second, 2, r); /* the second leaves before version 1 is measured */
    wait_for(r, has_ended);
    let_go(second, 2);
    run_view(r, &v);
    assert_int_equal(v.state, RUN_FINISHED);
    assert_int_equal(v.rounds[0].eval_rows, 20);
    assert_int_equal(v.version, 2);
    assert_false(v.promoted);
    run_view_fini(&v);
    run_suspend(r);
    run_release(r);
}

/* Puts a model of another shape than any run's into production. */
static struct nn_shape publish_small(const char *labels)
{
    const struct nn_shape shape = {
        .family = NN_LSTM, .vocab = TEXT_N_IDS, .embed = 4, .hidden = 4, .buckets = 64, .classes = 2, .max_tokens = 50};
    struct registry_verdict verdict;
    struct classifier *c;
    char *data;
    size_t size;

    assert_int_equal(classifier_new(&c, "sentiment", labels, &shape).code, ST_OK);
    struct model *m = classifier_to_model(c);
    assert_int_equal(model_encode(m, &data, &size).code, ST_OK);
    const struct store_file file = {STORE_MODEL_FILE, data, size};
    const struct registry_candidate candidate = {.task = "sentiment", .run = "small", .files = &file, .n_files = 1};
    assert_int_equal(registry_publish(house.registry, &candidate, &verdict).code, ST_OK);
    assert_true(verdict.promoted);
    free(data);
    model_free(m);
    classifier_free(c);
    return shape;
}

static void test_production_of_another_shape_is_measured_as_what_it_is(void **state)
{
    struct run_config c = {.rounds = 1, .workers = 2};
    struct hand hands[2] = {{.gradient = 0.001f}, {.gradient = 0.001f}};
    struct nn_shape small = publish_small("negative,positive");
    struct run *r = new_run("next", &c);
    struct run_view v;

    (void)state;
    put_all_to_work(hands, 2, r);
    wait_for(r, has_ended);
    let_go(hands, 2);
    run_view(r, &v);
    assert_int_equal(v.state, RUN_FINISHED);
    assert_int_equal(v.version, 2);
    assert_true(v.promoted); /* its hands give every model the same marks */
    assert_int_equal(hands[0].reported, 2);
    assert_memory_equal(&hands[0].scored, &small, sizeof small);
    run_view_fini(&v);
    run_suspend(r);
    run_release(r);
}

static void test_production_with_other_labels_is_not_compared(void **state)
{
    struct run_config c = {.rounds = 1, .workers = 1};
    struct hand hand = {.gradient = 0.001f};
    struct run_view v;

    (void)state;
    publish_small("positive,negative");
    struct run *r = new_run("next", &c);
    put_to_work(&hand, r, 0, 1);
    wait_for(r, has_ended);
    let_go(&hand, 1);
    run_view(r, &v);
    assert_int_equal(v.version, 2);
    assert_false(v.promoted);
    assert_int_equal(hand.reported, 1);
    run_view_fini(&v);
    run_suspend(r);
    run_release(r);
}

static void test_a_run_continues_only_from_its_own_shape(void **state)
{
    struct run_config c = {.rounds = 1, .workers = 1, .continue_from_production = true};
    struct run *r;

    (void)state;
    assert_int_equal(run_new(&r, &house, "fresh", &c).code, ST_OK); /* nothing is there yet */
    run_release(r);
    publish_small("negative,positive");
    struct status st = run_new(&r, &house, "next", &c);
    assert_int_equal(st.code, ST_PRECONDITION);
    assert_string_equal(st.msg, "continue_from_production: version 1 is lstm of another shape than this run's lstm");
    assert_int_equal(run_open(&r, &house, "next").code, ST_NOT_FOUND); /* and has left nothing behind */
}

static void test_updates_that_do_not_count_are_told_why(void **state)
{
    struct run_config c = {.rounds = 1, .workers = 2, .quorum = 2, .global_batch = 100};
    struct hand one = {.gradient = 0.001f};
    struct run *r = new_run("verdicts", &c);
    struct run_join join = {1, 2, 20, 10, "test", "0"};
    struct signal s;
    struct run_member *m, *other;
    struct run_directive d;
    struct spool *spool = NULL;
    struct status why;
    uint64_t seen = 0;

    (void)state;
    put_to_work(&one, r, 0, 2);
    signal_init(&s);
    assert_int_equal(run_join(r, &(struct run_join){2, 2, 20, 0, "", ""}, signal_raise, &s, &m).code, ST_INVALID);
    assert_int_equal(run_join(r, &(struct run_join){1, 3, 20, 0, "", ""}, signal_raise, &s, &m).code, ST_INVALID);
    assert_int_equal(run_join(r, &(struct run_join){1, 2, 0, 0, "", ""}, signal_raise, &s, &m).code, ST_INVALID);
    assert_int_equal(run_join(r, &join, signal_raise, &s, &m).code, ST_OK);
    while (!run_next_directive(r, m, &d) || d.kind != RUN_TRAIN)
        seen = signal_wait(&s, seen);

    size_t bytes = nn_n_params(run_shape(r)) * sizeof(float);
    struct run_update u = {.shard_index = 1, .base_version = d.base_version, .samples = 5, .total_bytes = bytes};
    struct run_update bad = u;
    bad.samples = 0;
    assert_int_equal(run_submit_begin(r, &bad, &spool, &why), RUN_REJECTED);
    bad.samples = 21; /* it joined with 20 */
    assert_int_equal(run_submit_begin(r, &bad, &spool, &why), RUN_REJECTED);
    bad = u, bad.total_bytes = bytes - 4;
    assert_int_equal(run_submit_begin(r, &bad, &spool, &why), RUN_REJECTED);
    static const double losses[] = {NAN, -1, 1e300};
    for (size_t i = 0; i < COUNT_OF(losses); i++) {
        bad = u, bad.loss = losses[i];
        assert_int_equal(run_submit_begin(r, &bad, &spool, &why), RUN_REJECTED);
        struct run_report report = {.base_version = d.base_version, .rows = 1, .loss_sum = losses[i]};
        assert_int_equal(run_report(r, m, &report).code, ST_INVALID);
    }
    bad = u, bad.base_version--;
    assert_int_equal(run_submit_begin(r, &bad, &spool, &why), RUN_LATE);
    bad = u, bad.shard_index = 7;
    assert_int_equal(run_submit_begin(r, &bad, &spool, &why), RUN_REJECTED);
    assert_null(run_fetch(r, d.base_version - 1));

    /* The same identity again: the newer stream counts, and what it delivers counts once. */
    assert_int_equal(run_join(r, &join, signal_raise, &s, &other).code, ST_OK);
    assert_true(run_member_replaced(r, m));
    assert_int_equal(deliver(r, 1, d.base_version, 5, 0.001f, &why), RUN_ACCEPTED);
    enum run_verdict again = deliver(r, 1, d.base_version, 5, 0.001f, &why);
    assert_true(again == RUN_DUPLICATE || again == RUN_LATE); /* late when the exchange has closed meanwhile */
    run_leave(r, m);
    run_stop(r, "enough");
    wait_for(r, has_ended);
    assert_int_equal(state_of(r), RUN_STOPPED);
    assert_int_equal(run_join(r, &join, signal_raise, &s, &m).code, ST_PRECONDITION);
    run_leave(r, other);
    let_go(&one, 1);
    run_suspend(r);
    run_release(r);
}

static void test_a_chunk_that_is_wrong_is_refused(void **state)
{
    struct spool *s;
    float v[4] = {1, 2, 3, 4}, bad[2] = {1, NAN}, inf[2] = {-INFINITY, 0}, back[4];

    (void)state;
    assert_int_equal(spool_new(&s, home, 4).code, ST_OK);
    assert_int_equal(spool_append(s, 4, crc32c(0, v, 8), v, 8).code, ST_INVALID);
    assert_int_equal(spool_append(s, 0, crc32c(0, v, 8) ^ 1, v, 8).code, ST_DATA_LOSS);
    assert_int_equal(spool_append(s, 0, crc32c(0, v, 6), v, 6).code, ST_INVALID);
    assert_int_equal(spool_append(s, 0, crc32c(0, v, 0), v, 0).code, ST_INVALID);
    assert_int_equal(spool_append(s, 0, crc32c(0, bad, 8), bad, 8).code, ST_INVALID);
    assert_int_equal(spool_append(s, 0, crc32c(0, inf, 8), inf, 8).code, ST_INVALID);
    assert_int_equal(spool_append(s, 0, crc32c(0, v, 12), v, 12).code, ST_OK);
    assert_false(spool_complete(s));
    assert_int_equal(spool_append(s, 12, crc32c(0, v, 8), v, 8).code, ST_INVALID);
    assert_int_equal(spool_append(s, 12, crc32c(0, v + 3, 4), v + 3, 4).code, ST_OK);
    assert_true(spool_complete(s));
    assert_int_equal(spool_read(s, back, 4).code, ST_OK);
    assert_memory_equal(v, back, sizeof v);
    spool_free(s);
}

static void test_a_run_comes_back_at_its_last_finished_round(void **state)
{
    struct run_config c = {.rounds = 3, .workers = 2, .quorum = 2, .global_batch = 20};
    struct hand before[2] = {{.gradient = 0.001f}, {.gradient = 0.001f, .leave_after_reports = 1}};
    struct hand after[2] = {{.gradient = 0.001f}, {.gradient = 0.001f}};
    struct run *r = new_run("back", &c);
    struct run_view v;

    (void)state;
    put_all_to_work(before, 2, r); /* 40 rows in exchanges of 20: the second worker leaves after round 1 */
    wait_for(r, has_one_round);
    pthread_join(before[1].thread, NULL);
    run_suspend(r);
    run_view(r, &v);
    uint32_t n_before = v.n_rounds;
    double seconds = v.rounds[0].seconds;
    run_view_fini(&v);
    assert_int_equal(n_before, 1);
    signal_raise(&before[0].signal);
    /* The process dies here: nothing of the first run object is used again but to free it. */
    struct run *again;
    struct status st = run_open(&again, &house, "back");
    assert_int_equal(st.code, ST_OK);
    run_start(again);
    put_all_to_work(after, 2, again);
    wait_for(again, has_ended);
    let_go(after, 2);
    run_view(again, &v);
    assert_int_equal(v.state, RUN_FINISHED);
    assert_int_equal(v.n_rounds, 3);
    assert_true(v.rounds[0].seconds == seconds); /* kept, not done again */
    assert_int_equal(after[0].delivered, 4);     /* rounds 2 and 3 alone */
    run_view_fini(&v);

    /* The worker of the first object is let go by ending it. */
    run_stop(r, "over");
    run_start(r);
    wait_for(r, has_ended);
    let_go(before, 1);
    wait_for(r, nobody_is_there);
    run_suspend(r);
    run_release(r);
    run_suspend(again);
    run_release(again);
}

static void test_a_run_without_workers_fails_with_a_reason(void **state)
{
    house.join_timeout_ms = 200;
    struct run *r = new_run("alone", &three);
    struct run_view v;

    (void)state;
    wait_for(r, has_ended);
    run_view(r, &v);
    assert_int_equal(v.state, RUN_FAILED);
    assert_string_equal(v.message, "only 0 of 3 workers joined within 0 s");
    run_view_fini(&v);
    run_suspend(r);
    run_release(r);
    house.join_timeout_ms = WAIT_MS;

    struct run *again; /* what has ended stays ended, and is still known */
    assert_int_equal(run_open(&again, &house, "alone").code, ST_OK);
    assert_int_equal(state_of(again), RUN_FAILED);
    run_release(again);
}

static void test_a_damaged_checkpoint_is_named(void **state)
{
    char path[128];
    struct run *r;

    (void)state;
    snprintf(path, sizeof path, "%s/bad", home);
    assert_int_equal(fs_mkdirs(path).code, ST_OK);
    snprintf(path, sizeof path, "%s/bad/checkpoint.safetensors", home);
    assert_int_equal(fs_write_atomic(path, "not a checkpoint", 16).code, ST_OK);
    struct status st = run_open(&r, &house, "bad");
    assert_int_equal(st.code, ST_DATA_LOSS);
    assert_non_null(strstr(st.msg, "checkpoint.safetensors"));

    /* It is left alone, also by a run that would take its name. */
    char *data;
    size_t size;
    assert_int_equal(run_new(&r, &house, "bad", &three).code, ST_DATA_LOSS);
    assert_int_equal(fs_read(path, 100, &data, &size).code, ST_OK);
    assert_string_equal(data, "not a checkpoint");
    free(data);
}

static void test_settings_are_completed_and_checked(void **state)
{
    static const struct {
        struct run_config c;
        const char *says;
    } bad[] = {
        {{.task = "cats"}, "task \"cats\": must be sentiment or troll"},
        {{.rounds = 1001}, "rounds 1001: must be from 1 to 1000"},
        {{.workers = 65}, "workers 65: must be from 1 to 64"},
        {{.workers = 2, .quorum = 3}, "quorum 3: must be from 1 to 2"},
        {{.learning_rate = -1}, "learning_rate -1: must be above 0 and at most 100"},
        {{.learning_rate = NAN}, "learning_rate nan: must be above 0 and at most 100"},
        {{.architecture = "svm"}, "architecture \"svm\": must be lstm, lstm-plain, textcnn, linear or bag"},
        {{.loss = "l2"}, "loss \"l2\": must be cross-entropy or hinge"},
        {{.partition = "dirichlet:x"},
         "partition \"dirichlet:x\": must be iid or dirichlet:ALPHA with ALPHA from 0.01 to 1000"},
    };
    struct run_config c = {0};

    (void)state;
    assert_int_equal(run_config_complete(&c).code, ST_OK);
    assert_string_equal(c.task, "sentiment");
    assert_int_equal(c.rounds, 5);
    assert_int_equal(c.workers, 3);
    assert_int_equal(c.quorum, 2);
    assert_string_equal(c.optimizer, "adam");
    assert_string_equal(c.architecture, "lstm");
    assert_string_equal(c.loss, "cross-entropy");
    assert_true(c.learning_rate == 2e-3);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        c = bad[i].c;
        struct status st = run_config_complete(&c);
        assert_int_equal(st.code, ST_INVALID);
        assert_string_equal(st.msg, bad[i].says);
    }
    for (int i = 0; i < NN_N_FAMILIES; i++) { /* each has a recipe */
        enum nn_family family = (enum nn_family)(NN_LSTM + i);
        c = (struct run_config){.loss = "hinge"};
        strcpy(c.architecture, nn_family_name(family));
        assert_int_equal(run_config_complete(&c).code, ST_OK);
        assert_int_equal(run_family(&c), family);
        assert_int_equal(run_objective(&c).loss, NN_HINGE);
        assert_true(c.global_batch > 0 && c.learning_rate > 0);
        assert_true(run_recipe(&c)->local_batch > 0 && run_recipe(&c)->local_learning_rate > 0);
    }
    c = (struct run_config){.optimizer = "magic"};
    assert_int_equal(run_config_complete(&c).code, ST_INVALID);
}

static void test_the_rate_rises_then_falls(void **state)
{
    struct run_config c = {0};

    (void)state;
    assert_int_equal(run_config_complete(&c).code, ST_OK);
    assert_true(fabs(run_learning_rate(&c, 0, 1000) - 2e-3 / 50) < 1e-12);
    assert_true(fabs(run_learning_rate(&c, 50, 1000) - 2e-3) < 1e-5);
    assert_true(fabs(run_learning_rate(&c, 999, 1000) - 2e-3 * 0.02) < 1e-12);
    for (uint64_t i = 51; i < 1000; i++)
        assert_true(run_learning_rate(&c, i, 1000) < run_learning_rate(&c, i - 1, 1000));
    for (uint64_t n = 1; n < 25; n++) /* short runs stay in range, too */
        for (uint64_t i = 0; i < n; i++)
            assert_true(run_learning_rate(&c, i, n) > 0 && run_learning_rate(&c, i, n) <= 2e-3 + 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_run_trains_evaluates_publishes_and_is_promoted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_step_is_that_of_the_mean_weighted_by_samples, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_worker_that_leaves_costs_only_itself, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_silent_worker_is_not_waited_for_beyond_the_deadline, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_evaluation_waits_for_a_quorum, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_evaluation_that_nobody_answers_lasts_until_its_deadline, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_production_is_compared_on_the_same_rows_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_production_of_another_shape_is_measured_as_what_it_is, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_production_with_other_labels_is_not_compared, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_run_continues_only_from_its_own_shape, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_updates_that_do_not_count_are_told_why, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_chunk_that_is_wrong_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_run_comes_back_at_its_last_finished_round, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_run_without_workers_fails_with_a_reason, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_damaged_checkpoint_is_named, set_up, tear_down),
        cmocka_unit_test(test_settings_are_completed_and_checked),
        cmocka_unit_test(test_the_rate_rises_then_falls),
    };

    return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}
