/* What base promises to everything that stands on it. */
#include "base/base.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_a_long_message_is_cut_between_characters(void **state)
{
    char text[3 * STATUS_MSG_SIZE + 1] = "";

    (void)state;
    for (int i = 0; i < STATUS_MSG_SIZE; i++)
        strcat(text, "\xE4\xB8\xAD");
    struct status st = status_errorf(ST_INVALID, "%s", text);
    assert_int_equal(strlen(st.msg) % 3, 0);
    assert_true(strlen(st.msg) >= STATUS_MSG_SIZE - 4);
    st = status_errorf(ST_INVALID, "x%s", text);
    assert_int_equal(strlen(st.msg) % 3, 1);
}

static void test_errno_becomes_its_code(void **state)
{
    char *data;
    size_t size;

    (void)state;
    struct status st = fs_read("/nonexistent/file", 10, &data, &size);
    assert_int_equal(st.code, ST_NOT_FOUND);
    assert_non_null(strstr(st.msg, "/nonexistent/file"));
    st = status_prefix(st, "model %d", 7);
    assert_int_equal(strncmp(st.msg, "model 7: open", 13), 0);
    assert_int_equal(status_prefix(status_ok(), "x").code, ST_OK);
}

static void test_an_arena_refuses_over_its_ceiling_and_goes_on(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, 100000);
    for (int i = 0; i < 3; i++) {
        char *p = arena_alloc(&a, 60000);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        memset(p, 1, 60000);
        assert_null(arena_alloc(&a, 60000));
        assert_true(a.refused);
        assert_null(arena_zalloc(&a, SIZE_MAX / 2, 4));
        assert_string_equal(arena_printf(&a, "%s-%d", "still", 1), "still-1");
        arena_reset(&a);
        assert_false(a.refused);
    }
    for (int i = 0; i < 5000; i++)
        memset(arena_alloc(&a, 20), 2, 20);
    assert_null(arena_alloc(&a, 1));
    arena_fini(&a);
}

static void test_a_buffer_keeps_what_fits(void **state)
{
    struct buf b = BUF_INIT(10);

    (void)state;
    assert_true(buf_puts(&b, "12345"));
    assert_false(buf_printf(&b, "%d", 678901));
    assert_true(b.full);
    assert_string_equal(b.data, "12345");
    assert_false(buf_int(&b, 678901));
    assert_true(buf_printf(&b, "%d", 678));
    assert_true(buf_int(&b, 90));
    char *text = buf_take(&b);
    assert_string_equal(text, "1234567890");
    free(text);
    text = buf_take(&b);
    assert_string_equal(text, "");
    free(text);
    b = (struct buf)BUF_INIT(1000);
    for (int i = 0; i < 99; i++)
        assert_true(buf_printf(&b, "%s", "1234567890")); /* over the room it begins with */
    assert_int_equal(strspn(b.data, "1234567890"), 990);
    buf_clear(&b);
    assert_true(buf_int(&b, INT64_MIN) && buf_putc(&b, ' ') && buf_int(&b, INT64_MAX) && buf_int(&b, 0));
    assert_string_equal(b.data, "-9223372036854775808 92233720368547758070");
    buf_fini(&b);
}

static void test_a_vector_ends_at_its_ceiling(void **state)
{
    struct vec v = VEC_INIT(sizeof(int), 100);

    (void)state;
    for (int i = 0; i < 100; i++)
        *(int *)vec_push(&v) = i;
    assert_null(vec_push(&v));
    vec_remove(&v, 3);
    assert_int_equal(*VEC_AT(&v, int, 3), 99);
    assert_int_equal(v.n, 99);
    vec_fini(&v);
}

static void test_crc32c_of_rfc_3720(void **state)
{
    unsigned char zeros[32] = {0}, rising[32];

    (void)state;
    for (int i = 0; i < 32; i++)
        rising[i] = (unsigned char)i;
    assert_int_equal(crc32c(0, zeros, 32), 0x8A9136AA);
    assert_int_equal(crc32c(0, rising, 32), 0x46DD794E);
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283);
    assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xE3069283);
}

