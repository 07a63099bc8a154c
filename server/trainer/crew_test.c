/* crew_test.c - crews of real processes, with runs as the aggregator would tell them. The program that is launched is
 * this test itself: with arguments it is a worker whose run id says what it does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "crew.h"
#include "process_launcher.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_MS 20000

static char *self, dir[] = "/tmp/crew-XXXXXX";
static struct launcher *launcher;
static struct crew_config config;

/* argv: self --aggregator A --run R --shard I/N ... */
static int worker_main(char **argv)
{
    const char *run = argv[4], *shard = argv[6];

    puts("up");
    fflush(stdout);
    if (!strncmp(run, "flaky", 5) && *shard == '0')
        return 1;
    if (!strcmp(run, "stubborn"))
        signal(SIGTERM, SIG_IGN);
    puts("settled");
    fflush(stdout);
    for (;;)
        pause();
}

/* ---- a run as the aggregator tells it ---- */

struct told {
    Bloginfer__V1__Run run;
    Bloginfer__V1__RunConfig config;
    Bloginfer__V1__WorkerState states[CREW_MAX_WORKERS], *workers[CREW_MAX_WORKERS];
};

static struct told *tell(const char *run_id, uint32_t n, uint32_t quorum)
{
    struct told *t = xcalloc(1, sizeof *t);

    bloginfer__v1__run__init(&t->run);
    bloginfer__v1__run_config__init(&t->config);
    t->run.run_id = (char *)run_id;
    t->run.config = &t->config;
    t->run.state = BLOGINFER__V1__RUN_STATE__RUN_STATE_TRAINING;
    t->run.workers = t->workers;
    t->config.workers = n;
    t->config.quorum = quorum;
    for (uint32_t i = 0; i < n && i < CREW_MAX_WORKERS; i++) {
        bloginfer__v1__worker_state__init(&t->states[i]);
        t->states[i].shard_index = i;
        t->workers[i] = &t->states[i];
        t->run.n_workers = i + 1;
    }
    return t;
}

static struct crew *crew_of(const struct told *t)
{
    struct crew *c;

    assert_int_equal(crew_new(&c, &config, &t->run).code, ST_OK);
    return c;
}

/* How often the shard's worker has printed the word. */
static unsigned count_word(const char *run_id, unsigned shard, const char *word)
{
    char path[256], *data;
    unsigned n = 0;
    size_t size;

    snprintf(path, sizeof path, "%s/worker-%s-%u.log", dir, run_id, shard);
    if (fs_read(path, 1 << 16, &data, &size).code)
        return 0;
    for (const char *p = data; (p = strstr(p, word)); p++)
        n++;
    free(data);
    return n;
}

static void wait_for_word(const char *run_id, unsigned shard, const char *word, unsigned n)
{
    int64_t until = clock_after_ms(PATIENCE_MS);

    while (count_word(run_id, shard, word) < n && clock_now() < until)
        clock_sleep_ms(5);
    assert_true(count_word(run_id, shard, word) >= n);
}

static void kill_worker(const struct told *t, uint32_t shard)
{
    struct worker_spec spec = {t->run.run_id, shard, t->config.workers};
    struct worker *w;

    assert_int_equal(launcher->ops->find(launcher, &spec, &w).code, ST_OK);
    launcher->ops->stop(launcher, w, true);
    launcher->ops->release(launcher, w);
}

static void wait_for_reap(struct crew *c)
{
    int64_t until = clock_after_ms(PATIENCE_MS);

    while (!crew_reap(c) && clock_now() < until)
        clock_sleep_ms(2);
    assert_true(crew_reap(c));
}

static void end_crew(struct crew *c)
{
    int64_t until = clock_after_ms(PATIENCE_MS);

    while (crew_size(c) && clock_now() < until) {
        crew_dismiss(c);
        crew_reap(c);
        clock_sleep_ms(2);
    }
    assert_int_equal(crew_size(c), 0);
    crew_free(c);
}

/* ---- the tests ---- */

static void test_a_fresh_run_gets_all_its_workers(void **state)
{
    (void)state;
    struct told *t = tell("fresh", 3, 2);
    struct crew *c = crew_of(t);

    assert_int_equal(crew_size(c), 0);
    crew_skip_grace(c);
    assert_int_equal(crew_update(c, &t->run).code, ST_OK);
    assert_int_equal(crew_size(c), 3);
    assert_int_equal(crew_update(c, &t->run).code, ST_OK);
    assert_int_equal(crew_size(c), 3);
    end_crew(c);
    free(t);
}

static void test_an_unknown_runs_workers_may_take_their_time(void **state)
{
    (void)state;
    struct told *t = tell("patient", 2, 1);
    struct crew *c = crew_of(t);

    t->states[1].connected = true;
    assert_int_equal(crew_update(c, &t->run).code, ST_OK);
    assert_int_equal(crew_size(c), 0);
    crew_free(c);

    config.adopt_grace_ms = 0;
    c = crew_of(t);
    assert_int_equal(crew_update(c, &t->run).code, ST_OK);
    assert_int_equal(crew_size(c), 1); /* the connected one is somebody's */
    config.adopt_grace_ms = 3600 * 1000;
    end_crew(c);
    free(t);
}

