/* testing.c - PostgreSQL refuses to run as root: then it runs as user postgres, to whom the folder belongs. */
#include "pg/testing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BIN        "/usr/lib/postgresql/15/bin/"
#define PATIENCE_S 120 /* nothing is timed: this only bounds how long a failure takes */
#define MAX_ARGS   24

/* Ends the server and its folder when standard input does. A process number in the server's file may be somebody else's by
 * now: the server is the one that stands in its folder. */
static const char keeper_script[] = "cat >/dev/null; i=0\n"
                                    "while [ $i -lt 200 ]; do\n"
                                    "  left=0\n"
                                    "  for p in /proc/[0-9]*; do\n"
                                    "    [ \"$(readlink $p/cwd 2>/dev/null)\" = \"$1/data\" ] || continue\n"
                                    "    left=1; kill -KILL ${p#/proc/} 2>/dev/null\n"
                                    "  done\n"
                                    "  [ $left = 1 ] || break\n"
                                    "  sleep 0.05; i=$((i + 1))\n"
                                    "done\n"
                                    "rm -rf \"$1\"";

static void die(const char *what)
{
    fprintf(stderr, "pg_testing: %s: %s\n", what, strerror(errno));
    abort();
}

/* ---- processes ---- */

/* input: becomes standard input; -1: none. Output goes to the folder's log, or nowhere. */
static pid_t spawn(const struct pg_testing *t, const char *const *argv, int input, bool to_log)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none;
    char log[64];
    pid_t pid;

    snprintf(log, sizeof log, "%s/log", t->folder);
    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    if (input >= 0)
        posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
    else
        posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, to_log ? log : "/dev/null", O_WRONLY | O_CREAT | O_APPEND,
                                     0600);
    posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    posix_spawn_file_actions_addchdir_np(&files, "/");
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK); /* out of a terminal's Ctrl-C */
    posix_spawnattr_setsigmask(&attr, &none);
    errno = posix_spawnp(&pid, argv[0], &files, &attr, (char *const *)argv, environ);
    if (errno)
        die(argv[0]);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return pid;
}

/* A program of PostgreSQL, as the user postgres when we are root. */
static pid_t spawn_postgres(const struct pg_testing *t, const char *const *args, size_t n)
{
    static const char *const as_postgres[] = {"setpriv",  "--reuid",       "postgres", "--regid",
                                              "postgres", "--init-groups", "--"};
    const char *argv[MAX_ARGS + 1];
    size_t k = 0;

    if (!geteuid())
        for (; k < COUNT_OF(as_postgres); k++)
            argv[k] = as_postgres[k];
    for (size_t i = 0; i < n && k < MAX_ARGS; i++)
        argv[k++] = args[i];
    argv[k] = NULL;
    return spawn(t, argv, -1, true);
}

static void reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

static void show_log(const struct pg_testing *t)
{
    char path[64], *text;
    size_t size;

    snprintf(path, sizeof path, "%s/log", t->folder);
    if (fs_read(path, 1 << 20, &text, &size).code)
        return;
    fprintf(stderr, "%s", size > 2000 ? text + size - 2000 : text);
    free(text);
}

/* Sends a signal to every process of the server; returns how many there are. Zombies stand nowhere. */
static int signal_all(const struct pg_testing *t, int sig)
{
    char data[48], path[300], cwd[64];
    DIR *proc = opendir("/proc");
    struct dirent *d;
    int n = 0;

    if (!proc)
        die("/proc");
    snprintf(data, sizeof data, "%s/data", t->folder);
    while ((d = readdir(proc))) {
        snprintf(path, sizeof path, "/proc/%s/cwd", d->d_name);
        ssize_t size = d->d_name[0] >= '1' && d->d_name[0] <= '9' ? readlink(path, cwd, sizeof cwd) : -1;
        if (size != (ssize_t)strlen(data) || memcmp(cwd, data, (size_t)size) != 0)
            continue;
        kill((pid_t)strtol(d->d_name, NULL, 10), sig);
        n++;
    }
    closedir(proc);
    return n;
}

/* ---- the server ---- */

