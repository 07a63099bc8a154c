/* store_test.c - versions and pointers survive kills and readers; what does not verify is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/store.h"

#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK_OK(call)                                                                                                 \
    do {                                                                                                               \
        struct status check_ = (call);                                                                                 \
        if (check_.code)                                                                                               \
            fail_msg("%s: %s", #call, check_.msg);                                                                     \
    } while (0)
#define CHECK_CODE(expected, call)                                                                                     \
    do {                                                                                                               \
        struct status check_ = (call);                                                                                 \
        if (check_.code != (expected))                                                                                 \
            fail_msg("%s: %s %s", #call, code_name(check_.code), check_.msg);                                          \
    } while (0)

static char dir[PATH_MAX];

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/store_test.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return (int)fs_remove_tree(dir).code;
}

/* A model of n values, all equal to `mark`, which also stands in its metadata. */
static struct status publish(const char *task, int mark, size_t n, uint64_t *version)
{
    struct model *m = model_new();
    float *values = xcalloc(n, sizeof *values);
    char text[16], *data = NULL;
    const uint64_t dims[] = {n};
    size_t size = 0;

    for (size_t i = 0; i < n; i++)
        values[i] = (float)mark;
    snprintf(text, sizeof text, "%d", mark);
    model_set(m, "mark", text);
    model_reserve(m, n);
    model_add(m, "values", dims, 1, values);
    struct status st = model_encode(m, &data, &size);
    const struct store_file files[] = {{"curve.svg", "<svg/>", 6}, {STORE_MODEL_FILE, data, size}};
    if (!st.code)
        st = store_publish(dir, task, files, COUNT_OF(files), version);
    free(data);
    free(values);
    model_free(m);
    return st;
}

/* Whether the version loads and holds what its mark says; -1: it does not. */
static int mark_of(const char *task, uint64_t version)
{
    struct model *m = NULL;

    if (store_load(dir, task, version, &m, NULL).code)
        return -1;
    int mark = atoi(model_get(m, "mark"));
    for (size_t i = 0; i < m->block_n; i++)
        if (m->block[i] != (float)mark)
            mark = -1;
    model_free(m);
    return mark;
}

static uint64_t pointer(enum store_pointer which)
{
    uint64_t version = 0;

    CHECK_OK(store_get_pointer(dir, "sentiment", which, &version));
    return version;
}

static size_t count(const char *task)
{
    uint64_t *versions = NULL;
    size_t n = 0;

    CHECK_OK(store_list(dir, task, &versions, &n));
    free(versions);
    return n;
}

static void write_at(const char *name, const char *text)
{
    char *path = xasprintf("%s/sentiment/%s", dir, name);

    CHECK_OK(fs_write_atomic(path, text, strlen(text)));
    free(path);
}

static void test_publish_list_load(void **state)
{
    (void)state;
    uint64_t version = 0, *versions = NULL, size = 0;
    size_t n = 0;
    uint8_t digest[SHA256_SIZE], recorded[SHA256_SIZE];
    struct model *m = NULL, *header = NULL;

    assert_int_equal(count("sentiment"), 0);
    for (int i = 1; i <= 11; i++) {
        CHECK_OK(publish("sentiment", 100 + i, 10, &version));
        assert_int_equal(version, i);
    }
    CHECK_OK(store_list(dir, "sentiment", &versions, &n));
    assert_int_equal(n, 11);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(versions[i], i + 1); /* by number: 11 is not before 2 */
    free(versions);
    assert_int_equal(mark_of("sentiment", 7), 107);
    CHECK_OK(store_load(dir, "sentiment", 7, &m, digest));
    CHECK_OK(store_info(dir, "sentiment", 7, &header, &size, recorded));
    assert_memory_equal(digest, recorded, sizeof digest);
    assert_string_equal(model_get(header, "mark"), "107");
    assert_true(size > 40);
    model_free(m);
    model_free(header);
    CHECK_CODE(ST_NOT_FOUND, store_load(dir, "sentiment", 12, &m, NULL));
    CHECK_CODE(ST_NOT_FOUND, store_load(dir, "troll", 1, &m, NULL));
    CHECK_CODE(ST_NOT_FOUND, store_info(dir, "sentiment", 12, &m, &size, digest));
}

