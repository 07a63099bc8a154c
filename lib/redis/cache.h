/* cache.h - get or fill: values that are dear to make are kept in Redis for all replicas, for a while, and made by one
 * thread of this process at a time. Without Redis it is a plain call of the function that makes them.
 *
 * Invalidation is exact: a cache_get() that begins after a cache_drop() of its key has returned, in whatever process, does not
 * get a value that was made before. For that a value is stored only if its key was not dropped while it was being made: who
 * makes it first leaves a token (a lease) under the key, which a drop removes. While Redis is away a drop is owed: this
 * process makes every value anew until it could carry it out; others may show the old one meanwhile if they still reach
 * Redis, and so may all if this process ends before or Redis forgets its last second; none longer than the value lives.
 *
 * Thread-safe, but for cache_free(). Deadlines are on the scale of clock_now(). */
#ifndef REDIS_CACHE_H
#define REDIS_CACHE_H

#include "redis/redis.h"

struct cache;

struct cache_config {
    struct redis *redis; /* borrowed; its max_reply_bytes must be above max_value_bytes */
    const char *name;    /* borrowed: part of the keys and the metrics; below 64 bytes of [a-z0-9_-] */
    int64_t version;     /* of what values look like: one finds nothing of another */
    int64_t ttl_ms;      /* a value lives for 90 to 100 % of it, at random, so that not all end at once; at least 10 */
    int64_t redis_ms;    /* of a call's time that each question to Redis may take; at least 1 */
    size_t max_value_bytes; /* larger ones are passed on, but not kept */
};

struct cache *cache_new(const struct cache_config *config);
void cache_free(struct cache *c); /* no call may run; takes NULL */

#define CACHE_MAX_KEY 512 /* bytes */

/* Makes the value: in the arena, or where it outlives the call. What it returns but OK is not kept. */
typedef struct status cache_fill(void *ctx, struct arena *arena, int64_t deadline, const void **value, size_t *size);

/* *value: in the arena. At most one fill of a key runs in this process at a time; who comes meanwhile waits for it and
 * shares its value or its error. But nobody is given ST_DEADLINE or ST_CANCELLED of another's fill: they fill by themselves,
 * one after the other.
 * Else the status is that of fill; ST_DEADLINE: it came while waiting; ST_EXHAUSTED: the value does not fit into the
 * arena; ST_INVALID: a key over CACHE_MAX_KEY. */
struct status cache_get(struct cache *c, struct arena *arena, int64_t deadline, const void *key, size_t key_size,
                        cache_fill *fill, void *ctx, const void **value, size_t *size);

/* Drops what is kept for this key; to be called after the change that makes it wrong is committed. Cannot fail: while
 * Redis is away it is remembered. */
void cache_drop(struct cache *c, int64_t deadline, const void *key, size_t key_size);

#endif
