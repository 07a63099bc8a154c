/* token_bucket.c - see token_bucket.h. What is kept is not a number of tokens but the time at which the bucket is full
 * again (the generic cell rate algorithm): one number, which needs no refilling. All times are whole microseconds, so that
 * nothing is lost by rounding. */
#include "redis/token_bucket.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#define US_PER_S    1000000
#define REPLY_ARENA 16384
#define MAX_KEY     512 /* bytes of name and key */

extern const char token_bucket_lua[], token_bucket_lua_end[];

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct redis_script script;

static void make_script(void)
{
    redis_script_init(&script, token_bucket_lua, (size_t)(token_bucket_lua_end - token_bucket_lua));
}

/* The microseconds that make one token; 0: the numbers are outside of what is promised. */
static int64_t token_us(const struct token_take *t)
{
    const struct token_bucket *b = t->bucket;
    double us = b->rate > 0 ? ceil(US_PER_S / b->rate) : INFINITY;

    if (b->burst < 1 || t->cost < 1 || t->cost > b->burst ||
        !(us * (double)b->burst <= (double)TOKEN_BUCKET_MAX_S * 1e6))
        return 0;
    return (int64_t)us;
}

static struct status prepare(struct arena *arena, const struct token_take *t, struct redis_arg *key,
                             struct redis_arg *numbers)
{
    int64_t us = token_us(t);
    char *text;

    if (!us || strlen(t->bucket->name) + t->key_size > MAX_KEY)
        return status_errorf(ST_INVALID, "token bucket %s: rate %g, burst %lld, cost %lld, a key of %zu bytes",
                             t->bucket->name, t->bucket->rate, (long long)t->bucket->burst, (long long)t->cost,
                             t->key_size);
    text = arena_printf(arena, "bucket:%s:", t->bucket->name);
    size_t n = strlen(text);
    char *whole = arena_alloc(arena, n + t->key_size);
    memcpy(whole, text, n);
    if (t->key_size)
        memcpy(whole + n, t->key, t->key_size);
    *key = redis_b(whole, n + t->key_size);
    numbers[0] = redis_i(t->cost * us);
    numbers[1] = redis_i(t->bucket->burst * us);
    return status_ok();
}

struct status token_bucket_take(struct redis *r, int64_t deadline, const struct token_take *takes, size_t n,
                                int64_t *retry_after_ms)
{
    struct redis_arg keys[TOKEN_MAX_TAKES], numbers[2 * TOKEN_MAX_TAKES];
    struct redis_reply *reply = NULL;
    struct status st = status_ok();
    struct arena arena;

    if (n > TOKEN_MAX_TAKES)
        return status_errorf(ST_INVALID, "%zu token buckets at once, over %d", n, TOKEN_MAX_TAKES);
    pthread_once(&once, make_script);
    arena_init(&arena, REPLY_ARENA);
    for (size_t i = 0; i < n && !st.code; i++)
        st = prepare(&arena, &takes[i], &keys[i], &numbers[2 * i]);
    if (!st.code)
        st = redis_eval(r, &arena, deadline, &reply, &script, keys, n, numbers, 2 * n);
    if (!st.code && reply->kind != REDIS_INT)
        st = status_errorf(ST_INTERNAL, "the token bucket's script answered no number");
    if (!st.code)
        *retry_after_ms = (reply->number + 999) / 1000;
    arena_fini(&arena);
    return st;
}
