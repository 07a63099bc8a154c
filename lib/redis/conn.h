/* conn.h - one connection to Redis: made, asked, thrown away. Private to lib/redis. Not thread-safe. */
#ifndef REDIS_CONN_H
#define REDIS_CONN_H

#include "redis/redis.h"

struct conn;

/* Where to, checked: what redis_config.address says. */
struct conn_target {
    char *host, *port, *user, *password;
    int64_t database, timeout_ms;
    size_t max_reply_bytes;
};

struct status conn_target_init(struct conn_target *t, const struct redis_config *config);
void conn_target_fini(struct conn_target *t); /* takes one that is all zero */

/* Tries each address of the host, timeout_ms for each, until one has answered to log-in and PING. ST_DEADLINE: the last
 * one was silent; ST_UNAUTHENTICATED: it refused the log-in; ST_UNAVAILABLE: all else. */
struct status conn_open(struct conn **out, const struct conn_target *t);
void conn_close(struct conn *c); /* takes NULL */

/* False: the server has closed it, or sent what nobody asked for. Costs one system call. */
bool conn_alive(const struct conn *c);

/* What one exchange asks: begin, add each command, exchange. */
void conn_begin(struct conn *c, struct arena *arena);
void conn_add(struct conn *c, const struct redis_arg *args, size_t n);

/* replies: (n,), one for each command added. After an error the connection is only good to be closed; *sent: a byte of
 * it has left. ST_UNAVAILABLE, ST_DEADLINE; ST_EXHAUSTED: a reply over its ceiling, or commands over 32 MiB (nothing is
 * sent then). */
struct status conn_exchange(struct conn *c, int64_t deadline, struct redis_reply *replies, size_t n, bool *sent);

#endif
