/* clock.c - see clock.h. */
#include "base/clock.h"

#include <errno.h>
#include <string.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return t.tv_sec * CLOCK_SECOND + t.tv_nsec;
}

int64_t clock_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t clock_wall(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t clock_thread(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

double clock_thread_seconds(int64_t since)
{
    return (double)(clock_thread() - since) / 1e9;
}

int64_t clock_process(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

int64_t clock_after_ms(int64_t timeout_ms)
{
    int64_t now = clock_now();

    if (timeout_ms < 0 || timeout_ms > (CLOCK_NEVER - now) / CLOCK_MS)
        return CLOCK_NEVER;
    return now + timeout_ms * CLOCK_MS;
}

double clock_seconds(int64_t since)
{
    return (double)(clock_now() - since) / 1e9;
}

struct timespec clock_timespec(int64_t t)
{
    return (struct timespec){.tv_sec = t / CLOCK_SECOND, .tv_nsec = t % CLOCK_SECOND};
}

void clock_sleep_ms(int64_t ms)
{
    struct timespec t = clock_timespec(clock_after_ms(ms < 0 ? 0 : ms));

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        continue;
}

char *clock_stamp(int64_t wall, char *stamp)
{
    static _Thread_local struct {
        time_t second;
        char text[24];
    } last = {.second = -1};
    time_t s = wall / CLOCK_SECOND;
    int ms = (int)(wall % CLOCK_SECOND / CLOCK_MS);
    struct tm tm;

    if (s != last.second) {
        gmtime_r(&s, &tm);
        strftime(last.text, sizeof last.text, "%Y-%m-%dT%H:%M:%S.", &tm);
        last.second = s;
    }
    size_t n = strlen(last.text);
    memcpy(stamp, last.text, n);
    memcpy(stamp + n, (char[]){(char)('0' + ms / 100), (char)('0' + ms / 10 % 10), (char)('0' + ms % 10), 'Z', '\0'},
           5);
    return stamp;
}