static void test_sha256sum_agrees(void **state)
{
    (void)state;
    uint64_t version;

    CHECK_OK(publish("sentiment", 1, 1000, &version));
    char *command = xasprintf("cd %s/sentiment/1 && sha256sum --quiet --strict -c SHA256SUMS", dir);
    assert_int_equal(system(command), 0);
    free(command);
}

static void test_tasks(void **state)
{
    (void)state;
    uint64_t version;
    char **tasks = NULL;
    size_t n = 0;

    CHECK_OK(publish("troll", 1, 1, &version));
    CHECK_OK(publish("sentiment", 1, 1, &version));
    char *path = xasprintf("%s/lost+found", dir);
    CHECK_OK(fs_mkdirs(path));
    free(path);
    CHECK_OK(store_tasks(dir, &tasks, &n));
    assert_int_equal(n, 2);
    assert_string_equal(tasks[0], "sentiment");
    assert_string_equal(tasks[1], "troll");
    free(tasks);
    CHECK_OK(store_tasks("/nowhere/at/all", &tasks, &n));
    assert_int_equal(n, 0);
    free(tasks);
}

static void test_names_that_leave_the_folder_are_refused(void **state)
{
    (void)state;
    static const char *const bad_tasks[] = {
        "", ".", "..", "../x", "a/b", "A", "1a", "-a", "a b", "a\n", "ａ", "a.b", "aaaaaaaaaabbbbbbbbbbccccccccccddd"};
    static const char *const bad_files[] = {"", ".", "..", "../x", "a/b", ".hidden", "a b", "SHA256SUMS", "a\n"};
    uint64_t version, *versions = NULL;
    size_t n;
    struct model *m = NULL;

    for (size_t i = 0; i < COUNT_OF(bad_tasks); i++) {
        CHECK_CODE(ST_INVALID, store_task_check(bad_tasks[i]));
        CHECK_CODE(ST_INVALID, publish(bad_tasks[i], 1, 1, &version));
        CHECK_CODE(ST_INVALID, store_list(dir, bad_tasks[i], &versions, &n));
        CHECK_CODE(ST_INVALID, store_load(dir, bad_tasks[i], 1, &m, NULL));
        CHECK_CODE(ST_INVALID, store_get_pointer(dir, bad_tasks[i], STORE_PRODUCTION, &version));
        CHECK_CODE(ST_INVALID, store_set_pointer(dir, bad_tasks[i], STORE_PRODUCTION, 1));
        CHECK_CODE(ST_INVALID, store_remove(dir, bad_tasks[i], 1));
    }
    for (size_t i = 0; i < COUNT_OF(bad_files); i++) {
        const struct store_file files[] = {{STORE_MODEL_FILE, "x", 1}, {bad_files[i], "x", 1}};
        CHECK_CODE(ST_INVALID, store_publish(dir, "sentiment", files, 2, &version));
    }
    const struct store_file twice[] = {{STORE_MODEL_FILE, "x", 1}, {"a", "x", 1}, {"a", "y", 1}};
    CHECK_CODE(ST_INVALID, store_publish(dir, "sentiment", twice, 3, &version));
    CHECK_CODE(ST_INVALID, store_publish(dir, "sentiment", twice + 1, 1, &version)); /* no model */
}

static void test_pointers_move(void **state)
{
    (void)state;
    uint64_t version;

    assert_int_equal(pointer(STORE_PRODUCTION), 0);
    CHECK_CODE(ST_NOT_FOUND, store_set_pointer(dir, "sentiment", STORE_PRODUCTION, 1));
    CHECK_OK(publish("sentiment", 1, 1, &version));
    CHECK_OK(publish("sentiment", 2, 1, &version));
    CHECK_OK(store_set_pointer(dir, "sentiment", STORE_PRODUCTION, 2));
    CHECK_OK(store_set_pointer(dir, "sentiment", STORE_CANDIDATE, 1));
    assert_int_equal(pointer(STORE_PRODUCTION), 2);
    assert_int_equal(pointer(STORE_CANDIDATE), 1);
    CHECK_CODE(ST_NOT_FOUND, store_set_pointer(dir, "sentiment", STORE_PRODUCTION, 3));
    assert_int_equal(pointer(STORE_PRODUCTION), 2);
    CHECK_OK(store_set_pointer(dir, "sentiment", STORE_CANDIDATE, 0));
    CHECK_OK(store_set_pointer(dir, "sentiment", STORE_CANDIDATE, 0));
    assert_int_equal(pointer(STORE_CANDIDATE), 0);
}

