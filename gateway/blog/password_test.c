/* password_test.c - which passwords may be chosen; what is kept; how many at once. Real hashes, of 64 MiB each. */
#include "password.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE 120000
#define GOOD     "the sky over 上海 was grey"

static void ok(struct status st)
{
    if (st.code)
        fail_msg("%s: %s", code_name(st.code), st.msg);
}

static void expect_code(enum code code, struct status st)
{
    if (st.code != code)
        fail_msg("not %s but %s: %s", code_name(code), code_name(st.code), st.msg);
}

static struct passwords *passwords_of(int64_t at_once, int64_t waiting)
{
    struct passwords_config config = {at_once, waiting};
    struct passwords *p = NULL;

    ok(passwords_new(&p, &config));
    return p;
}

static struct status verify(struct passwords *p, const char *hash, const char *password, bool *outdated)
{
    return password_verify(p, clock_after_ms(PATIENCE), hash, password, strlen(password), outdated);
}

/* ---- which may be chosen ---- */

static void allowed(const char *name, const char *password)
{
    struct status st = password_check(name, password, strlen(password));

    if (st.code)
        fail_msg("\"%s\": %s", password, st.msg);
}

static void refused(const char *name, const char *password, const char *why)
{
    struct status st = password_check(name, password, strlen(password));

    if (st.code != ST_INVALID || !strstr(st.msg, why))
        fail_msg("\"%s\": not \"%s\" but %s \"%s\"", password, why, code_name(st.code), st.msg);
    assert_true(!*password || !strstr(st.msg, password)); /* messages go to logs */
}

static void test_any_kind_of_characters_will_do(void **state)
{
    (void)state;
    allowed("ann", "just lower case");
    allowed("ann", "8301746529");
    allowed("ann", "人生若只如初见何事秋");
    allowed("ann", "        x ");
    allowed("ann", "🐼🐼🐼🐼🐼🐼🐼🐼🐼🐱");
    allowed("ann", GOOD);
}

static void test_the_length_is_bounded(void **state)
{
    char longest[PASSWORD_MAX_BYTES + 2];

    (void)state;
    refused("ann", "", "at least 10");
    refused("ann", "Xk3$9vQ!z", "at least 10");
    refused("ann", "人生若只如初见何", "at least 10"); /* 8 characters, though 24 bytes */
    for (size_t i = 0; i < sizeof longest; i++)
        longest[i] = (char)('!' + i * i % 89 % 80);
    longest[PASSWORD_MAX_BYTES] = '\0';
    allowed("ann", longest);
    longest[PASSWORD_MAX_BYTES] = 'x';
    longest[PASSWORD_MAX_BYTES + 1] = '\0';
    refused("ann", longest, "over 128 bytes");
}

static void test_only_printable_utf8(void **state)
{
    static const char zero[] = "ten and\0more";

    (void)state;
    refused("ann", "ten or more\x80", "UTF-8");
    refused("ann", "ten or more\xed\xa0\x80", "UTF-8");
    refused("ann", "ten or more\xc0\xaf", "UTF-8");
    refused("ann", "ten or\tmore", "control");
    refused("ann", "ten or more\x7f", "control");
    expect_code(ST_INVALID, password_check("ann", zero, sizeof zero - 1));
}

static void test_the_most_common_are_refused(void **state)
{
    (void)state;
    refused("ann", "password123", "common");
    refused("ann", "PassWord123", "common");
    refused("ann", "woaini1314520", "common");
    refused("ann", "zxcvbnm12345", "common");
    refused("ann", "1234567890a", "common");
    refused("ann", "correcthorsebatterystaple", "common");
    allowed("ann", "password123x7");
}

static void test_runs_and_repetitions_are_refused(void **state)
{
    (void)state;
    refused("ann", "0123456789", "runs");
    refused("ann", "9876543210", "runs");
    refused("ann", "34567890123", "runs");
    refused("ann", "Zyxwvutsrqponm", "runs");
    refused("ann", "qwertyuiop", "runs");
    refused("ann", "aaaaaaaaaa", "repeats");
    refused("ann", "1212121212121", "repeats");
    refused("ann", "secretsecret", "repeats");
    refused("ann", "好好好好好好好好好好", "repeats");
    allowed("ann", "secretsecrecy9");
}

