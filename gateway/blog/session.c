/* session.c - see session.h. Each function is one script, so that two of them at once are one after the other. */
#include "session.h"

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define TOKEN_BYTES   32
#define ROW_FIELDS    8
#define USE_MARK_MS   60000 /* so old the mark of the last use may get, or a tenth of idle_ms: not every find writes */
#define ANSWER_ARENA  4096
#define MAX_LIST_NAME 40

#define SCRIPTS(X)    X(create) X(find) X(end) X(list)
#define DECLARE(name) extern const char session_##name##_lua[], session_##name##_lua_end[];
SCRIPTS(DECLARE)

static struct {
    pthread_once_t once;
    struct redis_script create, find, end, list;
} scripts = {.once = PTHREAD_ONCE_INIT};

static void make_scripts(void)
{
    if (sodium_init() < 0)
        abort(); /* no random numbers: nothing may go on */
#define MAKE(name)                                                                                                     \
    redis_script_init(&scripts.name, session_##name##_lua, (size_t)(session_##name##_lua_end - session_##name##_lua));
    SCRIPTS(MAKE)
}

struct key {
    char text[sizeof "session:" + SESSION_ID_SIZE];
};

static struct redis_arg session_key(struct key *k, const char *id)
{
    snprintf(k->text, sizeof k->text, "session:%s", id);
    return redis_s(k->text);
}

static struct redis_arg user_key(struct key *k, int64_t user_id)
{
    snprintf(k->text, sizeof k->text, "sessions:%lld", (long long)user_id);
    return redis_s(k->text);
}

static void id_of(const uint8_t *random, char *id)
{
    uint8_t digest[SHA256_SIZE];

    sha256(random, TOKEN_BYTES, digest);
    hex_encode(digest, sizeof digest, id);
}

static bool is_id(const char *id)
{
    return strlen(id) == SESSION_ID_SIZE - 1 && strspn(id, "0123456789abcdef") == SESSION_ID_SIZE - 1;
}

/* Printable UTF-8, cut at a character; what is not becomes '?'. */
static void clean(struct buf *out, const char *text)
{
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)(text ? text : "");
    size_t left = strlen((const char *)at);

    while (left && !out->full) {
        utf8proc_int32_t point;
        utf8proc_ssize_t n = utf8proc_iterate(at, (utf8proc_ssize_t)left, &point);
        bool printable = n > 0 && utf8proc_category(point) != UTF8PROC_CATEGORY_CC;

        n = n > 0 ? n : 1;
        buf_add(out, printable ? (const void *)at : "?", printable ? (size_t)n : 1);
        at += n;
        left -= (size_t)n;
    }
}

static struct status create(const struct sessions *all, int64_t deadline, const struct session *s, const char *id)
{
    struct buf agent = BUF_INIT(SESSION_MAX_TEXT), address = BUF_INIT(SESSION_MAX_TEXT);
    struct key names[2];
    struct redis_reply *reply;
    struct arena arena;

    clean(&agent, s->agent);
    clean(&address, s->address);
    struct redis_arg keys[] = {session_key(&names[0], id), user_key(&names[1], s->user_id)};
    struct redis_arg args[] = {redis_s(id),
                               redis_i(s->user_id),
                               redis_s(s->role),
                               redis_b(agent.data, agent.size),
                               redis_b(address.data, address.size),
                               redis_i(all->idle_ms),
                               redis_i(all->life_ms),
                               redis_i(all->per_user)};
    arena_init(&arena, ANSWER_ARENA);
    struct status st =
        redis_eval(all->redis, &arena, deadline, &reply, &scripts.create, keys, COUNT_OF(keys), args, COUNT_OF(args));
    arena_fini(&arena);
    buf_fini(&agent);
    buf_fini(&address);
    return st;
}

struct status session_create(const struct sessions *all, int64_t deadline, const struct session *s, char *token)
{
    uint8_t random[TOKEN_BYTES];
    char id[SESSION_ID_SIZE];