static void test_damaged_pointers_are_named(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "\n", "0\n", "1", "01\n", "-1\n", "+1\n", "1\n2\n", "x\n", "1 \n", "18446744073709551616\n"};
    uint64_t version;

    CHECK_OK(publish("sentiment", 1, 1, &version));
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        write_at("production", bad[i]);
        CHECK_CODE(ST_DATA_LOSS, store_get_pointer(dir, "sentiment", STORE_PRODUCTION, &version));
    }
    CHECK_OK(store_set_pointer(dir, "sentiment", STORE_PRODUCTION, 1));
    assert_int_equal(pointer(STORE_PRODUCTION), 1);
}

static void test_rollback_passes_over_what_was_never_in_production(void **state)
{
    (void)state;
    uint64_t version;

    for (int i = 1; i <= 5; i++)
        CHECK_OK(publish("sentiment", i, 1, &version));
    CHECK_OK(store_previous(dir, "sentiment", &version));
    assert_int_equal(version, 0);
    CHECK_OK(store_set_pointer(dir, "sentiment", STORE_PRODUCTION, 1));
    CHECK_OK(store_set_pointer(dir, "sentiment", STORE_PRODUCTION, 2));
    CHECK_OK(store_set_pointer(dir, "sentiment", STORE_PRODUCTION, 5));
    CHECK_OK(store_previous(dir, "sentiment", &version));
    assert_int_equal(version, 2);
    CHECK_OK(store_remove(dir, "sentiment", 2));
    CHECK_OK(store_previous(dir, "sentiment", &version));
    assert_int_equal(version, 1);
    CHECK_OK(store_set_pointer(dir, "sentiment", STORE_PRODUCTION, 1));
    CHECK_OK(store_previous(dir, "sentiment", &version));
    assert_int_equal(version, 0);
}

static void test_numbers_are_never_used_twice(void **state)
{
    (void)state;
    uint64_t version;

    for (int i = 1; i <= 3; i++)
        CHECK_OK(publish("sentiment", i, 1, &version));
    CHECK_OK(store_set_pointer(dir, "sentiment", STORE_PRODUCTION, 1));
    CHECK_OK(store_set_pointer(dir, "sentiment", STORE_CANDIDATE, 2));
    CHECK_CODE(ST_PRECONDITION, store_remove(dir, "sentiment", 1));
    CHECK_CODE(ST_PRECONDITION, store_remove(dir, "sentiment", 2));
    CHECK_OK(store_remove(dir, "sentiment", 3));
    CHECK_CODE(ST_NOT_FOUND, store_remove(dir, "sentiment", 3));
    CHECK_CODE(ST_NOT_FOUND, store_remove(dir, "troll", 1));
    CHECK_OK(publish("sentiment", 4, 1, &version));
    assert_int_equal(version, 4);
    CHECK_OK(store_remove(dir, "sentiment", 4));
    CHECK_OK(publish("sentiment", 5, 1, &version));
    assert_int_equal(version, 5);
    assert_int_equal(count("sentiment"), 3);
}

/* Puts `text` over the end of a file of version 2. */
static void damage(const char *name, const char *text)
{
    char *path = xasprintf("%s/sentiment/2/%s", dir, name);
    FILE *f = fopen(path, "r+");

    assert_non_null(f);
    fseek(f, -(long)strlen(text), SEEK_END);
    fputs(text, f);
    fclose(f);
    free(path);
}

