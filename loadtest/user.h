/* user.h - one user's connection, request and answer. Private to the load generator; not thread-safe. */
#ifndef LOADTEST_USER_H
#define LOADTEST_USER_H

#include "load.h"
#include "timers.h"

#define USER_HEAD_MAX ((size_t)2048)
#define USER_ID_SIZE  37

enum user_state { USER_AWAY, USER_IDLE, USER_CONNECTING, USER_SENDING, USER_RECEIVING };

struct user {
    struct timer timer; /* what is due depends on the state */
    enum user_state state;
    int fd;          /* -1: none */
    bool reused;     /* the connection has had an answer */
    bool resent;     /* the request meets its second connection */
    int64_t sent_at; /* clock_now() when the request began */
    char id[USER_ID_SIZE];
    char head[USER_HEAD_MAX];
    size_t head_size, n_written; /* of head and picture together */
    const struct picture *picture;
    struct answer answer;
    uint64_t bytes_out, bytes_in; /* not yet taken by the engine */
};

void user_init(struct user *u);
void user_fini(struct user *u);

/* A fresh id, and the bytes before the picture. */
void user_compose(struct user *u, const struct load_config *config, struct rng *rng, const struct picture *picture);

/* Connects, without waiting, and joins the epoll set (edge-triggered, data.ptr the user). ST_UNAVAILABLE: refused. */
struct status user_connect(struct user *u, const struct load_config *config, int epoll);
void user_close(struct user *u);

/* Goes on as far as the socket allows. ST_OK: the state says how far; the answer may be done. ST_UNAVAILABLE: there is no
 * connection. ST_ABORTED: it was closed. ST_INVALID: what came is not HTTP. */
struct status user_go_on(struct user *u);

/* Between requests: whether the connection is of no more use, closed or with bytes that nobody asked for. */
bool user_is_closed(const struct user *u);

#endif
