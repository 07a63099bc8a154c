/* session_test.c - who is logged in and for how long, against a real Redis that forgets, is away, and is made to lie. */
#include "redis/testing.h"
#include "session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE 20000
#define DAY_MS   INT64_C(86400000)

static struct redis_testing *server;
static struct sessions all = {NULL, SESSION_IDLE_MS, SESSION_LIFE_MS, SESSION_MAX_PER_USER};
static struct arena arena;

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

static int64_t soon(void)
{
    return clock_after_ms(PATIENCE);
}

static const struct redis_reply *ask(const struct redis_arg *args, size_t n)
{
    struct redis_reply *reply = NULL;

    ok(redis_command(all.redis, &arena, soon(), &reply, args, n));
    return reply;
}
#define ASK(...)                                                                                                       \
    ask((const struct redis_arg[]){__VA_ARGS__},                                                                       \
        sizeof(const struct redis_arg[]){__VA_ARGS__} / sizeof(struct redis_arg))

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 1 << 20);
    ASK(redis_s("FLUSHALL"));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

struct token {
    char text[SESSION_TOKEN_SIZE];
};

static struct token log_in(const struct sessions *in, int64_t user_id)
{
    struct session s = {.user_id = user_id, .role = "reader", .agent = "Firefox", .address = "192.0.2.0"};
    struct token t;

    ok(session_create(in, soon(), &s, t.text));
    return t;
}

/* The user that the token logs in; 0: nobody. */
static int64_t user_of(const struct sessions *in, const struct token *t)
{
    struct session s;
    struct status st = session_find(in, &arena, soon(), t->text, &s);

    if (st.code != ST_UNAUTHENTICATED)
        ok(st);
    return st.code ? 0 : s.user_id;
}

static struct session find(const struct token *t)
{
    struct session s;

    ok(session_find(&all, &arena, soon(), t->text, &s));
    return s;
}

static size_t count(int64_t user_id)
{
    struct session *list;
    size_t n = 0;

    ok(session_list(&all, &arena, soon(), user_id, &list, &n));
    return n;
}

static void test_a_token_logs_its_user_in(void **state)
{
    struct token a = log_in(&all, 1), b = log_in(&all, 2), c = log_in(&all, 1);
    struct session s = find(&a);

    (void)state;
    assert_int_equal(strlen(a.text), 43);
    assert_string_not_equal(a.text, c.text);
    assert_int_equal(s.user_id, 1);
    assert_string_equal(s.role, "reader");
    assert_string_equal(s.agent, "Firefox");
    assert_string_equal(s.address, "192.0.2.0");
    assert_int_equal(s.ends_ms - s.created_ms, 90 * DAY_MS);
    assert_true(s.seen_ms >= s.created_ms);
    assert_true(llabs(s.created_ms - clock_wall() / CLOCK_MS) < PATIENCE);
    assert_int_equal(user_of(&all, &b), 2);
    assert_int_equal(user_of(&all, &c), 1);
}

static void test_redis_never_has_the_token(void **state)
{
    struct token t = log_in(&all, 1);
    const struct redis_reply *keys = ASK(redis_s("KEYS"), redis_s("*"));
    struct session s = find(&t);

    (void)state;
    assert_int_equal(keys->n, 2);
    for (size_t i = 0; i < keys->n; i++) {
        const struct redis_reply *dump = ASK(redis_s("DUMP"), redis_b(keys->items[i].text, keys->items[i].n));

        assert_null(strstr(keys->items[i].text, t.text));
        assert_null(memmem(dump->text, dump->n, t.text, strlen(t.text)));
    }
    memcpy(t.text, s.id, SESSION_TOKEN_SIZE - 1); /* and what it has is no token */
    assert_int_equal(user_of(&all, &t), 0);
    expect_code(ST_UNAUTHENTICATED, session_find(&all, &arena, soon(), s.id, &s));
}

static void test_what_is_no_token_is_nobody(void **state)
{
    struct token t = log_in(&all, 1), other = t;
    static const char *const wrong[] = {"",
                                        "x",
                                        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                        "//////////////////////////////////////////A",
                                        "* * * * * * * * * * * * * * * * * * * * * *"};
    struct session s;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        expect_code(ST_UNAUTHENTICATED, session_find(&all, &arena, soon(), wrong[i], &s));
    for (size_t i = 0; i < 43; i++) { /* one character less or another */
        other = t;
        other.text[i] = t.text[i] == 'A' ? 'B' : 'A';
        assert_int_equal(user_of(&all, &other), 0);
        other.text[i] = '\0';
        assert_int_equal(user_of(&all, &other), 0);
    }
    assert_int_equal(user_of(&all, &t), 1);
}

