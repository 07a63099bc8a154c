/* command.c - see redis.h: one command, several, or a script, on a connection of the pool. */
#include "metrics/metrics.h"
#include "redis/pool.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define TRIES          3 /* of which all but the last broke before anything was sent */
#define NAME_MAX_BYTES 24

static struct {
    pthread_once_t once;
    struct metric *seconds;
} all = {.once = PTHREAD_ONCE_INIT};

static void make_metrics(void)
{
    all.seconds =
        metric_histogram("bloginfer_redis_command_seconds",
                         "Commands to Redis, from the wait for a connection to the reply.", "command,code", NULL, 0);
}

struct redis_arg redis_s(const char *text)
{
    return redis_b(text, strlen(text));
}

struct redis_arg redis_b(const void *data, size_t size)
{
    return (struct redis_arg){.data = data ? data : "", .size = size};
}

struct redis_arg redis_i(int64_t number)
{
    return (struct redis_arg){.number = number};
}

/* The first word of an error is its kind: https://redis.io/docs/reference/protocol-spec/ */
static enum code code_of_error(const char *text)
{
    static const struct {
        const char *word;
        enum code code;
    } kinds[] = {
        {"LOADING", ST_UNAVAILABLE},    {"MASTERDOWN", ST_UNAVAILABLE},    {"READONLY", ST_UNAVAILABLE},
        {"BUSY", ST_UNAVAILABLE},       {"TRYAGAIN", ST_UNAVAILABLE},      {"CLUSTERDOWN", ST_UNAVAILABLE},
        {"MISCONF", ST_UNAVAILABLE},    {"NOREPLICAS", ST_UNAVAILABLE},    {"OOM", ST_EXHAUSTED},
        {"NOAUTH", ST_UNAUTHENTICATED}, {"WRONGPASS", ST_UNAUTHENTICATED}, {"NOPERM", ST_DENIED},
        {"EXECABORT", ST_ABORTED},      {"NOSCRIPT", ST_NOT_FOUND},
    };

    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        size_t n = strlen(kinds[i].word);

        if (!strncmp(text, kinds[i].word, n) && (text[n] == ' ' || !text[n]))
            return kinds[i].code;
    }
    return ST_INTERNAL;
}

struct status redis_reply_status(const struct redis_reply *reply)
{
    if (reply->kind != REDIS_ERROR)
        return status_ok();
    return status_errorf(code_of_error(reply->text), "Redis: %s", reply->text);
}

static enum pool_fate fate_of(const struct status *st, bool sent, const struct redis_reply *replies, size_t n)
{
    if (st->code == ST_EXHAUSTED)
        return sent ? POOL_CLOSE : POOL_KEEP;
    if (st->code)
        return POOL_BROKE;
    for (size_t i = 0; i < n; i++)
        if (redis_reply_status(&replies[i]).code == ST_UNAVAILABLE)
            return POOL_BROKE; /* the next connection may find the server that took over */
    return POOL_KEEP;
}

/* *sent false: it can be repeated. */
static struct status try_once(struct redis *r, struct arena *arena, int64_t deadline, struct redis_reply *replies,
                              const struct redis_commands *commands, size_t n, bool *sent)
{
    struct conn *c = NULL;
    struct status st = pool_acquire(r, deadline, &c);

    *sent = true;
    if (st.code)
        return st;
    conn_begin(c, arena);
    for (size_t i = 0; i < n; i++)
        conn_add(c, commands[i].args, commands[i].n_args);
    st = conn_exchange(c, deadline, replies, n, sent);
    pool_release(r, c, fate_of(&st, *sent, replies, n));
    return st;
}

/* replies: (n,) */
static struct status ask(struct redis *r, struct arena *arena, int64_t deadline, struct redis_reply *replies,
                         const struct redis_commands *commands, size_t n)
{
    struct status st = status_errorf(ST_DEADLINE, "no time is left to ask Redis");
    bool sent = false;

    for (int i = 0; i < TRIES && !sent && clock_now() < deadline; i++) {
        st = try_once(r, arena, deadline, replies, commands, n, &sent);
        if (st.code != ST_UNAVAILABLE)
            break;
    }
    return st;
}

static void account(const char *name, size_t size, int64_t since, enum code code)
{
    char command[NAME_MAX_BYTES];

    pthread_once(&all.once, make_metrics);
    snprintf(command, sizeof command, "%.*s", (int)(size < sizeof command ? size : sizeof command - 1), name);
    metric_observe(all.seconds, clock_seconds(since), command, code_name(code));
}

struct status redis_command(struct redis *r, struct arena *arena, int64_t deadline, struct redis_reply **reply,
                            const struct redis_arg *args, size_t n_args)
{
    struct redis_reply *one = arena_zalloc(arena, 1, sizeof *one);
    int64_t since = clock_now();

    if (!one)
        return status_errorf(ST_EXHAUSTED, "no memory is left for the reply of Redis");
    struct status st = ask(r, arena, deadline, one, &(struct redis_commands){args, n_args}, 1);
    if (!st.code)
        st = redis_reply_status(one);
    if (!st.code)
        *reply = one;
    account(args[0].data, args[0].size, since, st.code);
    return st;
}

struct status redis_pipeline(struct redis *r, struct arena *arena, int64_t deadline, struct redis_reply **replies,
                             const struct redis_commands *commands, size_t n)
{
    struct redis_reply *list = arena_zalloc(arena, n, sizeof *list);
    int64_t since = clock_now();

    if (!list)
        return status_errorf(ST_EXHAUSTED, "no memory is left for the replies of Redis");
    struct status st = ask(r, arena, deadline, list, commands, n);
    if (!st.code)
        *replies = list;
    account("pipeline", strlen("pipeline"), since, st.code);
    return st;
}

void redis_script_init(struct redis_script *s, const char *text, size_t size)
{
    uint8_t digest[SHA1_SIZE];

    s->text = text;
    s->size = size;
    sha1(text, size, digest);
    hex_encode(digest, sizeof digest, s->sha1);
}

struct status redis_eval(struct redis *r, struct arena *arena, int64_t deadline, struct redis_reply **reply,
                         const struct redis_script *s, const struct redis_arg *keys, size_t n_keys,
                         const struct redis_arg *args, size_t n_args)
{
    struct redis_arg list[3 + REDIS_MAX_SCRIPT_ARGS] = {redis_s("EVALSHA"), redis_s(s->sha1), redis_i((int64_t)n_keys)};
    size_t n = 3 + n_keys + n_args;

    if (n > COUNT_OF(list))
        return status_errorf(ST_INVALID, "a script takes at most %d keys and arguments", REDIS_MAX_SCRIPT_ARGS);
    if (n_keys)
        memcpy(list + 3, keys, n_keys * sizeof *keys);
    if (n_args)
        memcpy(list + 3 + n_keys, args, n_args * sizeof *args);
    struct status st = redis_command(r, arena, deadline, reply, list, n);
    if (st.code != ST_NOT_FOUND)
        return st;
    list[0] = redis_s("EVAL");
    list[1] = redis_b(s->text, s->size);
    return redis_command(r, arena, deadline, reply, list, n);
}
