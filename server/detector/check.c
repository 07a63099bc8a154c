/* check.c - see check.h. The answer is one line on standard output, "ok ENGINE DIGEST SECONDS" or "CODE MESSAGE"; the log
 * goes where this process's goes. */
#include "check.h"

#include "nn/nn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_ANSWER 1024
#define LOWER      10 /* steps of nice: serving goes first */

extern char **environ;

/* ---- the child ---- */

bool check_main(int argc, char **argv, int *exit_code)
{
    struct served_check found = {.forward_seconds = 0};

    if (argc < 2 || strcmp(argv[1], "--check") != 0)
        return false;
    *exit_code = 2;
    if (argc != 6)
        return true;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpriority(PRIO_PROCESS, 0, LOWER);
    alarm(CHECK_SECONDS);
    nn_setup_blas(argv);
    const struct served_config config = {.path = argv[3], .engine = argv[4], .precision = argv[5], .n_workers = 1};
    struct status st = log_init("detector-check", "info");
    if (!st.code)
        st = served_try(&found, argv[2], &config);
    if (st.code)
        printf("%d %s\n", (int)st.code, st.msg);
    else
        printf("ok %s %s %.9f\n", found.engine, found.digest, found.forward_seconds);
    *exit_code = 0;
    return true;
}

/* ---- the parent ---- */

/* Starts it with its output on *out; *out is open for reading then. */
static struct status start(pid_t *pid, int *out, const char *name, const struct served_config *config)
{
    char *const argv[] = {
        "bloginfer-detector",      "--check", (char *)name, (char *)config->path, (char *)config->engine,
        (char *)config->precision, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC))
        return status_errno("make a pipe");
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int e = posix_spawn(pid, "/proc/self/exe", &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *out = ends[0];
    if (!e)
        return status_ok();
    close(ends[0]);
    errno = e;
    return status_errno("start the check of %s", name);
}

/* Everything until its end; false: stop_fd became readable. The child's alarm bounds it. */
static bool read_all(int fd, int stop_fd, char *text, size_t room)
{
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
    size_t used = 0;
    ssize_t n = 1;

    while (n > 0 && used < room - 1) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[1].revents)
            return false;
        if (!fds[0].revents)
            continue;
        n = read(fd, text + used, room - 1 - used);
        used += n > 0 ? (size_t)n : 0;
    }
    text[used] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return true;
}

static struct status parse(struct served_check *out, const char *text, const char *name)
{
    char *end;

    if (sscanf(text, "ok %31s %64s %lf", out->engine, out->digest, &out->forward_seconds) == 3)
        return status_ok();
    long code = strtol(text, &end, 10);
    if (end == text || *end != ' ' || code <= 0 || code >= ST_N_CODES)
        return status_errorf(ST_INVALID, "the check of %s says nothing", name);
    return status_errorf((enum code)code, "%s", end + 1);
}

static struct status wait_end(pid_t pid, const char *name)
{
    int how;

    while (waitpid(pid, &how, 0) < 0)
        if (errno != EINTR)
            return status_errno("wait for the check of %s", name);
    if (WIFSIGNALED(how))
        return status_errorf(ST_INVALID, "the check of %s dies (signal %d)", name, WTERMSIG(how));
    if (WEXITSTATUS(how))
        return status_errorf(ST_INVALID, "the check of %s ends with %d", name, WEXITSTATUS(how));
    return status_ok();
}

struct status check_run(struct served_check *out, const char *name, const struct served_config *config, int stop_fd)
{
    char text[MAX_ANSWER];
    pid_t pid = 0;
    int fd = -1;
    struct status st = start(&pid, &fd, name, config);

    if (st.code)
        return st;
    bool whole = read_all(fd, stop_fd, text, sizeof text);
    close(fd);
    if (!whole && pid > 0)
        kill(pid, SIGKILL);
    st = wait_end(pid, name);
    if (!whole)
        return status_errorf(ST_CANCELLED, "the check of %s was stopped", name);
    return st.code ? st : parse(out, text, name);
}