    if (strlen(s->role) > SESSION_MAX_ROLE)
        return status_errorf(ST_INVALID, "role \"%.40s\" is over %d bytes", s->role, SESSION_MAX_ROLE);
    pthread_once(&scripts.once, make_scripts);
    randombytes_buf(random, sizeof random);
    id_of(random, id);
    struct status st = create(all, deadline, s, id);
    if (!st.code)
        sodium_bin2base64(token, SESSION_TOKEN_SIZE, random, sizeof random, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(random, sizeof random);
    return st;
}

/* False: the row is not one of ours. */
static bool read_row(const struct redis_reply *row, struct session *out)
{
    const struct redis_reply *f = row->items;

    if (row->kind != REDIS_ARRAY || row->n != ROW_FIELDS)
        return false;
    for (size_t i = 0; i < ROW_FIELDS; i++)
        if (f[i].kind != REDIS_TEXT)
            return false;
    *out = (struct session){.user_id = atoll(f[1].text),
                            .role = f[2].text,
                            .agent = f[3].text,
                            .address = f[4].text,
                            .created_ms = atoll(f[5].text),
                            .seen_ms = atoll(f[6].text),
                            .ends_ms = atoll(f[7].text)};
    snprintf(out->id, sizeof out->id, "%s", f[0].text);
    return true;
}

static struct status nobody(void)
{
    return status_errorf(ST_UNAUTHENTICATED, "this session has ended: log in again");
}

static struct status damaged(void)
{
    return status_errorf(ST_INTERNAL, "Redis holds a session that is not one of ours");
}

static bool id_of_token(const char *token, char *id)
{
    uint8_t random[TOKEN_BYTES];
    size_t n = 0;

    if (strlen(token) != SESSION_TOKEN_SIZE - 1 ||
        sodium_base642bin(random, sizeof random, token, SESSION_TOKEN_SIZE - 1, NULL, &n, NULL,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) ||
        n != sizeof random)
        return false;
    id_of(random, id);
    sodium_memzero(random, sizeof random);
    return true;
}

struct status session_find(const struct sessions *all, struct arena *arena, int64_t deadline, const char *token,
                           struct session *out)
{
    int64_t mark = all->idle_ms / 10 < USE_MARK_MS ? all->idle_ms / 10 : USE_MARK_MS;
    struct redis_reply *reply = NULL;
    char id[SESSION_ID_SIZE];
    struct key name;

    if (!id_of_token(token, id))
        return nobody();
    pthread_once(&scripts.once, make_scripts);
    struct redis_arg key = session_key(&name, id), args[] = {redis_s(id), redis_i(all->idle_ms), redis_i(mark)};
    struct status st = redis_eval(all->redis, arena, deadline, &reply, &scripts.find, &key, 1, args, COUNT_OF(args));
    if (st.code)
        return st;
    if (reply->kind == REDIS_NIL)
        return nobody();
    return read_row(reply, out) ? st : damaged();
}

static struct status end(const struct sessions *all, int64_t deadline, int64_t user_id, const char *which,
                         const char *id, int64_t *n_ended)
{
    struct redis_arg args[] = {redis_s(which), redis_s(id)};
    struct redis_reply *reply = NULL;
    struct arena arena;
    struct key name;
    struct redis_arg key = user_key(&name, user_id);

    pthread_once(&scripts.once, make_scripts);
    arena_init(&arena, ANSWER_ARENA);
    struct status st = redis_eval(all->redis, &arena, deadline, &reply, &scripts.end, &key, 1, args, COUNT_OF(args));
    if (!st.code && reply->kind != REDIS_INT)
        st = damaged();
    if (!st.code && n_ended)
        *n_ended = reply->number;
    arena_fini(&arena);
    return st;
}

struct status session_end(const struct sessions *all, int64_t deadline, int64_t user_id, const char *id)
{
    int64_t n = 0;
    struct status st = is_id(id) ? end(all, deadline, user_id, "one", id, &n) : status_ok();

    if (!st.code && !n)
        return status_errorf(ST_NOT_FOUND, "no such session");
    return st;
}

struct status session_end_all(const struct sessions *all, int64_t deadline, int64_t user_id, const char *except,
                              int64_t *n_ended)
{
    return end(all, deadline, user_id, "but", except ? except : "", n_ended);
}

struct status session_list(const struct sessions *all, struct arena *arena, int64_t deadline, int64_t user_id,
                           struct session **list, size_t *n)
{
    struct redis_reply *reply = NULL;
    struct key name;
    struct redis_arg key = user_key(&name, user_id);

    pthread_once(&scripts.once, make_scripts);
    struct status st = redis_eval(all->redis, arena, deadline, &reply, &scripts.list, &key, 1, NULL, 0);
    if (st.code)
        return st;
    if (reply->kind != REDIS_ARRAY)
        return damaged();
    *list = arena_zalloc(arena, reply->n, sizeof **list);
    if (!*list)
        return status_errorf(ST_EXHAUSTED, "the list of sessions does not fit into the request's memory");
    for (size_t i = 0; i < reply->n; i++)
        if (!read_row(&reply->items[i], &(*list)[i]))
            return damaged();
    *n = reply->n;
    return st;
}
