/* user.c - see user.h. Pictures are not copied: a request is written from two pieces. */
#include "user.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#define READ_MAX ((size_t)64 << 10)

void user_init(struct user *u)
{
    *u = (struct user){.fd = -1};
    answer_init(&u->answer);
}

void user_fini(struct user *u)
{
    user_close(u);
    answer_fini(&u->answer);
}

/* A random UUID, RFC 9562 version 4. */
static void make_id(char *id, struct rng *rng)
{
    uint64_t a = rng_next(rng), b = rng_next(rng);

    snprintf(id, USER_ID_SIZE, "%08x-%04x-4%03x-%04x-%012llx", (uint32_t)(a >> 32), (uint32_t)(a >> 16) & 0xffff,
             (uint32_t)a & 0xfff, (uint32_t)(b >> 48 & 0x3fff) | 0x8000, (unsigned long long)(b & 0xffffffffffff));
}

void user_compose(struct user *u, const struct load_config *c, struct rng *rng, const struct picture *picture)
{
    static const char before[] = "{\"id\": \"", between[] = "\", \"image\": \"";
    size_t fixed = sizeof before - 1 + USER_ID_SIZE - 1 + sizeof between - 1;
    int n;

    make_id(u->id, rng);
    u->picture = picture;
    u->n_written = 0;
    u->resent = false;
    answer_reset(&u->answer);
    if (c->raw)
        n = snprintf(u->head, sizeof u->head,
                     "POST %s%cid=%s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", c->path,
                     strchr(c->path, '?') ? '&' : '?', u->id, c->host, picture->type, picture->size);
    else
        n = snprintf(u->head, sizeof u->head,
                     "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n"
                     "%s%s%s",
                     c->path, c->host, fixed + picture->size, before, u->id, between);
    u->head_size = (size_t)n; /* path and host are bounded by main() */
}

struct status user_connect(struct user *u, const struct load_config *c, int epoll)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = u};
    int on = 1;

    u->reused = false;
    u->n_written = 0;
    u->state = USER_CONNECTING;
    u->fd = socket(c->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (u->fd < 0)
        return status_errorf(ST_UNAVAILABLE, "socket: %s", strerror(errno));
    setsockopt(u->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(u->fd, (const struct sockaddr *)&c->address, c->address_size) && errno != EINPROGRESS)
        return status_errorf(ST_UNAVAILABLE, "connect: %s", strerror(errno));
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, u->fd, &event))
        return status_errorf(ST_UNAVAILABLE, "epoll_ctl: %s", strerror(errno));
    return status_ok();
}

void user_close(struct user *u)
{
    if (u->fd >= 0)
        close(u->fd);
    u->fd = -1;
}

static struct status finish_connecting(struct user *u)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer, error_size = sizeof(int);
    int error = 0;

    if (!getpeername(u->fd, (struct sockaddr *)&peer, &size)) {
        u->state = USER_SENDING;
        return status_ok();
    }
    getsockopt(u->fd, SOL_SOCKET, SO_ERROR, &error, &error_size);
    return error ? status_errorf(ST_UNAVAILABLE, "connect: %s", strerror(error)) : status_ok();
}

static bool would_block(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* False when the socket takes no more for now. */
static bool send_some(struct user *u, struct status *st)
{
    size_t of_head = u->n_written < u->head_size ? u->head_size - u->n_written : 0;
    size_t of_picture = u->n_written > u->head_size ? u->n_written - u->head_size : 0;
    struct iovec parts[2] = {{u->head + u->head_size - of_head, of_head},
                             {u->picture->data + of_picture, u->picture->size - of_picture}};
    struct msghdr message = {.msg_iov = of_head ? parts : parts + 1, .msg_iovlen = of_head ? 2 : 1};
    ssize_t n = sendmsg(u->fd, &message, MSG_NOSIGNAL);

    if (n < 0) {
        if (!would_block())
            *st = status_errorf(ST_ABORTED, "send: %s", strerror(errno));
        return false;
    }
    u->n_written += (size_t)n;
    u->bytes_out += (uint64_t)n;
    if (u->n_written == u->head_size + u->picture->size)
        u->state = USER_RECEIVING;
    return true;
}

static struct status take(struct user *u, const char *data, size_t size)
{
    size_t used;
    struct status st = answer_take(&u->answer, data, size, &used);

    if (!st.code && used < size)
        return status_errorf(ST_INVALID, "not an HTTP answer: bytes behind it");
    return st;
}

/* False when nothing more is there for now. An answer may come before the request is out: a refusal. */
static bool receive_some(struct user *u, struct status *st)
{
    static char block[READ_MAX]; /* one thread */
    ssize_t n = recv(u->fd, block, sizeof block, 0);

    if (n < 0) {
        if (!would_block())
            *st = status_errorf(ST_ABORTED, "receive: %s", strerror(errno));
        return false;
    }
    if (n == 0) {
        if (!answer_closed(&u->answer))
            *st = status_errorf(ST_ABORTED, "the server closed the connection");
        return false;
    }
    u->bytes_in += (uint64_t)n;
    *st = take(u, block, (size_t)n);
    return !st->code;
}

struct status user_go_on(struct user *u)
{
    struct status st = status_ok();

    if (u->state == USER_CONNECTING)
        st = finish_connecting(u);
    while (u->state == USER_SENDING && !st.code && send_some(u, &st))
        ;
    if (u->state == USER_CONNECTING || (st.code && st.code != ST_ABORTED))
        return st;
    struct status received = status_ok();
    while (!u->answer.done && receive_some(u, &received))
        ;
    if (u->answer.done || received.code)
        return received;
    return st;
}

bool user_is_closed(const struct user *u)
{
    char byte;

    return u->fd < 0 || recv(u->fd, &byte, 1, MSG_PEEK) >= 0 || !would_block();
}
