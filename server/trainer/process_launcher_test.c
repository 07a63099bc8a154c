/* process_launcher_test.c - the launcher with real processes. The program that is launched is this test itself: with
 * arguments it is a worker whose run id says what it does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "process_launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *self, dir[] = "/tmp/launcher-XXXXXX";

/* ---- the worker ---- */

static const char *argument(int argc, char **argv, const char *name)
{
    for (int i = 1; i + 1 < argc; i++)
        if (!strcmp(argv[i], name))
            return argv[i + 1];
    return "";
}

static int open_descriptors(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += !fcntl(fd, F_GETFD) || errno != EBADF;
    return n;
}

/* What the worker was given, a line a thing. */
static void report(int argc, char **argv)
{
    sigset_t blocked;
    const char *port = getenv("BLOGINFER_PORT"), *note = getenv("BLOGINFER_NOTE");

    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    for (int i = 1; i < argc; i++)
        printf("[%s]", argv[i]);
    printf("\nport %s note %s\n", port ? port : "none", note ? note : "none");
    printf("blocked %d group %d descriptors %d\n", sigismember(&blocked, SIGTERM), getpgrp() == getpid(),
           open_descriptors());
}

static int worker_main(int argc, char **argv)
{
    const char *run = argument(argc, argv, "--run");

    if (!strncmp(run, "exit-", 5))
        return atoi(run + 5);
    if (!strcmp(run, "report"))
        return report(argc, argv), 0;
    if (!strcmp(run, "stubborn"))
        signal(SIGTERM, SIG_IGN);
    puts("up");
    fflush(stdout);
    for (;;)
        pause();
}

/* ---- the tests ---- */

static struct launcher *launcher_of(const char *aggregator)
{
    struct process_launcher_config config = {self, aggregator, "/data", "ca.pem", "", "", dir};
    struct launcher *l;

    assert_int_equal(process_launcher_open(&l, &config).code, ST_OK);
    return l;
}

static char *log_of(const char *run, unsigned shard)
{
    char path[256], *data;
    size_t size;

    snprintf(path, sizeof path, "%s/worker-%s-%u.log", dir, run, shard);
    assert_int_equal(fs_read(path, 1 << 16, &data, &size).code, ST_OK);
    return data;
}

/* Dies after 20 s: the test's own limit is far above. */
static enum worker_state wait_for_end(struct launcher *l, struct worker *w, struct status *why)
{
    int64_t until = clock_after_ms(20000);
    enum worker_state state;

    while ((state = l->ops->poll(l, w, why)) == WORKER_RUNNING && clock_now() < until)
        clock_sleep_ms(5);
    return state;
}

static void wait_until_up(const char *run)
{
    char *text = log_of(run, 0);

    for (int64_t until = clock_after_ms(20000); !strstr(text, "up\n") && clock_now() < until;) {
        clock_sleep_ms(5);
        free(text);
        text = log_of(run, 0);
    }
    assert_non_null(strstr(text, "up\n"));
    free(text);
}

static struct worker *start(struct launcher *l, const char *run, uint32_t shard, uint32_t n)
{
    struct worker_spec spec = {run, shard, n};
    struct worker *w;

    assert_int_equal(l->ops->start(l, &spec, &w).code, ST_OK);
    return w;
}

static void test_arguments_environment_and_descriptors(void **state)
{
    struct launcher *l;
    struct status why;

    (void)state;
    setenv("BLOGINFER_PORT", "8000", 1);
    setenv("BLOGINFER_NOTE", "passed", 1);
    l = launcher_of("127.0.0.1:7");
    struct worker *w = start(l, "report", 2, 3);
    assert_int_equal(wait_for_end(l, w, &why), WORKER_ENDED);
    assert_string_equal(why.msg, "exit code 0");
    char *text = log_of("report", 2);
    assert_string_equal(text, "[--aggregator][127.0.0.1:7][--run][report][--shard][2/3]"
                              "[--data][/data][--tls-ca][ca.pem]\n"
                              "port none note passed\nblocked 0 group 1 descriptors 3\n");
    free(text);
    l->ops->release(l, w);
    l->ops->close(l);
    unsetenv("BLOGINFER_PORT");
}

static void test_exit_codes_are_told(void **state)
{
    (void)state;
    struct launcher *l = launcher_of("a:1");
    struct worker *w = start(l, "exit-3", 0, 1);
    struct status why;

    assert_int_equal(wait_for_end(l, w, &why), WORKER_FAILED);
    assert_string_equal(why.msg, "exit code 3");
    l->ops->release(l, w);
    l->ops->close(l);
}

