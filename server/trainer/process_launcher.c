/* process_launcher.c - workers as processes.
 *
 * A worker outlives a trainer that is killed: it ends by itself when its run ends, and until then its work counts.
 * What makes it findable is its command line, which names aggregator, run and shard side by side: the process table is
 * the only list there is, so that none can be stale. Every worker is held by a pidfd (Linux 5.3): a process number
 * that was given to somebody else can neither be signalled nor mistaken for ours. */
#include "process_launcher.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CMDLINE_MAX 16384 /* bytes of a process's arguments that are searched; ours stand at the front */

struct process_launcher {
    struct launcher base;
    struct process_launcher_config config;
    char *worker; /* path */
    char **environ;
};

struct worker {
    pid_t pid;
    int fd;     /* pidfd */
    bool child; /* ours to reap */
};

bool run_id_valid(const char *run_id)
{
    size_t n = strspn(run_id, "abcdefghijklmnopqrstuvwxyz0123456789-");

    return n >= 1 && n <= RUN_ID_MAX && !run_id[n];
}

/* These name the trainer's own doors; everything else is meant for the workers too. */
static bool is_private(const char *variable)
{
    static const char *const names[] = {"BLOGINFER_PORT=", "BLOGINFER_LISTEN=", "BLOGINFER_METRICS_PORT="};

    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (!strncmp(variable, names[i], strlen(names[i])))
            return true;
    return false;
}

static char **worker_environ(void)
{
    size_t n = 0, kept = 0;

    while (environ[n])
        n++;
    char **out = xcalloc(n + 1, sizeof *out);
    for (size_t i = 0; i < n; i++)
        if (!is_private(environ[i]))
            out[kept++] = environ[i];
    return out;
}

static struct status find_program(const char *given, char **out)
{
    char self[PATH_MAX];
    struct stat sb;

    *out = NULL;
    if (*given) {
        *out = xstrdup(given);
    } else {
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

        if (n < 0)
            return status_errno("/proc/self/exe");
        self[n] = '\0';
        *out = xasprintf("%.*s/bloginfer-worker", (int)(strrchr(self, '/') - self), self);
    }
    if (stat(*out, &sb))
        return status_errno("worker program %s", *out);
    if (!S_ISREG(sb.st_mode) || access(*out, X_OK))
        return status_errorf(ST_PRECONDITION, "worker program %s: not a program that may be run", *out);
    return status_ok();
}

#define ARGS_MAX 20

struct args {
    char *v[ARGS_MAX];
    size_t n;
};

static void add_option(struct args *a, const char *name, const char *value)
{
    if (!*value)
        return;
    a->v[a->n++] = xstrdup(name);
    a->v[a->n++] = xstrdup(value);
}

/* What identifies a worker, at the front of its arguments and in this order. */
static void add_identity(struct args *a, const struct process_launcher *l, const struct worker_spec *spec)
{
    char shard[32];

    snprintf(shard, sizeof shard, "%u/%u", spec->shard, spec->n_shards);
    add_option(a, "--aggregator", l->config.aggregator);
    add_option(a, "--run", spec->run_id);
    add_option(a, "--shard", shard);
}

static void args_fini(struct args *a)
{
    for (size_t i = 0; i < a->n; i++)
        free(a->v[i]);
}

static struct status open_log(const struct process_launcher *l, const struct worker_spec *spec, int *fd)
{
    *fd = STDERR_FILENO;
    if (!*l->config.log_dir)
        return status_ok();
    char *path = xasprintf("%s/worker-%s-%u.log", l->config.log_dir, spec->run_id, spec->shard);
    *fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    struct status st = *fd < 0 ? status_errno("%s", path) : status_ok();
    free(path);
    return st;
}

/* A process group of its own keeps a terminal's Ctrl-C from reaching workers before the trainer decides; the signals
 * that this process blocks are open in the child; no descriptor of ours is passed on. */
