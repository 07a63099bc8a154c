/* clock.h - time as signed 64-bit nanoseconds. Deadlines and durations are monotonic, stamps are wall clock. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define CLOCK_MS     INT64_C(1000000)
#define CLOCK_SECOND INT64_C(1000000000)
#define CLOCK_NEVER  INT64_MAX

int64_t clock_now(void);                    /* monotonic */
int64_t clock_wall(void);                   /* since 1970-01-01 UTC */
int64_t clock_after_ms(int64_t timeout_ms); /* clock_now() plus that; CLOCK_NEVER for a negative timeout */
double clock_seconds(int64_t since);        /* seconds since that clock_now() */
int64_t clock_thread(void);                 /* what this thread has computed: on a busy machine the fairer clock */
double clock_thread_seconds(int64_t since); /* seconds since that clock_thread() */
int64_t clock_process(void);                /* what all threads have */
struct timespec clock_timespec(int64_t t);  /* for pthread_cond_timedwait on a CLOCK_MONOTONIC condition */
void clock_sleep_ms(int64_t ms);

#define CLOCK_STAMP_SIZE 32
/* "2026-11-22T10:00:00.123Z"; stamp has CLOCK_STAMP_SIZE bytes; returns it. */
char *clock_stamp(int64_t wall, char *stamp);

#endif