static void test_outsiders_texts_are_cleaned_and_cut(void **state)
{
    struct session s = {.user_id = 1, .role = "admin", .agent = "a\r\nb\x80\xe4\xb8\xad\x1b[0m", .address = NULL};
    char long_text[1000], token[SESSION_TOKEN_SIZE];

    (void)state;
    ok(session_create(&all, soon(), &s, token));
    ok(session_find(&all, &arena, soon(), token, &s));
    assert_string_equal(s.agent, "a??b?\xe4\xb8\xad?[0m");
    assert_string_equal(s.address, "");
    for (size_t i = 0; i < 999; i += 3)
        memcpy(long_text + i, "\xe4\xb8\xad", 4);
    s = (struct session){.user_id = 1, .role = "admin", .agent = long_text};
    ok(session_create(&all, soon(), &s, token));
    ok(session_find(&all, &arena, soon(), token, &s));
    assert_int_equal(strlen(s.agent), SESSION_MAX_TEXT / 3 * 3);
    s = (struct session){.user_id = 1, .role = "a role that is too long"};
    expect_code(ST_INVALID, session_create(&all, soon(), &s, token));
}

/* As after so long without use. */
static const char *rest(const struct session *s, int64_t ms)
{
    const char *key = arena_printf(&arena, "session:%s", s->id);

    ASK(redis_s("HSET"), redis_s(key), redis_s("seen"), redis_i(s->seen_ms - ms));
    ASK(redis_s("PEXPIRE"), redis_s(key), redis_i(SESSION_IDLE_MS - ms));
    return key;
}

static void test_use_keeps_a_session(void **state)
{
    struct token t = log_in(&all, 1);
    struct session s = find(&t);
    const char *key = rest(&s, 13 * DAY_MS);
    int64_t left;

    (void)state;
    assert_true(find(&t).seen_ms >= s.seen_ms);
    left = ASK(redis_s("PTTL"), redis_s(key))->number;
    assert_true(left > 14 * DAY_MS - PATIENCE && left <= 14 * DAY_MS);
    rest(&s, DAY_MS);
    ASK(redis_s("HSET"), redis_s(key), redis_s("ends"), redis_i(s.seen_ms + 2 * DAY_MS)); /* the 88th day */
    find(&t);
    left = ASK(redis_s("PTTL"), redis_s(key))->number;
    assert_true(left > 2 * DAY_MS - PATIENCE && left <= 2 * DAY_MS);
}

static void test_rest_ends_a_session(void **state)
{
    struct sessions brief = all;

    (void)state;
    brief.idle_ms = 20;
    struct token t = log_in(&brief, 1);
    while (ASK(redis_s("DBSIZE"))->number > 1) { /* the list stays */
        arena_reset(&arena);
        clock_sleep_ms(1);
    }
    assert_int_equal(user_of(&all, &t), 0);
    assert_int_equal(count(1), 0);
}

static void test_not_every_use_writes(void **state)
{
    struct token t = log_in(&all, 1);
    const struct redis_reply *before, *after;

    (void)state;
    before = ASK(redis_s("INFO"), redis_s("persistence"));
    for (int i = 0; i < 20; i++)
        find(&t);
    after = ASK(redis_s("INFO"), redis_s("persistence"));
    assert_int_equal(atoll(strstr(before->text, "changes_since_last_save:") + 24),
                     atoll(strstr(after->text, "changes_since_last_save:") + 24));
}

static void test_no_session_is_for_ever(void **state)
{
    struct sessions brief = all;
    struct session s;

    (void)state;
    brief.life_ms = 300;
    struct token t = log_in(&brief, 1);
    while (user_of(&brief, &t)) /* used all the time */
        arena_reset(&arena);
    expect_code(ST_UNAUTHENTICATED, session_find(&brief, &arena, soon(), t.text, &s));
    t = log_in(&all, 1);
    s = find(&t);
    char *key = arena_printf(&arena, "session:%s", s.id);
    ASK(redis_s("HSET"), redis_s(key), redis_s("ends"), redis_s("1000")); /* a clock that jumped */
    assert_int_equal(user_of(&all, &t), 0);
    assert_int_equal(ASK(redis_s("EXISTS"), redis_s(key))->number, 0);
}

static void test_every_key_expires(void **state)
{
    const struct redis_reply *keys;

    (void)state;
    struct token t = log_in(&all, 1);
    find(&t);
    keys = ASK(redis_s("KEYS"), redis_s("*"));
    for (size_t i = 0; i < keys->n; i++) {
        int64_t ms = ASK(redis_s("PTTL"), redis_b(keys->items[i].text, keys->items[i].n))->number;

        assert_true(ms > 14 * DAY_MS - PATIENCE && ms <= 90 * DAY_MS);
    }
}

