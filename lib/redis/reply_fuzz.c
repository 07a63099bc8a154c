/* reply_fuzz.c - a server's bytes, in two pieces, as replies under a small ceiling; every reply must lie whole in the
 * arena. The first byte picks the ceiling, the second where the pieces part. */
#include "redis/reply.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t walk(const struct redis_reply *r)
{
    size_t sum = 0;

    switch (r->kind) {
    case REDIS_TEXT:
    case REDIS_ERROR:
        if (r->text[r->n])
            abort();
        for (size_t i = 0; i < r->n; i++)
            sum += (unsigned char)r->text[i];
        break;
    case REDIS_ARRAY:
        for (size_t i = 0; i < r->n; i++)
            sum += walk(&r->items[i]);
        break;
    default:
        break;
    }
    return sum;
}

static bool drain(struct reply_parser *p, const struct arena *arena)
{
    struct redis_reply *r;

    while (!reply_parser_next(p, &r).code) {
        if (!r)
            return true;
        walk(r);
        if (arena->used > arena->limit)
            abort();
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;

    if (size < 2)
        return 0;
    struct reply_parser *p = reply_parser_new((size_t)data[0] << 6);
    size_t first = (size - 2) * data[1] / 255;
    const char *bytes = (const char *)data + 2;
    arena_init(&arena, 1 << 20);
    reply_parser_target(p, &arena);
    if (!reply_parser_feed(p, bytes, first).code && drain(p, &arena) &&
        !reply_parser_feed(p, bytes + first, size - 2 - first).code)
        drain(p, &arena);
    reply_parser_free(p);
    arena_fini(&arena);
    return 0;
}