static void test_stop_and_hard_stop(void **state)
{
    (void)state;
    struct launcher *l = launcher_of("a:1");
    struct worker *soft = start(l, "soft", 0, 1), *hard = start(l, "stubborn", 0, 1);
    struct status why;

    wait_until_up("soft");
    wait_until_up("stubborn");
    l->ops->stop(l, soft, false);
    l->ops->stop(l, hard, false);
    assert_int_equal(wait_for_end(l, soft, &why), WORKER_FAILED);
    assert_string_equal(why.msg, "killed by signal 15");
    assert_int_equal(l->ops->poll(l, hard, &why), WORKER_RUNNING);
    l->ops->stop(l, hard, true);
    assert_int_equal(wait_for_end(l, hard, &why), WORKER_FAILED);
    assert_string_equal(why.msg, "killed by signal 9");
    l->ops->release(l, soft);
    l->ops->release(l, hard);
    l->ops->close(l);
}

/* A worker whose trainer was killed: started by a process that is gone. */
static void start_orphan(const char *run)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (!pid) {
        struct process_launcher_config config = {self, "a:1", "", "", "", "", dir};
        struct worker_spec spec = {run, 1, 2};
        struct launcher *l;
        struct worker *w;

        _exit(process_launcher_open(&l, &config).code || l->ops->start(l, &spec, &w).code);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_an_earlier_trainers_worker_is_found(void **state)
{
    (void)state;
    start_orphan("orphan");
    struct launcher *l = launcher_of("a:1");
    struct worker_spec spec = {"orphan", 1, 2};
    struct worker *w;
    struct status why;

    for (int64_t until = clock_after_ms(20000); l->ops->find(l, &spec, &w).code && clock_now() < until;)
        clock_sleep_ms(5); /* until its exec */
    assert_non_null(w);
    assert_int_equal(l->ops->poll(l, w, &why), WORKER_RUNNING);
    l->ops->stop(l, w, true);
    assert_int_equal(wait_for_end(l, w, &why), WORKER_ENDED);
    l->ops->release(l, w);
    assert_int_equal(l->ops->find(l, &spec, &w).code, ST_NOT_FOUND);
    l->ops->close(l);
}

static void test_only_the_very_same_worker_is_found(void **state)
{
    (void)state;
    struct launcher *l = launcher_of("a:1"), *other = launcher_of("a:11");
    struct worker *w = start(l, "lone", 1, 12), *found;
    struct worker_spec same = {"lone", 1, 12};
    const struct worker_spec wrong[] = {{"lone", 0, 12}, {"lone", 1, 1}, {"lon", 1, 12}, {"one", 1, 12}};
    struct status why;

    for (int64_t until = clock_after_ms(20000); l->ops->find(l, &same, &found).code && clock_now() < until;)
        clock_sleep_ms(5);
    assert_non_null(found);
    l->ops->release(l, found);
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_int_equal(l->ops->find(l, &wrong[i], &found).code, ST_NOT_FOUND);
    assert_int_equal(other->ops->find(other, &same, &found).code, ST_NOT_FOUND);
    l->ops->stop(l, w, true);
    wait_for_end(l, w, &why);
    l->ops->release(l, w);
    l->ops->close(l);
    other->ops->close(other);
}

static void test_a_missing_program_is_named(void **state)
{
    (void)state;
    struct process_launcher_config config = {"/nonexistent/worker", "a:1", "", "", "", "", ""};
    struct launcher *l;
    struct status st = process_launcher_open(&l, &config);

    assert_int_equal(st.code, ST_NOT_FOUND);
    assert_non_null(strstr(st.msg, "/nonexistent/worker"));
    config.worker = "/etc/passwd";
    assert_int_equal(process_launcher_open(&l, &config).code, ST_PRECONDITION);
}

static void test_run_ids(void **state)
{
    (void)state;
    char longest[RUN_ID_MAX + 2];

    memset(longest, 'a', sizeof longest);
    longest[RUN_ID_MAX] = '\0';
    assert_true(run_id_valid("sentiment-20261122-101500-1f3a"));
    assert_true(run_id_valid(longest));
    longest[RUN_ID_MAX] = 'a';
    longest[RUN_ID_MAX + 1] = '\0';
    assert_false(run_id_valid(longest));
    assert_false(run_id_valid(""));
    assert_false(run_id_valid("../etc"));
    assert_false(run_id_valid("A"));
}

static int remove_dir(void **state)
{
    (void)state;
    return fs_remove_tree(dir).code;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arguments_environment_and_descriptors),
        cmocka_unit_test(test_exit_codes_are_told),
        cmocka_unit_test(test_stop_and_hard_stop),
        cmocka_unit_test(test_an_earlier_trainers_worker_is_found),
        cmocka_unit_test(test_only_the_very_same_worker_is_found),
        cmocka_unit_test(test_a_missing_program_is_named),
        cmocka_unit_test(test_run_ids),
    };

    if (argc > 1)
        return worker_main(argc, argv);
    self = realpath("/proc/self/exe", NULL);
    assert_non_null(self);
    assert_non_null(mkdtemp(dir));
    int failed = cmocka_run_group_tests(tests, NULL, remove_dir);
    free(self);
    return failed;
}