static void test_one_is_ended_by_its_user_only(void **state)
{
    struct token a = log_in(&all, 1), b = log_in(&all, 1), c = log_in(&all, 2);
    struct session s = find(&a);

    (void)state;
    expect_code(ST_NOT_FOUND, session_end(&all, soon(), 2, s.id));
    expect_code(ST_NOT_FOUND, session_end(&all, soon(), 1, "nonsense"));
    expect_code(ST_NOT_FOUND, session_end(&all, soon(), 1, a.text));
    assert_int_equal(user_of(&all, &a), 1);
    ok(session_end(&all, soon(), 1, s.id));
    expect_code(ST_NOT_FOUND, session_end(&all, soon(), 1, s.id));
    assert_int_equal(user_of(&all, &a), 0);
    assert_int_equal(user_of(&all, &b), 1);
    assert_int_equal(user_of(&all, &c), 2);
}

static void test_all_are_ended_at_once(void **state)
{
    struct token a = log_in(&all, 1), b = log_in(&all, 1), c = log_in(&all, 2);
    struct session s = find(&b);
    int64_t n = -1;

    (void)state;
    ok(session_end_all(&all, soon(), 1, s.id, &n));
    assert_int_equal(n, 1);
    assert_int_equal(user_of(&all, &a), 0);
    assert_int_equal(user_of(&all, &b), 1);
    ok(session_end_all(&all, soon(), 1, NULL, NULL));
    assert_int_equal(user_of(&all, &b), 0);
    assert_int_equal(user_of(&all, &c), 2);
    ok(session_end_all(&all, soon(), 7, NULL, &n));
    assert_int_equal(n, 0);
    assert_int_equal(ASK(redis_s("EXISTS"), redis_s("sessions:1"))->number, 0);
}

static void test_the_list_is_the_users_own_newest_first(void **state)
{
    struct token tokens[3];
    struct session *list;
    size_t n = 0;

    (void)state;
    for (int i = 0; i < 3; i++) {
        tokens[i] = log_in(&all, 1);
        int64_t made = find(&tokens[i]).created_ms;
        while (clock_wall() / CLOCK_MS <= made) /* the next one is younger */
            clock_sleep_ms(1);
    }
    log_in(&all, 2);
    ok(session_list(&all, &arena, soon(), 1, &list, &n));
    assert_int_equal(n, 3);
    for (int i = 0; i < 3; i++) {
        struct session s = find(&tokens[2 - i]);

        assert_string_equal(list[i].id, s.id);
        assert_int_equal(list[i].user_id, 1);
        assert_string_equal(list[i].agent, "Firefox");
        assert_int_equal(list[i].created_ms, s.created_ms);
    }
    ok(session_list(&all, &arena, soon(), 3, &list, &n));
    assert_int_equal(n, 0);
}

static void test_one_too_many_ends_the_oldest(void **state)
{
    struct sessions few = all;
    struct token tokens[5];

    (void)state;
    few.per_user = 3;
    for (int i = 0; i < 5; i++) {
        tokens[i] = log_in(&few, 1);
        int64_t made = find(&tokens[i]).created_ms;
        while (clock_wall() / CLOCK_MS <= made)
            clock_sleep_ms(1);
    }
    for (int i = 0; i < 5; i++)
        assert_int_equal(user_of(&few, &tokens[i]), i < 2 ? 0 : 1);
    assert_int_equal(count(1), 3);
    few.per_user = 1; /* as when the option was changed */
    tokens[0] = log_in(&few, 1);
    assert_int_equal(count(1), 1);
    assert_int_equal(user_of(&few, &tokens[0]), 1);
}

static void test_a_list_that_was_lost_logs_out(void **state)
{
    struct token t = log_in(&all, 1);

    (void)state;
    ASK(redis_s("DEL"), redis_s("sessions:1")); /* as when memory was short */
    assert_int_equal(user_of(&all, &t), 0);
    t = log_in(&all, 1);
    struct session s = find(&t);
    ASK(redis_s("DEL"), redis_s(arena_printf(&arena, "session:%s", s.id)));
    assert_int_equal(user_of(&all, &t), 0);
    assert_int_equal(count(1), 0);
}

static void test_what_others_put_there_is_an_error(void **state)
{
    struct token t = log_in(&all, 1);
    struct session s = find(&t), *list;
    char *key = arena_printf(&arena, "session:%s", s.id);
    size_t n;

    (void)state;
    ASK(redis_s("HDEL"), redis_s(key), redis_s("role"));
    expect_code(ST_INTERNAL, session_find(&all, &arena, soon(), t.text, &s));
    expect_code(ST_INTERNAL, session_list(&all, &arena, soon(), 1, &list, &n));
    ASK(redis_s("SET"), redis_s(key), redis_s("x"));
    expect_code(ST_INTERNAL, session_find(&all, &arena, soon(), t.text, &s));
}