void pg_testing_launch(struct pg_testing *t)
{
    const char *const args[] = {BIN "postgres",
                                "-D",
                                NULL,
                                "-k",
                                t->folder,
                                "-c",
                                "listen_addresses=",
                                "-c",
                                "fsync=off",
                                "-c",
                                "shared_buffers=16MB",
                                "-c",
                                "max_connections=40"};
    const char *argv[COUNT_OF(args)];
    int64_t until = clock_after_ms(PATIENCE_S * 1000);
    char data[48];

    snprintf(data, sizeof data, "%s/data", t->folder);
    memcpy(argv, args, sizeof args);
    argv[2] = data;
    t->server = spawn_postgres(t, argv, COUNT_OF(argv));
    while (PQping(t->url) != PQPING_OK) {
        if (clock_now() > until || waitpid(t->server, NULL, WNOHANG) > 0) {
            show_log(t);
            die("the server did not start");
        }
        clock_sleep_ms(10);
    }
}

void pg_testing_kill(struct pg_testing *t)
{
    while (signal_all(t, SIGKILL))
        clock_sleep_ms(5);
    reap(t->server);
    t->server = 0;
}

void pg_testing_shutdown(struct pg_testing *t)
{
    kill(t->server, SIGINT);
    reap(t->server);
    t->server = 0;
}

void pg_testing_freeze(struct pg_testing *t, bool frozen)
{
    signal_all(t, frozen ? SIGSTOP : SIGCONT);
}

/* ---- the folder ---- */

static void make_folder(struct pg_testing *t)
{
    struct passwd *user = geteuid() ? NULL : getpwnam("postgres");

    if (!mkdtemp(strcpy(t->folder, "/tmp/bloginfer-pg.XXXXXX")))
        die(t->folder);
    if (!geteuid() && (!user || chown(t->folder, user->pw_uid, user->pw_gid)))
        die("user postgres");
    snprintf(t->url, sizeof t->url, "host=%s user=postgres dbname=postgres", t->folder);
}

static void start_keeper(struct pg_testing *t)
{
    const char *const argv[] = {"/bin/sh", "-c", keeper_script, "keeper", t->folder, NULL};
    int ends[2];

    if (pipe2(ends, O_CLOEXEC))
        die("pipe");
    t->life = ends[1];
    t->keeper = spawn(t, argv, ends[0], false);
    close(ends[0]);
}

bool pg_testing_installed(void)
{
    if (!access(BIN "postgres", X_OK))
        return true;
    fprintf(stderr, "skipped: there is no " BIN "postgres (Debian package postgresql-15)\n");
    return false;
}

void pg_testing_start(struct pg_testing *t)
{
    char data[48];
    const char *const args[] = {
        BIN "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"};
    int status;

    *t = (struct pg_testing){.server = 0};
    make_folder(t);
    start_keeper(t);
    snprintf(data, sizeof data, "%s/data", t->folder);
    pid_t pid = spawn_postgres(t, args, COUNT_OF(args));
    if (waitpid(pid, &status, 0) != pid || status) {
        show_log(t);
        die("initdb");
    }
    pg_testing_launch(t);
}

void pg_testing_stop(struct pg_testing *t)
{
    if (!t->keeper)
        return;
    close(t->life);
    reap(t->keeper);
    if (t->server)
        reap(t->server);
}

/* ---- what tests say over and over ---- */

static void write_url(const struct pg_testing *t, const char *database, char *url, size_t size)
{
    snprintf(url, size, "host=%s user=postgres dbname=%s", t->folder, database ? database : "postgres");
}

struct pg_pool *pg_testing_pool(const struct pg_testing *t, const char *database, int n)
{
    struct pg_pool *pool;
    char url[160];

    write_url(t, database, url, sizeof url);
    or_die(pg_open(&pool, &(struct pg_config){.url = url, .program = "test", .n_connections = n}));
    return pool;
}

void pg_testing_run(const struct pg_testing *t, const char *database, const char *sql)
{
    char url[160];

    write_url(t, database, url, sizeof url);
    PGconn *pq = PQconnectdb(url);
    PGresult *res = PQexec(pq, sql);
    if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK) {
        fprintf(stderr, "pg_testing: %s: %s\n", sql, PQerrorMessage(pq));
        abort();
    }
    PQclear(res);
    PQfinish(pq);
}
