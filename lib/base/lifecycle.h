/* lifecycle.h - signals and the orderly stop. main() calls lifecycle_init() before its first thread, starts
 * everything, calls lifecycle_wait(), then stops everything in reverse order. */
#ifndef BASE_LIFECYCLE_H
#define BASE_LIFECYCLE_H

#include <pthread.h>
#include <stddef.h>

/* Blocks SIGTERM, SIGINT and SIGHUP in this and every later thread, ignores SIGPIPE. */
void lifecycle_init(void);

/* Sleeps until SIGTERM, SIGINT or lifecycle_request_stop(); a second such signal ends the process at once. */
void lifecycle_wait(void);

/* What SIGHUP does from now on, on the thread in lifecycle_wait(): something short. Before, it does nothing. Not together
 * with lifecycle_wait(). */
void lifecycle_on_hangup(void (*run)(void *ctx), void *ctx);

/* Any thread: makes lifecycle_wait() return. */
void lifecycle_request_stop(void);

/* A joinable thread with a name of at most 15 bytes; stack_bytes 0 is the default of the system. Dies on failure. */
pthread_t thread_start(const char *name, size_t stack_bytes, void *(*run)(void *), void *arg);

/* The calling thread gives way to the others from now on: what it does must not be felt. It still gets some 3 % of a CPU
 * that is busy, so that it comes to its end. Not to be undone. */
void thread_lower_priority(void);

/* A condition variable on CLOCK_MONOTONIC, for clock_timespec(). */
void cond_init_monotonic(pthread_cond_t *cond);

#endif
