/* reply.c - see reply.h. hiredis calls back for every object it has parsed; the objects are placed in the arena, those
 * of an array side by side, so that nothing is ever freed one by one. */
#include "redis/reply.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

struct reply_parser {
    redisReader *reader;
    struct arena *arena;
    size_t max_bytes;
    size_t left;  /* of max_bytes, for the reply that is being read */
    bool refused; /* an object did not fit */
};

static void *take(struct reply_parser *p, size_t size)
{
    void *memory = size <= p->left ? arena_alloc(p->arena, size) : NULL;

    if (memory)
        p->left -= size;
    else
        p->refused = true;
    return memory;
}

/* Where this object belongs: its place in the array it is in, or one of its own. */
static struct redis_reply *place(const redisReadTask *task)
{
    if (task->parent) {
        const struct redis_reply *array = task->parent->obj;

        return (struct redis_reply *)&array->items[task->idx];
    }
    return take(task->privdata, sizeof(struct redis_reply));
}

static void *make_string(const redisReadTask *task, char *text, size_t size)
{
    struct reply_parser *p = task->privdata;
    struct redis_reply *r = place(task);
    char *copy = r && size < p->left ? take(p, size + 1) : NULL;

    if (!copy) {
        p->refused = true;
        return NULL;
    }
    memcpy(copy, text, size);
    copy[size] = '\0';
    *r = (struct redis_reply){
        .kind = task->type == REDIS_REPLY_ERROR ? REDIS_ERROR : REDIS_TEXT, .n = size, .text = copy};
    return r;
}

static void *make_array(const redisReadTask *task, int n)
{
    struct reply_parser *p = task->privdata;
    struct redis_reply *r = place(task);
    size_t count = n > 0 ? (size_t)n : 0;

    if (!r || count > p->left / sizeof *r) {
        p->refused = true;
        return NULL;
    }
    struct redis_reply *items = take(p, count * sizeof *r);
    if (!items)
        return NULL;
    memset(items, 0, count * sizeof *r);
    *r = (struct redis_reply){.kind = REDIS_ARRAY, .n = count, .items = items};
    return r;
}

static void *make_integer(const redisReadTask *task, long long number)
{
    struct redis_reply *r = place(task);

    if (r)
        *r = (struct redis_reply){.kind = REDIS_INT, .number = number};
    return r;
}

static void *make_nil(const redisReadTask *task)
{
    struct redis_reply *r = place(task);

    if (r)
        *r = (struct redis_reply){.kind = REDIS_NIL};
    return r;
}

static void leave_to_arena(void *object)
{
    (void)object;
}

static redisReplyObjectFunctions functions = {
    .createString = make_string,
    .createArray = make_array,
    .createInteger = make_integer,
    .createNil = make_nil,
    .freeObject = leave_to_arena,
};

struct reply_parser *reply_parser_new(size_t max_bytes)
{
    struct reply_parser *p = xcalloc(1, sizeof *p);

    p->max_bytes = max_bytes;
    p->reader = redisReaderCreateWithFunctions(&functions);
    if (!p->reader)
        abort(); /* as xmalloc() does */
    p->reader->privdata = p;
    return p;
}

void reply_parser_free(struct reply_parser *p)
{
    if (!p)
        return;
    redisReaderFree(p->reader);
    free(p);
}

void reply_parser_target(struct reply_parser *p, struct arena *arena)
{
    p->arena = arena;
    p->left = p->max_bytes;
}

static struct status parser_error(const struct reply_parser *p)
{
    if (p->refused)
        return status_errorf(ST_EXHAUSTED, "the reply of Redis is over %zu bytes, or over what is left for it",
                             p->max_bytes);
    return status_errorf(ST_UNAVAILABLE, "this does not speak like Redis: %s", p->reader->errstr);
}

struct status reply_parser_feed(struct reply_parser *p, const char *data, size_t size)
{
    return redisReaderFeed(p->reader, data, size) == REDIS_OK ? status_ok() : parser_error(p);
}

struct status reply_parser_next(struct reply_parser *p, struct redis_reply **out)
{
    void *reply = NULL;

    *out = NULL;
    if (redisReaderGetReply(p->reader, &reply) != REDIS_OK)
        return parser_error(p);
    if (!reply && p->reader->len - p->reader->pos > p->max_bytes) {
        p->refused = true;
        return parser_error(p);
    }
    if (reply)
        p->left = p->max_bytes;
    *out = reply;
    return status_ok();
}