static void test_a_restarted_trainer_starts_nothing_twice(void **state)
{
    (void)state;
    struct told *t = tell("adopted", 3, 2);
    struct crew *c = crew_of(t);

    crew_skip_grace(c);
    assert_int_equal(crew_update(c, &t->run).code, ST_OK);
    for (unsigned i = 0; i < 3; i++)
        wait_for_word("adopted", i, "settled", 1);
    crew_free(c); /* they go on */

    c = crew_of(t);
    assert_int_equal(crew_size(c), 3);
    crew_skip_grace(c);
    assert_int_equal(crew_update(c, &t->run).code, ST_OK);
    kill_worker(t, 1);
    wait_for_reap(c);
    int64_t until = clock_after_ms(PATIENCE_MS);
    while (crew_size(c) < 3 && clock_now() < until) {
        assert_int_equal(crew_update(c, &t->run).code, ST_OK);
        clock_sleep_ms(2);
    }
    wait_for_word("adopted", 1, "settled", 2);
    assert_int_equal(count_word("adopted", 0, "up"), 1);
    assert_int_equal(count_word("adopted", 1, "up"), 2);
    end_crew(c);
    free(t);
}

/* Runs the crew until its first shard is given up; returns what crew_update() said then. */
static struct status until_given_up(struct crew *c, const struct told *t)
{
    int64_t until = clock_after_ms(PATIENCE_MS);
    struct status st = status_ok();
    unsigned quiet = 0;

    while (!st.code && quiet < 20 && clock_now() < until) {
        quiet =
            crew_reap(c) || crew_size(c) > 2 || count_word(t->run.run_id, 0, "up") <= CREW_MAX_FAILURES ? 0 : quiet + 1;
        st = crew_update(c, &t->run);
        clock_sleep_ms(2);
    }
    return st;
}

static void test_a_worker_that_always_fails_is_given_up(void **state)
{
    (void)state;
    struct told *t = tell("flaky", 3, 2);
    struct crew *c = crew_of(t);

    crew_skip_grace(c);
    assert_int_equal(until_given_up(c, t).code, ST_OK); /* the quorum is there */
    assert_int_equal(count_word("flaky", 0, "up"), 1 + CREW_MAX_FAILURES);
    assert_int_equal(crew_size(c), 2);
    t->config.quorum = 3;
    assert_int_equal(crew_update(c, &t->run).code, ST_ABORTED);
    end_crew(c);
    free(t);
}

static void test_a_run_that_waits_needs_every_worker(void **state)
{
    (void)state;
    struct told *t = tell("flaky-waiting", 3, 2);
    struct crew *c = crew_of(t);

    t->run.state = BLOGINFER__V1__RUN_STATE__RUN_STATE_WAITING;
    crew_skip_grace(c);
    struct status st = until_given_up(c, t);
    assert_int_equal(st.code, ST_ABORTED);
    assert_non_null(strstr(st.msg, "1 of 3 workers"));
    end_crew(c);
    free(t);
}

static void test_workers_that_outstay_their_run_are_ended(void **state)
{
    (void)state;
    struct told *t = tell("stubborn", 2, 1);
    struct crew *c = crew_of(t);

    crew_skip_grace(c);
    assert_int_equal(crew_update(c, &t->run).code, ST_OK);
    wait_for_word("stubborn", 0, "settled", 1);
    wait_for_word("stubborn", 1, "settled", 1);
    end_crew(c);
    free(t);
}

static void test_the_dead_of_a_run_that_is_over_are_not_replaced(void **state)
{
    (void)state;
    struct told *t = tell("over", 1, 1);
    struct crew *c = crew_of(t);

    crew_skip_grace(c);
    assert_int_equal(crew_update(c, &t->run).code, ST_OK);
    wait_for_word("over", 0, "settled", 1);
    crew_dismiss(c);
    kill_worker(t, 0);
    int64_t until = clock_after_ms(PATIENCE_MS);
    while (crew_size(c) && clock_now() < until) {
        assert_false(crew_reap(c));
        clock_sleep_ms(2);
    }
    assert_int_equal(crew_size(c), 0);
    crew_free(c);
    free(t);
}

static void test_senseless_runs_are_refused(void **state)
{
    (void)state;
    struct told *t = tell("../../etc", 3, 2);
    struct crew *c;

    assert_int_equal(crew_new(&c, &config, &t->run).code, ST_INVALID);
    t->run.run_id = "r";
    t->config.workers = CREW_MAX_WORKERS + 1;
    assert_int_equal(crew_new(&c, &config, &t->run).code, ST_INVALID);
    t->config.workers = 0;
    assert_int_equal(crew_new(&c, &config, &t->run).code, ST_INVALID);
    t->run.config = NULL;
    assert_int_equal(crew_new(&c, &config, &t->run).code, ST_INVALID);
    free(t);
}

static int set_up(void **state)
{
    struct process_launcher_config pc = {self, "a:1", "", "", "", "", dir};

    (void)state;
    if (process_launcher_open(&launcher, &pc).code)
        return -1;
    config = (struct crew_config){launcher, 3600 * 1000, 1, 40};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    launcher->ops->close(launcher);
    return fs_remove_tree(dir).code;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_fresh_run_gets_all_its_workers),
        cmocka_unit_test(test_an_unknown_runs_workers_may_take_their_time),
        cmocka_unit_test(test_a_restarted_trainer_starts_nothing_twice),
        cmocka_unit_test(test_a_worker_that_always_fails_is_given_up),
        cmocka_unit_test(test_a_run_that_waits_needs_every_worker),
        cmocka_unit_test(test_workers_that_outstay_their_run_are_ended),
        cmocka_unit_test(test_the_dead_of_a_run_that_is_over_are_not_replaced),
        cmocka_unit_test(test_senseless_runs_are_refused),
    };

    if (argc > 6)
        return worker_main(argv);
    self = realpath("/proc/self/exe", NULL);
    assert_non_null(self);
    assert_non_null(mkdtemp(dir));
    int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    free(self);
    return failed;
}
