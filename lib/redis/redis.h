/* redis.h - Redis as the programs see it: a pool of connections, commands with a deadline, replies under a ceiling.
 * The only library that includes hiredis.
 *
 *     struct redis_reply *reply;
 *     struct status st = redis_call(redis, &arena, deadline, &reply, redis_s("SET"), redis_b(key, key_size),
 *                                   redis_s("1"), redis_s("PX"), redis_i(ttl_ms));
 *
 * What is kept in Redis may be lost at any time; whoever uses it goes on without, or says so. While Redis is away every
 * call fails at once with ST_UNAVAILABLE: a thread of the pool, not the callers, tries to reach it again, with back-off.
 * Thread-safe, but for redis_close(). Deadlines are on the scale of clock_now(). Redis Cluster is not spoken. */
#ifndef REDIS_REDIS_H
#define REDIS_REDIS_H

#include "base/base.h"

#include <stdbool.h>
#include <stdint.h>

struct redis; /* a pool */

struct redis_config {
    char *address;  /* HOST:PORT; HOST may be a name, an IPv4 address or an IPv6 address in brackets */
    char *user;     /* "": the default one */
    char *password; /* "": the server asks for none */
    int64_t database;
    int64_t connections;        /* at most so many, made when they are needed */
    int64_t connect_timeout_ms; /* for one address, log-in included */
    int64_t max_reply_bytes;    /* of memory that one reply may take in an arena */
};

/* The config table of the above: {redis_options, redis_n_options, &settings.redis} is a config_part. */
extern const struct config_option redis_options[];
extern const size_t redis_n_options;

/* Does not wait for the server: OK when it is away. The strings are copied. ST_INVALID: no such address. */
struct status redis_open(struct redis **out, const struct redis_config *config);

/* No call may run. Waits for the resolver when it is asked for the server's name at that moment. Takes NULL. */
void redis_close(struct redis *r);

/* OK: the last thing heard of the server was an answer. ST_UNAVAILABLE says why not, for readiness and status pages; before
 * the first connection it waits for it, until the deadline. */
struct status redis_ready(struct redis *r, int64_t deadline);

/* ---- commands ---- */

/* An argument: bytes, which are borrowed for the call, or a number that is sent in decimal. */
struct redis_arg {
    const void *data; /* NULL: the number */
    size_t size;
    int64_t number;
};

struct redis_arg redis_s(const char *text);
struct redis_arg redis_b(const void *data, size_t size);
struct redis_arg redis_i(int64_t number);

enum redis_kind { REDIS_NIL, REDIS_TEXT, REDIS_INT, REDIS_ARRAY, REDIS_ERROR };

/* All of it lives in the arena of the call. */
struct redis_reply {
    enum redis_kind kind;
    size_t n; /* bytes of text, elements of the array */
    union {
        const char *text; /* TEXT (bulk strings and statuses such as OK) and ERROR; n bytes and a NUL */
        int64_t number;   /* INT */
        const struct redis_reply *items;
    };
};

/* ST_UNAVAILABLE: the server is away, loads its data or is a replica; after a connection that broke in the middle the
 *   command may have been carried out or not. A command of which nothing was sent is repeated by itself.
 * ST_DEADLINE: no answer in time; the command may have been carried out or not.
 * ST_EXHAUSTED: all connections are busy until the deadline; the reply is over max_reply_bytes or does not fit into the
 *   arena (the command has been carried out); the server's memory is full.
 * ST_DENIED: the server's access list says no. ST_INTERNAL: it refused the command; the message has its words. */
struct status redis_command(struct redis *r, struct arena *arena, int64_t deadline, struct redis_reply **reply,
                            const struct redis_arg *args, size_t n_args);

#define redis_call(r, arena, deadline, reply, ...)                                                                     \
    redis_command(r, arena, deadline, reply, (const struct redis_arg[]){__VA_ARGS__},                                  \
                  sizeof(const struct redis_arg[]){__VA_ARGS__} / sizeof(struct redis_arg))

struct redis_commands {
    const struct redis_arg *args;
    size_t n_args;
};

/* Sends all at once and then reads the replies: one round trip, on one connection, in order, but not a transaction.
 * (*replies)[i] answers commands[i]; it may be REDIS_ERROR, which redis_reply_status() turns into a status. Otherwise the
 * codes of redis_command(), when there is no answer to all of them. */
struct status redis_pipeline(struct redis *r, struct arena *arena, int64_t deadline, struct redis_reply **replies,
                             const struct redis_commands *commands, size_t n);

/* OK unless it is REDIS_ERROR. */
struct status redis_reply_status(const struct redis_reply *reply);

/* ---- scripts ---- */

struct redis_script {
    const char *text; /* Lua, borrowed */
    size_t size;
    char sha1[2 * SHA1_SIZE + 1];
};

void redis_script_init(struct redis_script *s, const char *text, size_t size);

/* Runs it atomically: by its digest, and with its text where the server does not know it (any more). At most
 * REDIS_MAX_SCRIPT_ARGS keys and arguments together. Errors as redis_command(). */
#define REDIS_MAX_SCRIPT_ARGS 64
struct status redis_eval(struct redis *r, struct arena *arena, int64_t deadline, struct redis_reply **reply,
                         const struct redis_script *s, const struct redis_arg *keys, size_t n_keys,
                         const struct redis_arg *args, size_t n_args);

#endif
