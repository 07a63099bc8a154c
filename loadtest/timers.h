/* timers.h - times at which something is due, the earliest first: a binary heap whose members know their place, so that
 * one can be moved or taken out. Embed a struct timer. Not thread-safe. */
#ifndef LOADTEST_TIMERS_H
#define LOADTEST_TIMERS_H

#include <stddef.h>
#include <stdint.h>

struct timer {    /* all zero: not set */
    int64_t due;  /* clock_now() scale */
    size_t place; /* in the heap, from 1 */
};

struct timers {
    struct timer **heap; /* [1..n] */
    size_t n, capacity;
};

void timers_init(struct timers *t, size_t capacity); /* how many may be set at once */
void timers_fini(struct timers *t);

void timers_set(struct timers *t, struct timer *timer, int64_t due); /* moves it when it is set */
void timers_clear(struct timers *t, struct timer *timer);

struct timer *timers_first(const struct timers *t); /* NULL: none */

#endif