/* Each logs in as its own user, is found, and logs out; one user is thrown out all the time meanwhile. */
struct visitor {
    int64_t user_id;
    bool throws_out;
    atomic_bool *stop;
    int n_visits, n_wrong;
    pthread_t thread;
};

static void *visit(void *arg)
{
    struct visitor *v = arg;
    struct session s = {.user_id = v->user_id, .role = "reader"};
    char token[SESSION_TOKEN_SIZE];
    struct arena own;

    arena_init(&own, 1 << 16);
    for (; !atomic_load(v->stop); v->n_visits++) {
        if (v->throws_out) {
            v->n_wrong += session_end_all(&all, soon(), 1, NULL, NULL).code != ST_OK;
            continue;
        }
        s.user_id = v->user_id;
        s.role = "reader";
        s.agent = s.address = NULL;
        if (session_create(&all, soon(), &s, token).code) {
            v->n_wrong++;
            continue;
        }
        struct status st = session_find(&all, &own, soon(), token, &s);
        if (v->user_id == 1) /* who is thrown out may be found or not */
            v->n_wrong += st.code != ST_OK && st.code != ST_UNAUTHENTICATED;
        else
            v->n_wrong += st.code || s.user_id != v->user_id || session_end(&all, soon(), v->user_id, s.id).code ||
                          session_find(&all, &own, soon(), token, &s).code != ST_UNAUTHENTICATED;
        arena_reset(&own);
    }
    arena_fini(&own);
    return NULL;
}

static void test_many_at_once(void **state)
{
    struct visitor visitors[8];
    atomic_bool stop = false;

    (void)state;
    for (int i = 0; i < 8; i++) {
        visitors[i] = (struct visitor){.user_id = i ? i : 1, .throws_out = !i, .stop = &stop};
        pthread_create(&visitors[i].thread, NULL, visit, &visitors[i]);
    }
    while (ASK(redis_s("INCR"), redis_s("turns"))->number < 300)
        arena_reset(&arena);
    atomic_store(&stop, true);
    for (int i = 0; i < 8; i++) {
        pthread_join(visitors[i].thread, NULL);
        assert_true(visitors[i].n_visits > 0);
        assert_int_equal(visitors[i].n_wrong, 0);
    }
    ok(session_end_all(&all, soon(), 1, NULL, NULL));
    assert_int_equal(ASK(redis_s("DBSIZE"))->number, 1); /* the turns: nothing is left behind */
}

static void test_a_redis_that_lost_its_data_logs_out_and_no_more(void **state)
{
    struct token t = log_in(&all, 1);
    struct session s = {.user_id = 1, .role = "reader"}, *list;
    char token[SESSION_TOKEN_SIZE];
    size_t n;

    (void)state;
    redis_testing_kill(server);
    while (session_find(&all, &arena, soon(), t.text, &s).code != ST_UNAVAILABLE)
        clock_sleep_ms(1);
    s = (struct session){.user_id = 1, .role = "reader"};
    expect_code(ST_UNAVAILABLE, session_create(&all, soon(), &s, token));
    expect_code(ST_UNAVAILABLE, session_list(&all, &arena, soon(), 1, &list, &n));
    expect_code(ST_UNAVAILABLE, session_end_all(&all, soon(), 1, NULL, NULL));
    redis_testing_restart(server);
    while (redis_ready(all.redis, soon()).code)
        clock_sleep_ms(1);
    assert_int_equal(user_of(&all, &t), 0);
    assert_int_equal(count(1), 0);
    t = log_in(&all, 1);
    assert_int_equal(user_of(&all, &t), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_token_logs_its_user_in),
        TEST(test_redis_never_has_the_token),
        TEST(test_what_is_no_token_is_nobody),
        TEST(test_outsiders_texts_are_cleaned_and_cut),
        TEST(test_use_keeps_a_session),
        TEST(test_rest_ends_a_session),
        TEST(test_not_every_use_writes),
        TEST(test_no_session_is_for_ever),
        TEST(test_every_key_expires),
        TEST(test_one_is_ended_by_its_user_only),
        TEST(test_all_are_ended_at_once),
        TEST(test_the_list_is_the_users_own_newest_first),
        TEST(test_one_too_many_ends_the_oldest),
        TEST(test_a_list_that_was_lost_logs_out),
        TEST(test_what_others_put_there_is_an_error),
        TEST(test_many_at_once),
        TEST(test_a_redis_that_lost_its_data_logs_out_and_no_more),
    };

    server = redis_testing_start("secret", false);
    all.redis = redis_testing_open(server);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    redis_close(all.redis);
    redis_testing_stop(server);
    return failed;
}