static void test_the_name_does_not_count(void **state)
{
    (void)state;
    refused("wonderwoman", "WonderWoman", "name");
    refused("wonderwoman", "wonderwoman2024", "name");
    refused("ann", "ann+ann-ann1", "name");
    refused("王小明同学也在写博客", "王小明同学也在写博客1", "name");
    allowed("wonderwoman", "wonderwoman at six");
    allowed("", "just lower case");
}

/* ---- what is kept ---- */

static void test_a_hash_knows_its_password(void **state)
{
    struct passwords *p = passwords_of(1, 0);
    char a[PASSWORD_HASH_SIZE], b[PASSWORD_HASH_SIZE];
    bool outdated = true;

    (void)state;
    ok(password_hash(p, clock_after_ms(PATIENCE), GOOD, strlen(GOOD), a));
    ok(password_hash(p, clock_after_ms(PATIENCE), GOOD, strlen(GOOD), b));
    assert_int_equal(strncmp(a, "$argon2id$v=19$m=65536,t=2,p=1$", 31), 0);
    assert_string_not_equal(a, b); /* each has its salt */
    ok(verify(p, a, GOOD, &outdated));
    assert_false(outdated);
    expect_code(ST_UNAUTHENTICATED, verify(p, a, GOOD ".", &outdated));
    expect_code(ST_UNAUTHENTICATED, verify(p, a, "", &outdated));
    passwords_free(p);
}

static void test_an_old_hash_is_taken_and_told(void **state)
{
    struct passwords *p = passwords_of(1, 0);
    char old[crypto_pwhash_STRBYTES];
    bool outdated = false;

    (void)state;
    assert_int_equal(crypto_pwhash_str(old, GOOD, strlen(GOOD), crypto_pwhash_OPSLIMIT_MIN, 1 << 20), 0);
    ok(verify(p, old, GOOD, &outdated));
    assert_true(outdated);
    expect_code(ST_UNAUTHENTICATED, verify(p, old, "another one", &outdated));
    assert_false(outdated);
    passwords_free(p);
}

static void test_what_is_no_hash_is_an_error(void **state)
{
    struct passwords *p = passwords_of(1, 0);
    bool outdated;

    (void)state;
    expect_code(ST_INTERNAL, verify(p, "plain text", "plain text", &outdated));
    expect_code(ST_INTERNAL, verify(p, "$argon2id$v=19$m=65536,t=2,p=1$x", GOOD, &outdated));
    passwords_free(p);
}

/* CPU seconds, which other processes do not change much; the least of three. */
static double cost_of(struct passwords *p, const char *hash, const char *password)
{
    double least = 1e9;
    bool outdated;

    for (int i = 0; i < 3; i++) {
        int64_t since = clock_thread();

        expect_code(ST_UNAUTHENTICATED, verify(p, hash, password, &outdated));
        double seconds = clock_thread_seconds(since);
        least = seconds < least ? seconds : least;
    }
    return least;
}

static void test_nobody_takes_as_long_as_somebody(void **state)
{
    struct passwords *p = passwords_of(1, 0);
    char hash[PASSWORD_HASH_SIZE], *long_one = xcalloc(1, 1 << 20);

    (void)state;
    ok(password_hash(p, clock_after_ms(PATIENCE), GOOD, strlen(GOOD), hash));
    memset(long_one, 'x', (1 << 20) - 1);
    double somebody = cost_of(p, hash, "wrong password");
    /* a fifth: it is either done or not at all */
    assert_true(cost_of(p, NULL, "wrong password") > somebody / 5);
    assert_true(cost_of(p, "", "wrong password") > somebody / 5);
    assert_true(cost_of(p, hash, long_one) > somebody / 5);
    assert_true(cost_of(p, hash, long_one) < somebody * 5);
    free(long_one);
    passwords_free(p);
}

