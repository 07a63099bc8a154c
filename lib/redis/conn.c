/* conn.c - see conn.h. The socket is ours, so that every wait has a deadline; the parser is hiredis'. */
#include "redis/conn.h"

#include "redis/reply.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_OUT      ((size_t)32 << 20)
#define KEEP_OUT     ((size_t)64 << 10) /* a larger buffer is given back */
#define READ_SIZE    16384              /* as hiredis reads */
#define LOGIN_ARENA  4096
#define KEEPALIVE_S  60 /* of silence, after which the kernel asks whether the server is still there */
#define KEEPALIVE_TO 10

struct conn {
    int fd;
    struct reply_parser *parser;
    struct buf out;
};

/* "HOST:PORT" or "[HOST]:PORT". */
static bool split_address(const char *address, char **host, char **port)
{
    const char *colon = strrchr(address, ':');
    const char *end = colon;

    if (!colon || colon == address)
        return false;
    bool brackets = *address == '[' && colon[-1] == ']';
    address += brackets;
    end -= brackets;
    char *rest;
    long number = strtol(colon + 1, &rest, 10);
    if (end <= address || *rest || colon[1] < '0' || colon[1] > '9' || number < 1 || number > 65535 ||
        (!brackets && memchr(address, ':', (size_t)(end - address))))
        return false;
    *host = xstrndup(address, (size_t)(end - address));
    *port = xasprintf("%ld", number);
    return true;
}

struct status conn_target_init(struct conn_target *t, const struct redis_config *config)
{
    *t = (struct conn_target){.database = config->database,
                              .timeout_ms = config->connect_timeout_ms,
                              .max_reply_bytes = (size_t)config->max_reply_bytes};
    if (!split_address(config->address, &t->host, &t->port))
        return status_errorf(ST_INVALID, "redis: \"%s\" is not HOST:PORT with a port of 1 to 65535", config->address);
    t->user = xstrdup(config->user ? config->user : "");
    t->password = xstrdup(config->password ? config->password : "");
    return status_ok();
}

void conn_target_fini(struct conn_target *t)
{
    free(t->host);
    free(t->port);
    free(t->user);
    if (t->password)
        explicit_bzero(t->password, strlen(t->password));
    free(t->password);
    *t = (struct conn_target){.host = NULL};
}

/* The events that came; 0: the deadline did. */
static short wait_for(int fd, short events, int64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        int64_t left = deadline - clock_now();

        if (left <= 0)
            return 0;
        left = (left + CLOCK_MS - 1) / CLOCK_MS;
        int n = poll(&p, 1, left > 3600000 ? 3600000 : (int)left);
        if (n > 0)
            return p.revents;
        if (n < 0 && errno != EINTR)
            return POLLERR;
    }
}

static void tune(int fd)
{
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){KEEPALIVE_S}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &(int){KEEPALIVE_TO}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &(int){3}, sizeof(int));
}

static struct status dial(int *out, const struct addrinfo *to, int64_t deadline)
{
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int e = 0;
    socklen_t size = sizeof e;

    if (fd < 0)
        return status_errorf(ST_UNAVAILABLE, "socket: %s", strerror(errno));
    if (connect(fd, to->ai_addr, to->ai_addrlen) && errno != EINPROGRESS)
        e = errno;
    else if (!wait_for(fd, POLLOUT, deadline))
        e = ETIMEDOUT;
    else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &size))
        e = errno;
    if (e) {
        close(fd);
        return status_errorf(e == ETIMEDOUT ? ST_DEADLINE : ST_UNAVAILABLE, "cannot connect: %s", strerror(e));
    }
    tune(fd);
    *out = fd;
    return status_ok();
}

static struct status log_in(struct conn *c, const struct conn_target *t, int64_t deadline)
{
    struct redis_reply replies[3];
    struct arena arena;
    bool sent;
    size_t n = 0;

    arena_init(&arena, LOGIN_ARENA);
    conn_begin(c, &arena);
    if (*t->password && *t->user)
        conn_add(c, (struct redis_arg[]){redis_s("AUTH"), redis_s(t->user), redis_s(t->password)}, 3), n++;
    else if (*t->password)
        conn_add(c, (struct redis_arg[]){redis_s("AUTH"), redis_s(t->password)}, 2), n++;
    if (t->database)
        conn_add(c, (struct redis_arg[]){redis_s("SELECT"), redis_i(t->database)}, 2), n++;
    conn_add(c, (struct redis_arg[]){redis_s("PING")}, 1), n++;
    struct status st = conn_exchange(c, deadline, replies, n, &sent);
    for (size_t i = 0; i < n && !st.code; i++)
        st = redis_reply_status(&replies[i]);
    explicit_bzero(c->out.data, c->out.size);
    arena_fini(&arena);
    if (st.code && st.code != ST_DEADLINE && st.code != ST_UNAUTHENTICATED)
        st.code = ST_UNAVAILABLE;
    return st;
}