static void test_what_does_not_verify_is_not_loaded_nor_promoted(void **state)
{
    (void)state;
    uint64_t version;

    CHECK_OK(publish("sentiment", 1, 10, &version));
    CHECK_OK(store_set_pointer(dir, "sentiment", STORE_PRODUCTION, 1));
    static const char *const names[] = {STORE_MODEL_FILE, STORE_SUMS_FILE, "curve.svg"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        CHECK_OK(publish("sentiment", 2, 10, &version));
        if (version != 2) { /* the damage is done to number 2 */
            char *from = xasprintf("%s/sentiment/%" PRIu64, dir, version), *to = xasprintf("%s/sentiment/2", dir);
            assert_int_equal(rename(from, to), 0);
            free(from);
            free(to);
        }
        damage(names[i], "#");
        if (i < 2)
            assert_int_equal(mark_of("sentiment", 2), -1);
        CHECK_CODE(ST_DATA_LOSS, store_set_pointer(dir, "sentiment", STORE_PRODUCTION, 2));
        CHECK_CODE(ST_DATA_LOSS, store_set_pointer(dir, "sentiment", STORE_CANDIDATE, 2));
        assert_int_equal(pointer(STORE_PRODUCTION), 1);
        CHECK_OK(store_remove(dir, "sentiment", 2));
    }
}

static void test_missing_files_are_data_loss(void **state)
{
    (void)state;
    static const char *const names[] = {STORE_MODEL_FILE, STORE_SUMS_FILE, "curve.svg"};
    uint64_t version;

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        CHECK_OK(publish("sentiment", 1, 10, &version));
        char *path = xasprintf("%s/sentiment/%" PRIu64 "/%s", dir, version, names[i]);
        assert_int_equal(unlink(path), 0);
        free(path);
        CHECK_CODE(ST_DATA_LOSS, store_set_pointer(dir, "sentiment", STORE_PRODUCTION, version));
    }
}

/* ---- kills ---- */

/* Publishes, moves the pointer and removes for ever; tells every acknowledged version, negative once it is pointed to. */
static void writer_child(int out)
{
    uint64_t version;
    int64_t told;

    for (int mark = 1;; mark++) {
        if (publish("sentiment", mark, 20000, &version).code)
            _exit(1);
        told = (int64_t)version;
        if (write(out, &told, sizeof told) != sizeof told)
            _exit(2);
        if (store_set_pointer(dir, "sentiment", STORE_PRODUCTION, version).code)
            _exit(3);
        told = -told;
        if (write(out, &told, sizeof told) != sizeof told)
            _exit(4);
        if (version > 3)
            store_remove(dir, "sentiment", version - 3); /* refused where an earlier kill left the pointer */
    }
}

/* Starts the writer, kills it some time after its first version; gives the last acknowledged version and pointer. */
static void run_and_kill(struct rng *rng, uint64_t *last, uint64_t *pointed)
{
    int ends[2], status;
    int64_t told = 0;

    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ends[0]);
        writer_child(ends[1]);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &told, sizeof told), sizeof told);
    *last = (uint64_t)told;
    usleep((useconds_t)rng_below(rng, 20000)); /* the instant of the kill is what is tested */
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    while (read(ends[0], &told, sizeof told) == sizeof told)
        *(told > 0 ? last : pointed) = (uint64_t)(told > 0 ? told : -told);
    close(ends[0]);
}

static bool has_leftovers(void)
{
    char *path = xasprintf("%s/sentiment", dir);
    DIR *d = opendir(path);
    bool found = false;

    for (struct dirent *e; (e = readdir(d));)
        found |= strncmp(e->d_name, ".new-", 5) == 0 || strncmp(e->d_name, ".del-", 5) == 0;
    closedir(d);
    free(path);
    return found;
}

static void test_a_kill_at_any_instant_leaves_a_good_store(void **state)
{
    (void)state;
    struct rng rng;
    uint64_t highest = 0, version = 0, last = 0, pointed = 0;

    rng_init(&rng, (uint64_t)clock_wall());
    for (int i = 0; i < 25; i++) {
        uint64_t *versions = NULL;
        size_t n = 0;

        run_and_kill(&rng, &last, &pointed);
        assert_true(last > highest); /* no number twice */
        CHECK_OK(store_list(dir, "sentiment", &versions, &n));
        assert_true(n > 0 && versions[n - 1] >= last); /* nothing acknowledged is lost */
        for (size_t k = 0; k < n; k++)
            assert_true(mark_of("sentiment", versions[k]) > 0);
        highest = versions[n - 1];
        free(versions);
        version = pointer(STORE_PRODUCTION);
        assert_true(version == 0 || mark_of("sentiment", version) > 0);
        assert_true(version >= pointed);
    }
    CHECK_OK(publish("sentiment", 1, 1, &version));
    assert_true(version > highest);
    assert_false(has_leftovers());
}