static void test_digests(void **state)
{
    uint8_t d[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];

    (void)state;
    sha256("abc", 3, d);
    assert_string_equal(hex_encode(d, SHA256_SIZE, hex),
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha1("abc", 3, d);
    assert_string_equal(hex_encode(d, SHA1_SIZE, hex), "a9993e364706816aba3e25717850c26c9cd0d89d");
}

static void test_random_numbers_have_their_moments(void **state)
{
    struct rng r;
    double sum = 0, square = 0, gamma = 0;
    uint32_t a[50], seen = 0;
    int n = 200000;

    (void)state;
    rng_init(&r, 42);
    for (int i = 0; i < n; i++) {
        double x = rng_normal(&r);
        sum += x;
        square += x * x;
        gamma += rng_gamma(&r, 0.3);
    }
    assert_true(fabs(sum / n) < 0.01);
    assert_true(fabs(square / n - 1) < 0.02);
    assert_true(fabs(gamma / n - 0.3) < 0.01);
    for (uint32_t i = 0; i < 50; i++)
        a[i] = i;
    rng_shuffle(&r, a, 50);
    for (int i = 0; i < 50; i++)
        seen += a[i];
    assert_int_equal(seen, 50 * 49 / 2);
    for (int i = 0; i < 1000; i++)
        assert_true(rng_below(&r, 7) < 7);
}

static void test_random_numbers_are_the_same_everywhere(void **state)
{
    struct rng r;

    (void)state;
    rng_init(&r, 1); /* xoshiro256** seeded by splitmix64(1), from the authors' C code */
    assert_true(rng_next(&r) == UINT64_C(0xb3f2af6d0fc710c5));
    assert_true(rng_next(&r) == UINT64_C(0x853b559647364cea));
}

static char *temporary_folder(void)
{
    char template[] = "/tmp/bloginfer-base-XXXXXX";

    return xstrdup(mkdtemp(template));
}

static void test_a_file_is_whole_or_not_there(void **state)
{
    char *dir = temporary_folder(), *path = xasprintf("%s/f", dir), *data, **names;
    size_t size, n;

    (void)state;
    assert_int_equal(fs_write_atomic(path, "one", 3).code, ST_OK);
    assert_int_equal(fs_write_atomic(path, "three", 5).code, ST_OK);
    assert_int_equal(fs_read(path, 4, &data, &size).code, ST_EXHAUSTED);
    assert_int_equal(fs_read(path, 5, &data, &size).code, ST_OK);
    assert_string_equal(data, "three");
    free(data);
    assert_int_equal(fs_list(dir, 10, &names, &n).code, ST_OK);
    assert_int_equal(n, 1); /* nothing was left beside it */
    assert_string_equal(names[0], "f");
    free(names);
    assert_int_equal(fs_read(dir, 10, &data, &size).code, ST_INVALID);
    char *missing = xasprintf("%s/no/such", dir);
    assert_int_equal(fs_write_atomic(missing, "x", 1).code, ST_NOT_FOUND);
    assert_int_equal(fs_remove_tree(dir).code, ST_OK);
    assert_false(fs_exists(path));
    assert_int_equal(fs_remove_tree(dir).code, ST_OK);
    free(missing);
    free(path);
    free(dir);
}

/* ---- config ---- */

struct settings {
    char *name, *level, *token;
    int64_t port;
    double rate;
    bool tls;
};

static const struct config_option options[] = {
    {"name", CONFIG_STR, offsetof(struct settings, name), "here", "name"},
    {"test-port", CONFIG_INT, offsetof(struct settings, port), "80", "port", 1, 65535},
    {"rate", CONFIG_FLOAT, offsetof(struct settings, rate), "0.5", "rate", 0, 1},
    {"tls", CONFIG_BOOL, offsetof(struct settings, tls), "false", "tls"},
    {"level", CONFIG_ENUM, offsetof(struct settings, level), "info", "level", .words = "debug|info"},
    {"token", CONFIG_SECRET, offsetof(struct settings, token), "", "token"},
};
static const struct config_program program = {"test", "A test.", "WORD..."};

static struct status load(struct settings *s, int n, const char *const *words, int *left)
{
    struct config_part part = {options, COUNT_OF(options), s};
    char *argv[16] = {"test"};

    memset(s, 0, sizeof *s);
    for (int i = 0; i < n; i++)
        argv[i + 1] = (char *)words[i];
    *left = n + 1;
    return config_load(&program, &part, 1, left, argv);
}

static void unload(struct settings *s)
{
    config_free(&(struct config_part){options, COUNT_OF(options), s}, 1);
}

#define LOAD(s, left, ...)                                                                                             \
    load(s, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__}, left)

static void test_a_flag_wins_over_the_environment_and_that_over_the_default(void **state)
{
    struct settings s;
    int left;

    (void)state;
    setenv("BLOGINFER_TEST_PORT", "81", 1);
    assert_int_equal(LOAD(&s, &left, "word").code, ST_OK);
    assert_int_equal(s.port, 81);
    assert_int_equal(left, 2);
    assert_string_equal(s.name, "here");
    unload(&s);
    assert_int_equal(LOAD(&s, &left, "--test-port=82", "a", "--tls", "--name", "x", "--", "--b").code, ST_OK);
    assert_int_equal(s.port, 82);
    assert_true(s.tls);
    assert_string_equal(s.name, "x");
    assert_int_equal(left, 3);
    unload(&s);
    unsetenv("BLOGINFER_TEST_PORT");
}