static struct status open_at(struct conn **out, const struct conn_target *t, const struct addrinfo *to)
{
    int64_t deadline = clock_after_ms(t->timeout_ms);
    int fd = -1;
    struct status st = dial(&fd, to, deadline);

    if (st.code)
        return st;
    struct conn *c = xcalloc(1, sizeof *c);
    c->fd = fd;
    c->parser = reply_parser_new(t->max_reply_bytes);
    c->out = (struct buf)BUF_INIT(MAX_OUT);
    st = log_in(c, t, deadline);
    if (st.code)
        conn_close(c);
    else
        *out = c;
    return st;
}

struct status conn_open(struct conn **out, const struct conn_target *t)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int e = getaddrinfo(t->host, t->port, &hints, &list);
    struct status st = status_errorf(ST_UNAVAILABLE, "the name has no address");

    if (e)
        return status_errorf(ST_UNAVAILABLE, "redis %s:%s: %s", t->host, t->port, gai_strerror(e));
    for (const struct addrinfo *a = list; a; a = a->ai_next) {
        st = open_at(out, t, a);
        if (!st.code)
            break;
    }
    freeaddrinfo(list);
    return status_prefix(st, "redis %s:%s", t->host, t->port);
}

void conn_close(struct conn *c)
{
    if (!c)
        return;
    close(c->fd);
    reply_parser_free(c->parser);
    buf_fini(&c->out);
    free(c);
}

bool conn_alive(const struct conn *c)
{
    char byte;

    return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EINTR);
}

void conn_begin(struct conn *c, struct arena *arena)
{
    if (c->out.cap > KEEP_OUT) {
        buf_fini(&c->out);
        c->out = (struct buf)BUF_INIT(MAX_OUT);
    }
    buf_clear(&c->out);
    reply_parser_target(c->parser, arena);
}

static void add_bulk(struct buf *out, const void *data, size_t size)
{
    buf_putc(out, '$');
    buf_int(out, (int64_t)size);
    buf_add(out, "\r\n", 2);
    buf_add(out, data, size);
    buf_add(out, "\r\n", 2);
}

void conn_add(struct conn *c, const struct redis_arg *args, size_t n)
{
    buf_putc(&c->out, '*');
    buf_int(&c->out, (int64_t)n);
    buf_add(&c->out, "\r\n", 2);
    for (size_t i = 0; i < n; i++) {
        struct buf number = BUF_INIT(32);

        if (!args[i].data)
            buf_int(&number, args[i].number);
        add_bulk(&c->out, args[i].data ? args[i].data : number.data, args[i].data ? args[i].size : number.size);
        buf_fini(&number);
    }
}

static struct status lost(const char *what)
{
    return status_errorf(ST_UNAVAILABLE, "the connection to Redis broke: %s", what);
}

/* Sends what the kernel takes now. */
static struct status push(struct conn *c, size_t *at)
{
    while (*at < c->out.size) {
        ssize_t n = send(c->fd, c->out.data + *at, c->out.size - *at, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0 && errno != EINTR)
            return lost(strerror(errno));
        *at += n > 0 ? (size_t)n : 0;
    }
    return status_ok();
}

/* Takes one piece of what has come, and the replies that are whole by then. */
static struct status pull(struct conn *c, struct redis_reply *replies, size_t n, size_t *got)
{
    char piece[READ_SIZE];
    ssize_t size = recv(c->fd, piece, sizeof piece, MSG_DONTWAIT);
    struct redis_reply *r = NULL;

    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return status_ok();
    if (size <= 0)
        return lost(size ? strerror(errno) : "the server closed it");
    struct status st = reply_parser_feed(c->parser, piece, (size_t)size);
    while (!st.code && *got < n) {
        st = reply_parser_next(c->parser, &r);
        if (!r)
            break;
        replies[(*got)++] = *r;
    }
    return st;
}

struct status conn_exchange(struct conn *c, int64_t deadline, struct redis_reply *replies, size_t n, bool *sent)
{
    size_t at = 0, got = 0;
    struct status st = status_ok();

    *sent = false;
    if (c->out.full)
        return status_errorf(ST_EXHAUSTED, "the commands to Redis are over %zu bytes", MAX_OUT);
    while (!st.code && got < n) {
        st = push(c, &at);
        *sent = at > 0;
        if (st.code)
            break;
        short events = wait_for(c->fd, (short)(POLLIN | (at < c->out.size ? POLLOUT : 0)), deadline);
        if (!events)
            st = status_errorf(ST_DEADLINE, "Redis did not answer in time");
        else if (events & ~POLLOUT)
            st = pull(c, replies, n, &got);
    }
    return st;
}