/* ---- readers ---- */

static atomic_bool stop;
static atomic_int n_bad, n_good;

static void *reader(void *arg)
{
    uint64_t version;

    (void)arg;
    while (!stop) {
        bool ok = store_get_pointer(dir, "sentiment", STORE_PRODUCTION, &version).code == ST_OK &&
                  mark_of("sentiment", version) == (int)version;
        atomic_fetch_add(ok ? &n_good : &n_bad, 1);
    }
    return NULL;
}

static void test_readers_never_see_half_a_move(void **state)
{
    (void)state;
    pthread_t threads[2];
    uint64_t version;

    for (int i = 1; i <= 3; i++)
        CHECK_OK(publish("sentiment", i, 2000, &version));
    CHECK_OK(store_set_pointer(dir, "sentiment", STORE_PRODUCTION, 1));
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        threads[i] = thread_start("reader", 0, reader, NULL);
    for (unsigned i = 0; i < 100 || (n_good < 100 && !n_bad); i++)
        CHECK_OK(store_set_pointer(dir, "sentiment", STORE_PRODUCTION, 1 + i % 3));
    stop = true;
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(n_bad, 0);
}

static void *publisher(void *arg)
{
    uint64_t version;

    for (int i = 0; i < 10; i++)
        if (publish("sentiment", 1, 100, &version).code)
            atomic_fetch_add((atomic_int *)arg, 1);
    return NULL;
}

static void test_writers_wait_for_each_other(void **state)
{
    (void)state;
    pthread_t threads[4];
    atomic_int failed = 0;

    for (size_t i = 0; i < COUNT_OF(threads); i++)
        threads[i] = thread_start("publisher", 0, publisher, &failed);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(failed, 0);
    assert_int_equal(count("sentiment"), 40);
}

static void test_parameters_of_a_task(void **state)
{
    (void)state;
    struct model_parameters p = {.threshold = 0.75, .max_batch = 8}, read;
    uint64_t *versions, n_versions = 0;
    size_t n;
    char path[PATH_MAX + 64];

    CHECK_OK(store_get_parameters(dir, "sentiment", &read));
    assert_true(read.threshold == 0.5);
    CHECK_OK(store_set_parameters(dir, "sentiment", &p)); /* before there is any version */
    CHECK_OK(store_get_parameters(dir, "sentiment", &read));
    assert_true(model_parameters_equal(&p, &read));
    CHECK_OK(publish("sentiment", 1, 4, &n_versions));
    CHECK_OK(store_list(dir, "sentiment", &versions, &n));
    assert_int_equal(n, 1);
    free(versions);
    p.max_batch = 0;
    CHECK_CODE(ST_INVALID, store_set_parameters(dir, "sentiment", &p));
    CHECK_CODE(ST_INVALID, store_set_parameters(dir, "../x", &p));
    CHECK_CODE(ST_INVALID, store_get_parameters(dir, "../x", &p));
    CHECK_OK(store_get_parameters(dir, "sentiment", &read));
    assert_true(read.threshold == 0.75);
    snprintf(path, sizeof path, "%s/sentiment/%s", dir, PARAMETERS_FILE);
    CHECK_OK(fs_write_atomic(path, "{\"threshold\": 2}", 16));
    CHECK_CODE(ST_DATA_LOSS, store_get_parameters(dir, "sentiment", &read));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_publish_list_load),
        TEST(test_sha256sum_agrees),
        TEST(test_tasks),
        TEST(test_names_that_leave_the_folder_are_refused),
        TEST(test_pointers_move),
        TEST(test_parameters_of_a_task),
        TEST(test_damaged_pointers_are_named),
        TEST(test_rollback_passes_over_what_was_never_in_production),
        TEST(test_numbers_are_never_used_twice),
        TEST(test_what_does_not_verify_is_not_loaded_nor_promoted),
        TEST(test_missing_files_are_data_loss),
        TEST(test_a_kill_at_any_instant_leaves_a_good_store),
        TEST(test_readers_never_see_half_a_move),
        TEST(test_writers_wait_for_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
