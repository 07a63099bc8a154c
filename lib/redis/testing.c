/* testing.c - see testing.h. The watcher is a process of its own with a pipe to the test program: it obeys one-letter
 * orders, and when the pipe ends it kills the server and removes the folder, also after a crash. */
#include "redis/testing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SERVER "/usr/bin/redis-check-rdb" /* Debian: one program, which goes by the name it is called */

struct redis_testing {
    int port;
    int orders; /* a socket to the watcher */
    pid_t watcher;
    char *password;
    char address[32];
};

__attribute__((noreturn)) static void die(const char *what)
{
    fprintf(stderr, "redis_testing: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int bind_anywhere(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at))
        die("bind");
    return fd;
}

/* One that nobody had a moment ago; the server says so when somebody was quicker. */
static int free_port(void)
{
    struct sockaddr_in at = {.sin_port = 0};
    socklen_t size = sizeof at;
    int fd = bind_anywhere();

    if (getsockname(fd, (struct sockaddr *)&at, &size))
        die("getsockname");
    close(fd);
    return ntohs(at.sin_port);
}

/* ---- the watcher's process ---- */

struct watch {
    char folder[64], port[16];
    const char *password;
    bool durable;
    pid_t server;
};

static void launch(struct watch *w)
{
    w->server = fork();
    if (w->server < 0)
        die("fork");
    if (w->server)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int log = open("log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dup2(log, 1);
    dup2(log, 2);
    execl(SERVER, "redis-server", "--bind", "127.0.0.1", "--port", w->port, "--save", "", "--appendonly",
          w->durable ? "yes" : "no", "--appendfsync", "always", "--requirepass", w->password, (char *)NULL);
    _exit(127);
}

static void finish(struct watch *w)
{
    if (w->server > 0) {
        kill(w->server, SIGKILL);
        waitpid(w->server, NULL, 0);
    }
    w->server = 0;
}

/* Whether it takes connections, or else has ended (port in use, no such program). */
static bool up(struct watch *w)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool there = false;

    at.sin_port = htons((uint16_t)atoi(w->port));
    while (!there && !waitpid(w->server, NULL, WNOHANG)) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        char pong[16] = "";

        there = !connect(fd, (struct sockaddr *)&at, sizeof at) && send(fd, "PING\r\n", 6, MSG_NOSIGNAL) == 6 &&
                recv(fd, pong, sizeof pong - 1, 0) > 0 && !strstr(pong, "LOADING");
        close(fd);
        if (!there)
            clock_sleep_ms(5);
    }
    if (!there)
        w->server = 0;
    return there;
}

static char obey(struct watch *w, char order)
{
    switch (order) {
    case 'k':
        finish(w);
        return 'y';
    case 's':
        launch(w);
        return up(w) ? 'y' : 'n';
    case 'f':
        kill(w->server, SIGSTOP);
        return 'y';
    default:
        kill(w->server, SIGCONT);
        return 'y';
    }
}

static void watch(int orders, int port, const char *password, bool durable)
{
    struct watch w = {.folder = "/tmp/bloginfer-redis-XXXXXX", .password = password, .durable = durable};
    char order;

    snprintf(w.port, sizeof w.port, "%d", port);
    signal(SIGINT, SIG_IGN); /* it ends with the test program, after it */
    if (!mkdtemp(w.folder) || chdir(w.folder))
        die(w.folder);
    while (read(orders, &order, 1) == 1) {
        char answer = obey(&w, order);

        if (send(orders, &answer, 1, MSG_NOSIGNAL) != 1)
            break;
    }
    finish(&w);
    if (chdir("/") || fs_remove_tree(w.folder).code)
        fprintf(stderr, "redis_testing: %s stays\n", w.folder);
    _exit(0);
}

/* ---- the test program ---- */

static bool order(struct redis_testing *t, char what)
{
    char answer = 0;

    if (send(t->orders, &what, 1, MSG_NOSIGNAL) != 1 || read(t->orders, &answer, 1) != 1)
        die("the watcher is gone");
    return answer == 'y';
}

static void start_watcher(struct redis_testing *t, bool durable)
{
    int ends[2];

    t->port = free_port();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        die("socketpair");
    fflush(NULL);
    t->watcher = fork();
    if (t->watcher < 0)
        die("fork");
    if (!t->watcher) {
        close(ends[0]);
        watch(ends[1], t->port, t->password, durable);
    }
    close(ends[1]);
    t->orders = ends[0];
    snprintf(t->address, sizeof t->address, "127.0.0.1:%d", t->port);
}

static void stop_watcher(struct redis_testing *t)
{
    close(t->orders);
    while (waitpid(t->watcher, NULL, 0) < 0 && errno == EINTR)
        continue;
}

struct redis_testing *redis_testing_start(const char *password, bool durable)
{
    struct redis_testing *t = xcalloc(1, sizeof *t);

    t->password = xstrdup(password ? password : "");
    for (int i = 0; i < 20; i++) {
        start_watcher(t, durable);
        if (order(t, 's'))
            return t;
        stop_watcher(t);
    }
    errno = ENOENT;
    die(SERVER " does not start (package redis-tools)");
}

void redis_testing_stop(struct redis_testing *t)
{
    stop_watcher(t);
    free(t->password);
    free(t);
}

void redis_testing_kill(struct redis_testing *t)
{
    order(t, 'k');
}

void redis_testing_restart(struct redis_testing *t)
{
    if (!order(t, 's'))
        die("the server did not come back");
}

void redis_testing_freeze(struct redis_testing *t)
{
    order(t, 'f');
}

void redis_testing_thaw(struct redis_testing *t)
{
    order(t, 'c');
}

struct redis_config redis_testing_config(const struct redis_testing *t)
{
    return (struct redis_config){.address = (char *)t->address,
                                 .user = (char *)"",
                                 .password = t->password,
                                 .connections = 8,
                                 .connect_timeout_ms = 2000,
                                 .max_reply_bytes = 1 << 20};
}

struct redis *redis_testing_open(const struct redis_testing *t)
{
    struct redis_config config = redis_testing_config(t);
    struct redis *r = NULL;
    struct status st = redis_open(&r, &config);

    if (!st.code)
        st = redis_ready(r, clock_after_ms(20000));
    if (st.code) {
        fprintf(stderr, "redis_testing: %s\n", st.msg);
        exit(1);
    }
    return r;
}