/* ---- how many at once ---- */

struct caller {
    struct passwords *passwords;
    int64_t timeout_ms;
    int n_ok, n_busy, n_wrong;
    pthread_t thread;
};

static void *hash_often(void *arg)
{
    struct caller *c = arg;
    char hash[PASSWORD_HASH_SIZE];

    for (int i = 0; i < 3; i++) {
        enum code code = password_hash(c->passwords, clock_after_ms(c->timeout_ms), GOOD, strlen(GOOD), hash).code;

        c->n_ok += code == ST_OK;
        c->n_busy += code == ST_EXHAUSTED;
        c->n_wrong += code != ST_OK && code != ST_EXHAUSTED;
    }
    return NULL;
}

/* Peak of resident memory while eight threads hash, in MiB over that of before. */
static int64_t hash_together(struct passwords *p, int64_t timeout_ms, int *n_ok, int *n_busy)
{
    struct caller callers[8];
    int64_t before = memory_used();
    FILE *f = fopen("/proc/self/clear_refs", "w"); /* 5: forgets the peak */
    char line[256];
    int64_t peak = 0;

    if (f) {
        fputs("5", f);
        fclose(f);
    }
    *n_ok = *n_busy = 0;
    for (size_t i = 0; i < COUNT_OF(callers); i++) {
        callers[i] = (struct caller){.passwords = p, .timeout_ms = timeout_ms};
        pthread_create(&callers[i].thread, NULL, hash_often, &callers[i]);
    }
    for (size_t i = 0; i < COUNT_OF(callers); i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].n_wrong, 0);
        *n_ok += callers[i].n_ok;
        *n_busy += callers[i].n_busy;
    }
    f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "VmHWM:", 6))
            peak = atoll(line + 6) << 10;
    if (f)
        fclose(f);
    return (peak - before) >> 20;
}

static void test_no_more_run_than_may(void **state)
{
    struct passwords *p = passwords_of(2, 100);
    int n_ok, n_busy;
    int64_t mib = hash_together(p, PATIENCE, &n_ok, &n_busy);

    (void)state;
    assert_int_equal(n_ok, 24);
    assert_int_equal(n_busy, 0);
    if (mib > 200) /* two of 64 MiB, not eight */
        fail_msg("%lld MiB", (long long)mib);
    passwords_free(p);
}

static void test_no_more_wait_than_may(void **state)
{
    struct passwords *p = passwords_of(1, 1);
    int n_ok, n_busy;

    (void)state;
    hash_together(p, PATIENCE, &n_ok, &n_busy);
    assert_true(n_ok >= 3 && n_busy >= 1);
    assert_int_equal(n_ok + n_busy, 24);
    passwords_free(p);
}

static void test_a_wait_ends_with_its_deadline(void **state)
{
    struct passwords *p = passwords_of(1, 100);
    int n_ok, n_busy;

    (void)state;
    hash_together(p, 1, &n_ok, &n_busy); /* one takes far more than 1 ms */
    assert_true(n_ok >= 1 && n_busy >= 1);
    hash_together(p, PATIENCE, &n_ok, &n_busy); /* and they left no place taken */
    assert_int_equal(n_ok, 24);
    passwords_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_kind_of_characters_will_do),
        cmocka_unit_test(test_the_length_is_bounded),
        cmocka_unit_test(test_only_printable_utf8),
        cmocka_unit_test(test_the_most_common_are_refused),
        cmocka_unit_test(test_runs_and_repetitions_are_refused),
        cmocka_unit_test(test_the_name_does_not_count),
        cmocka_unit_test(test_a_hash_knows_its_password),
        cmocka_unit_test(test_an_old_hash_is_taken_and_told),
        cmocka_unit_test(test_what_is_no_hash_is_an_error),
        cmocka_unit_test(test_nobody_takes_as_long_as_somebody),
        cmocka_unit_test(test_no_more_run_than_may),
        cmocka_unit_test(test_no_more_wait_than_may),
        cmocka_unit_test(test_a_wait_ends_with_its_deadline),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