static void test_a_bad_value_names_the_option_the_value_and_what_is_allowed(void **state)
{
    static const struct {
        const char *word, *message;
    } bad[] = {
        {"--test-port=0", "--test-port \"0\": must be a whole number from 1 to 65535"},
        {"--test-port=8x", "--test-port \"8x\": must be a whole number from 1 to 65535"},
        {"--rate=nan", "--rate \"nan\": must be a number from 0 to 1"},
        {"--tls=maybe", "--tls \"maybe\": must be true or false"},
        {"--level=inf", "--level \"inf\": must be debug|info"},
        {"--nome=x", "--nome: no such option (--help lists them)"},
        {"--name", "--name: needs a value"},
        {"--token=secret", "--token: no such option (--help lists them)"},
    };
    struct settings s;
    int left;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct status st = LOAD(&s, &left, bad[i].word);
        assert_int_equal(st.code, ST_INVALID);
        assert_string_equal(st.msg, bad[i].message);
        unload(&s);
    }
}

static void test_a_secret_comes_from_a_file_or_the_environment(void **state)
{
    char *dir = temporary_folder(), *path = xasprintf("%s/token", dir);
    struct settings s;
    int left;

    (void)state;
    assert_int_equal(fs_write_atomic(path, "s3cret\nrest", 11).code, ST_OK);
    assert_int_equal(LOAD(&s, &left, "--token-file", path).code, ST_OK);
    assert_string_equal(s.token, "s3cret");
    unload(&s);
    setenv("BLOGINFER_TOKEN", "other", 1);
    assert_int_equal(LOAD(&s, &left, "x").code, ST_OK);
    assert_string_equal(s.token, "other");
    unload(&s);
    unsetenv("BLOGINFER_TOKEN");
    assert_int_equal(fs_remove_tree(dir).code, ST_OK);
    free(path);
    free(dir);
}

static void test_cpus_follow_the_affinity(void **state)
{
    cpu_set_t all, one;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    assert_in_range(cpus_allowed(), 1, CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(cpus_allowed(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
}

static void test_no_value_can_forge_a_log_line(void **state)
{
    int pipes[2], saved = dup(STDERR_FILENO);
    char line[1024] = "";

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(log_init("test", "info").code, ST_OK);
    dup2(pipes[1], STDERR_FILENO);
    log_debug("hidden");
    log_info("seen", log_s("text", "a\nlevel=error \"q\" \x01"), log_i("n", -3), log_f("x", 0.5), log_s("empty", ""));
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t n = read(pipes[0], line, sizeof line - 1);
    close(pipes[0]);
    close(pipes[1]);
    assert_true(n > 0);
    assert_non_null(strstr(line, "level=info prog=test event=seen text=\"a\\nlevel=error \\\"q\\\" \\x01\" n=-3 x=0.5 "
                                 "empty=\"\"\n"));
    assert_ptr_equal(strchr(line, '\n'), line + n - 1);
}

/* Below and above a huge page. */
static void test_rows_for_vectors_are_aligned_and_zero(void **state)
{
    static const size_t sizes[] = {1, 70, 3 << 20};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char *zeroed = xaligned(sizes[i], 1), *as_it_is = xuntouched(sizes[i], 1);

        assert_int_equal((uintptr_t)zeroed % 64, 0);
        assert_int_equal((uintptr_t)as_it_is % 64, 0);
        as_it_is[sizes[i] - 1] = 1; /* all of it is there */
        for (size_t k = 0; k < (sizes[i] + 63) / 64 * 64; k++)
            assert_int_equal(zeroed[k], 0);
        free(zeroed);
        free(as_it_is);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_long_message_is_cut_between_characters),
        cmocka_unit_test(test_errno_becomes_its_code),
        cmocka_unit_test(test_an_arena_refuses_over_its_ceiling_and_goes_on),
        cmocka_unit_test(test_a_buffer_keeps_what_fits),
        cmocka_unit_test(test_a_vector_ends_at_its_ceiling),
        cmocka_unit_test(test_rows_for_vectors_are_aligned_and_zero),
        cmocka_unit_test(test_crc32c_of_rfc_3720),
        cmocka_unit_test(test_digests),
        cmocka_unit_test(test_random_numbers_have_their_moments),
        cmocka_unit_test(test_random_numbers_are_the_same_everywhere),
        cmocka_unit_test(test_a_file_is_whole_or_not_there),
        cmocka_unit_test(test_a_flag_wins_over_the_environment_and_that_over_the_default),
        cmocka_unit_test(test_a_bad_value_names_the_option_the_value_and_what_is_allowed),
        cmocka_unit_test(test_a_secret_comes_from_a_file_or_the_environment),
        cmocka_unit_test(test_cpus_follow_the_affinity),
        cmocka_unit_test(test_no_value_can_forge_a_log_line),
    };

    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
