/* guard.c - see guard.h. Sockets are found among the process's descriptors by their addresses, which is slow and happens
 * only when one is to be shut down. None can be closed and its number reused meanwhile: that needs guard_close(), which
 * needs the mutex. Which ones are idle is the kernel's knowledge: nothing unread, and nothing come for a while; a
 * connection that waits in civetweb's queue with a request in it is not. */
#include "http/guard.h"

#include <arpa/inet.h>
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define TICK_NS (100 * CLOCK_MS)
#define IDLE_MS 1000

#define STREAM_BUFFER (32 << 10) /* bytes; the kernel doubles it */

/* What every request changes is atomic and not under the mutex: a thousand threads that queue for one mutex on a busy
 * machine had waited past the deadlines that they came to lift. */
struct guarded {
    struct guard *guard;
    bool open, cut;
    atomic_bool busy;
    struct sockaddr_in peer; /* once it was busy; the same for ever */
    _Atomic int64_t deadline;
    int fd; /* -1: not looked for yet */
};

struct guard {
    size_t capacity;
    pthread_t thread;
    pthread_mutex_t mu;  /* guards all below */
    pthread_cond_t wake; /* the first connection, or the end */
    size_t n_open;
    size_t n_wanted; /* connections that wait for a place and were not yet promised one */
    in_port_t port;  /* in network order, 0: not known yet */
    bool stopping, no_idle;
    struct guarded *all;
};

static bool same_peer(const struct sockaddr_in *a, const struct sockaddr_in *b)
{
    return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
}

/* The place of a busy connection of this peer, NULL: none. */
static struct guarded *find_busy_locked(struct guard *g, const struct sockaddr_in *peer)
{
    for (size_t i = 0; i < g->capacity; i++)
        if (g->all[i].open && atomic_load(&g->all[i].busy) && same_peer(&g->all[i].peer, peer))
            return &g->all[i];
    return NULL;
}

static bool is_idle(int fd, uint32_t for_ms)
{
    struct tcp_info info;
    socklen_t size = sizeof info;
    int unread = 0;

    return !ioctl(fd, FIONREAD, &unread) && !unread && !getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) &&
           info.tcpi_last_data_recv >= for_ms;
}

/* Whether a descriptor, of whatever kind, is a connection to our port, and whose. */
static bool is_connection_locked(const struct guard *g, int fd, struct sockaddr_in *peer)
{
    struct sockaddr_in own = {0};
    socklen_t peer_size = sizeof *peer, own_size = sizeof own;

    return !getsockname(fd, (struct sockaddr *)&own, &own_size) && own.sin_family == AF_INET &&
           own.sin_port == g->port && !getpeername(fd, (struct sockaddr *)peer, &peer_size);
}

/* Idle ones are shut down while more are wanted, and all of them at the end. */
static void look_at_locked(struct guard *g, int fd, size_t *n_connections, size_t *n_idle)
{
    struct sockaddr_in peer = {0};
    struct guarded *c;

    if (!is_connection_locked(g, fd, &peer))
        return;
    ++*n_connections;
    c = find_busy_locked(g, &peer);
    if (c && !c->cut && clock_now() > atomic_load(&c->deadline)) {
        c->cut = true;
        shutdown(fd, SHUT_RDWR);
    } else if (!c && (g->no_idle || *n_idle < g->n_wanted) && is_idle(fd, g->no_idle ? 0 : IDLE_MS)) {
        ++*n_idle;
        shutdown(fd, SHUT_RDWR);
    }
}

static bool any_overdue_locked(const struct guard *g)
{
    int64_t now = clock_now();

    for (size_t i = 0; i < g->capacity; i++)
        if (g->all[i].open && atomic_load(&g->all[i].busy) && !g->all[i].cut && now > atomic_load(&g->all[i].deadline))
            return true;
    return false;
}

/* Of the connections that civetweb has taken in, those beyond the ones that have a place wait for one. */
static void look_locked(struct guard *g)
{
    bool full = g->n_open == g->capacity;
    size_t n_connections = 0, n_idle = 0;
    struct dirent *e;
    DIR *d;

    g->n_wanted = full ? g->n_wanted : 0;
    if (!g->port || (!full && !g->no_idle && !any_overdue_locked(g)))
        return;
    d = opendir("/proc/self/fd");
    while (d && (e = readdir(d)))
        if (e->d_name[0] != '.')
            look_at_locked(g, atoi(e->d_name), &n_connections, &n_idle);
    if (d)
        closedir(d);
    g->n_wanted = full && n_connections > g->n_open ? n_connections - g->n_open : 0;
    g->n_wanted -= n_idle < g->n_wanted ? n_idle : g->n_wanted;
}

