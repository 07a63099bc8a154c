/* cpu_clock.h - what this thread has computed so far, in seconds: for choosing what is fastest on a busy machine, where
 * the time on the wall tells more about the neighbours. */
#ifndef DETECTOR_CPU_CLOCK_H
#define DETECTOR_CPU_CLOCK_H

#include <time.h>

static inline double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
