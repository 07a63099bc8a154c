/* lifecycle.c - see lifecycle.h. */
#include "base/lifecycle.h"

#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOWER 15 /* steps of nice */

static void (*hangup_run)(void *ctx);
static void *hangup_ctx;

static void stop_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
}

void lifecycle_init(void)
{
    sigset_t set;

    stop_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* After the first stop signal a further one must not wait for anything. */
static void *second_signal(void *arg)
{
    sigset_t set;
    int sig;

    (void)arg;
    stop_signals(&set);
    do
        sigwait(&set, &sig);
    while (sig == SIGHUP);
    log_warn("stopped_hard", log_i("signal", sig));
    _exit(128 + sig);
}

void lifecycle_on_hangup(void (*run)(void *ctx), void *ctx)
{
    hangup_run = run;
    hangup_ctx = ctx;
}

void lifecycle_wait(void)
{
    sigset_t set;
    int sig;

    stop_signals(&set);
    while (sigwait(&set, &sig) || sig == SIGHUP)
        if (sig == SIGHUP && hangup_run)
            hangup_run(hangup_ctx);
    log_info("stopping", log_i("signal", sig));
    pthread_detach(thread_start("second-signal", 0, second_signal, NULL));
}

void lifecycle_request_stop(void)
{
    kill(getpid(), SIGTERM);
}

pthread_t thread_start(const char *name, size_t stack_bytes, void *(*run)(void *), void *arg)
{
    pthread_attr_t attr;
    pthread_t thread;

    pthread_attr_init(&attr);
    if (stack_bytes)
        pthread_attr_setstacksize(&attr, stack_bytes);
    int e = pthread_create(&thread, &attr, run, arg);
    if (e == EINVAL) /* too small for the thread-local storage of the libraries in this process */
        e = pthread_create(&thread, NULL, run, arg);
    pthread_attr_destroy(&attr);
    if (e) {
        fprintf(stderr, "thread %s: %s%s\n", name, strerror(e),
                e == EAGAIN ? " (the limit of threads, ulimit -u or the container's, is reached)" : "");
        abort();
    }
    pthread_setname_np(thread, name);
    return thread;
}

void thread_lower_priority(void)
{
    id_t self = (id_t)syscall(SYS_gettid); /* on Linux a priority is the thread's own */
    int now = getpriority(PRIO_PROCESS, self);

    setpriority(PRIO_PROCESS, self, now + LOWER < 19 ? now + LOWER : 19); /* only raising it can be denied */
}

void cond_init_monotonic(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}