static int spawn(const struct process_launcher *l, char *const *argv, int log_fd, pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, log_fd, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, log_fd, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    int e = posix_spawn(pid, argv[0], &files, &attr, argv, l->environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return e;
}

static struct worker *worker_new(pid_t pid, int fd, bool child)
{
    struct worker *w = xcalloc(1, sizeof *w);

    *w = (struct worker){.pid = pid, .fd = fd, .child = child};
    return w;
}

static struct status process_start(struct launcher *base, const struct worker_spec *spec, struct worker **out)
{
    struct process_launcher *l = (struct process_launcher *)base;
    struct args a = {{NULL}, 0};
    int log_fd;
    pid_t pid = 0;
    struct status st = open_log(l, spec, &log_fd);

    if (st.code)
        return st;
    a.v[a.n++] = xstrdup(l->worker);
    add_identity(&a, l, spec);
    add_option(&a, "--data", l->config.data);
    add_option(&a, "--tls-ca", l->config.tls_ca);
    add_option(&a, "--tls-cert", l->config.tls_cert);
    add_option(&a, "--tls-key", l->config.tls_key);
    int e = spawn(l, a.v, log_fd, &pid);
    if (e) {
        errno = e;
        st = status_errno("start %s", l->worker);
        goto out;
    }
    int fd = pidfd_open(pid, 0);
    if (fd < 0) {
        st = status_errno("pidfd of worker %d", (int)pid);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        goto out;
    }
    *out = worker_new(pid, fd, true);
out:
    if (log_fd != STDERR_FILENO)
        close(log_fd);
    args_fini(&a);
    return st;
}

/* The arguments of a process joined by NULs; 0 when it is gone or not this user's. */
static size_t read_cmdline(const char *pid, char *data, size_t size)
{
    char path[64];
    struct stat sb;
    size_t n = 0;
    ssize_t got = -1;

    snprintf(path, sizeof path, "/proc/%.16s/cmdline", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (!fstat(fd, &sb) && sb.st_uid == geteuid())
        while (n < size && (got = read(fd, data + n, size - n)) > 0)
            n += (size_t)got;
    close(fd);
    return got < 0 ? 0 : n;
}

/* "--aggregator\0A\0--run\0R\0--shard\0I/N\0", preceded by the NUL of the argument before. */
static void add_marker(struct buf *b, const struct process_launcher *l, const struct worker_spec *spec)
{
    struct args a = {{NULL}, 0};

    add_identity(&a, l, spec);
    buf_putc(b, '\0');
    for (size_t i = 0; i < a.n; i++)
        buf_add(b, a.v[i], strlen(a.v[i]) + 1);
    args_fini(&a);
}

static bool has_ended(int pidfd)
{
    struct pollfd p = {pidfd, POLLIN, 0};

    return poll(&p, 1, 0) > 0;
}

/* The pidfd is taken before the look at the arguments, so that both are of the same process. */
static struct worker *match(const char *name, const struct buf *marker)
{
    char cmdline[CMDLINE_MAX];
    pid_t pid = (pid_t)strtol(name, NULL, 10);
    int fd = pidfd_open(pid, 0);

    if (fd < 0)
        return NULL;
    size_t n = read_cmdline(name, cmdline, sizeof cmdline);
    if (n && memmem(cmdline, n, marker->data, marker->size) && !has_ended(fd))
        return worker_new(pid, fd, false);
    close(fd);
    return NULL;
}

static struct status process_find(struct launcher *base, const struct worker_spec *spec, struct worker **out)
{
    struct process_launcher *l = (struct process_launcher *)base;
    struct buf marker = BUF_INIT(CMDLINE_MAX);
    DIR *dir = opendir("/proc");
    struct dirent *d;

    *out = NULL;
    if (!dir)
        return status_errno("/proc");
    add_marker(&marker, l, spec);
    while (!*out && (d = readdir(dir)))
        if (isdigit((unsigned char)d->d_name[0]))
            *out = match(d->d_name, &marker);
    closedir(dir);
    buf_fini(&marker);
    if (!*out)
        return status_errorf(ST_NOT_FOUND, "no worker of run %s shard %u/%u", spec->run_id, spec->shard,
                             spec->n_shards);
    return status_ok();
}

static enum worker_state process_poll(struct launcher *base, struct worker *w, struct status *why)
{
    siginfo_t si = {0};

    (void)base;
    if (!has_ended(w->fd))
        return WORKER_RUNNING;
    if (!w->child || waitid(P_PIDFD, (id_t)w->fd, &si, WEXITED | WNOHANG)) {
        *why = status_errorf(ST_UNKNOWN, "ended (started by an earlier trainer)");
        return WORKER_ENDED;
    }
    w->child = false; /* reaped */
    if (si.si_code != CLD_EXITED)
        *why = status_errorf(ST_ABORTED, "killed by signal %d", si.si_status);
    else if (si.si_status)
        *why = status_errorf(ST_ABORTED, "exit code %d", si.si_status);
    else
        *why = status_errorf(ST_OK, "exit code 0");
    return why->code ? WORKER_FAILED : WORKER_ENDED;
}

static void process_stop(struct launcher *base, struct worker *w, bool hard)
{
    (void)base;
    pidfd_send_signal(w->fd, hard ? SIGKILL : SIGTERM, NULL, 0);
}

static void process_release(struct launcher *base, struct worker *w)
{
    (void)base;
    if (!w)
        return;
    close(w->fd);
    free(w);
}

static void process_close(struct launcher *base)
{
    struct process_launcher *l = (struct process_launcher *)base;

    if (!l)
        return;
    free(l->worker);
    free(l->environ);
    free(l);
}

struct status process_launcher_open(struct launcher **out, const struct process_launcher_config *config)
{
    static const struct launcher_ops ops = {process_start, process_find,    process_poll,
                                            process_stop,  process_release, process_close};
    struct process_launcher *l = xcalloc(1, sizeof *l);
    struct status st = find_program(config->worker, &l->worker);

    if (!st.code && *config->log_dir)
        st = fs_mkdirs(config->log_dir);
    if (st.code) {
        process_close(&l->base);
        return st;
    }
    l->base = (struct launcher){&ops, true};
    l->config = *config;
    l->environ = worker_environ();
    *out = &l->base;
    return status_ok();
}
