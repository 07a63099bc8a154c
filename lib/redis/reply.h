/* reply.h - the bytes of a server as replies in an arena, by hiredis' parser under our ceilings. Private to lib/redis.
 * Not thread-safe. */
#ifndef REDIS_REPLY_H
#define REDIS_REPLY_H

#include "redis/redis.h"

struct reply_parser;

/* max_bytes: of memory for one reply, and of bytes that wait to be one. */
struct reply_parser *reply_parser_new(size_t max_bytes);
void reply_parser_free(struct reply_parser *p);

/* Where the replies go that begin from now on; none may be half read. */
void reply_parser_target(struct reply_parser *p, struct arena *arena);

/* Takes what was received, a piece of at most max_bytes. ST_UNAVAILABLE: it is not the protocol. */
struct status reply_parser_feed(struct reply_parser *p, const char *data, size_t size);

/* *out: the next whole reply, NULL when more bytes are needed. ST_EXHAUSTED: it is over a ceiling; ST_UNAVAILABLE: it is
 * not the protocol. After an error the parser is good for nothing more. */
struct status reply_parser_next(struct reply_parser *p, struct redis_reply **out);

#endif