/* The descriptor of a busy connection, -1: not found. */
static int find_fd_locked(const struct guarded *c)
{
    struct sockaddr_in peer = {0};
    struct dirent *e;
    int found = -1;
    DIR *d = opendir("/proc/self/fd");

    while (d && found < 0 && (e = readdir(d)))
        if (e->d_name[0] != '.' && is_connection_locked(c->guard, atoi(e->d_name), &peer) && same_peer(&peer, &c->peer))
            found = atoi(e->d_name);
    if (d)
        closedir(d);
    return found;
}

static void *guard_thread(void *arg)
{
    struct guard *g = arg;

    pthread_mutex_lock(&g->mu);
    while (!g->stopping) {
        struct timespec until = clock_timespec(clock_now() + TICK_NS);

        look_locked(g);
        if (g->n_open)
            pthread_cond_timedwait(&g->wake, &g->mu, &until);
        else
            pthread_cond_wait(&g->wake, &g->mu);
    }
    pthread_mutex_unlock(&g->mu);
    return NULL;
}

struct guard *guard_new(size_t capacity)
{
    struct guard *g = xcalloc(1, sizeof *g);

    g->capacity = capacity;
    g->all = xcalloc(capacity, sizeof *g->all);
    pthread_mutex_init(&g->mu, NULL);
    cond_init_monotonic(&g->wake);
    g->thread = thread_start("http-guard", 256 << 10, guard_thread, g);
    return g;
}

void guard_free(struct guard *g)
{
    if (!g)
        return;
    pthread_mutex_lock(&g->mu);
    g->stopping = true;
    pthread_cond_signal(&g->wake);
    pthread_mutex_unlock(&g->mu);
    pthread_join(g->thread, NULL);
    pthread_cond_destroy(&g->wake);
    pthread_mutex_destroy(&g->mu);
    free(g->all);
    free(g);
}

void guard_set_port(struct guard *g, int port)
{
    pthread_mutex_lock(&g->mu);
    g->port = htons((in_port_t)port);
    pthread_mutex_unlock(&g->mu);
}

struct guarded *guard_open(struct guard *g)
{
    struct guarded *c = g->all;

    pthread_mutex_lock(&g->mu);
    assert(g->n_open < g->capacity);
    while (c->open)
        c++;
    c->guard = g;
    c->open = true;
    c->cut = false;
    c->fd = -1;
    c->peer = (struct sockaddr_in){0};
    atomic_store(&c->busy, false);
    atomic_store(&c->deadline, CLOCK_NEVER);
    if (!g->n_open++)
        pthread_cond_signal(&g->wake);
    pthread_mutex_unlock(&g->mu);
    return c;
}

void guard_close(struct guarded *c)
{
    pthread_mutex_lock(&c->guard->mu);
    c->open = false;
    c->guard->n_open--;
    pthread_mutex_unlock(&c->guard->mu);
}

void guard_busy(struct guarded *c, const char *address, int port)
{
    if (!c->peer.sin_port) { /* before it is first busy nobody reads it */
        c->peer.sin_port = htons((in_port_t)port);
        inet_pton(AF_INET, address, &c->peer.sin_addr);
    }
    atomic_store(&c->deadline, CLOCK_NEVER);
    atomic_store(&c->busy, true);
}

void guard_limit(struct guarded *c, int64_t deadline)
{
    atomic_store(&c->deadline, deadline);
}

/* Only the connection's own request asks: what was found needs no lock. */
static int own_fd(struct guarded *c)
{
    if (c->fd < 0) {
        pthread_mutex_lock(&c->guard->mu);
        c->fd = find_fd_locked(c);
        pthread_mutex_unlock(&c->guard->mu);
    }
    return c->fd;
}

bool guard_gone(struct guarded *c)
{
    struct pollfd p = {own_fd(c), POLLRDHUP, 0};

    return poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

void guard_patience(struct guarded *c, int64_t timeout_ms)
{
    const unsigned ms = (unsigned)timeout_ms;
    const int bytes = STREAM_BUFFER;
    int fd = own_fd(c);

    if (setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms) ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes))
        log_debug("http_stream_options", log_i("errno", errno));
}

void guard_idle(struct guarded *c)
{
    atomic_store(&c->busy, false);
}

bool guard_keeps(struct guard *g)
{
    bool keeps;

    pthread_mutex_lock(&g->mu);
    keeps = !g->n_wanted;
    g->n_wanted -= !keeps;
    pthread_mutex_unlock(&g->mu);
    return keeps;
}

void guard_close_idle(struct guard *g)
{
    pthread_mutex_lock(&g->mu);
    g->no_idle = true;
    look_locked(g);
    pthread_mutex_unlock(&g->mu);
}
