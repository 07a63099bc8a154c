/* token_bucket.h - how often somebody may do something, counted in Redis for all replicas at once, by its clock: a bucket
 * holds up to `burst` tokens and gets `rate` a second; who takes more than there are is told when to come again.
 * A key takes some 100 bytes and expires when its bucket is full again. Thread-safe. */
#ifndef REDIS_TOKEN_BUCKET_H
#define REDIS_TOKEN_BUCKET_H

#include "redis/redis.h"

struct token_bucket {
    const char *name; /* part of the keys: buckets of different names are different */
    double rate;      /* tokens a second, above 0; a token is made in a whole number of microseconds, rounded up */
    int64_t burst;    /* tokens, at least 1; all of them are made in at most TOKEN_BUCKET_MAX_S */
};

#define TOKEN_BUCKET_MAX_S (366 * 86400)
#define TOKEN_MAX_TAKES    8

struct token_take {
    const struct token_bucket *bucket;
    const void *key; /* who: bytes */
    size_t key_size;
    int64_t cost; /* tokens, at least 1 and at most the burst */
};

/* Takes from all n buckets (at most TOKEN_MAX_TAKES, no two of the same name and key), or from none. *retry_after_ms:
 * 0: taken; else at least 1: so long until all would have enough, if nobody else came. Exact, however many ask at once: one
 * script, run atomically.
 * ST_INVALID: a number outside of the above. Else as redis_command(): what then is allowed is the caller's to decide. */
struct status token_bucket_take(struct redis *r, int64_t deadline, const struct token_take *takes, size_t n,
                                int64_t *retry_after_ms);

#endif
