/* timers.c - see timers.h. */
#include "timers.h"

#include "base/base.h"

#include <assert.h>
#include <stdlib.h>

void timers_init(struct timers *t, size_t capacity)
{
    *t = (struct timers){xcalloc(capacity + 1, sizeof *t->heap), 0, capacity};
}

void timers_fini(struct timers *t)
{
    free(t->heap);
}

static void put(struct timers *t, size_t place, struct timer *timer)
{
    t->heap[place] = timer;
    timer->place = place;
}

static void move_up(struct timers *t, struct timer *timer)
{
    size_t at = timer->place;

    for (; at > 1 && t->heap[at / 2]->due > timer->due; at /= 2)
        put(t, at, t->heap[at / 2]);
    put(t, at, timer);
}

static void move_down(struct timers *t, struct timer *timer)
{
    size_t at = timer->place, child;

    for (; (child = 2 * at) <= t->n; at = child) {
        if (child < t->n && t->heap[child + 1]->due < t->heap[child]->due)
            child++;
        if (t->heap[child]->due >= timer->due)
            break;
        put(t, at, t->heap[child]);
    }
    put(t, at, timer);
}

void timers_set(struct timers *t, struct timer *timer, int64_t due)
{
    if (!timer->place) {
        assert(t->n < t->capacity);
        put(t, ++t->n, timer);
    }
    timer->due = due;
    move_up(t, timer);
    move_down(t, timer);
}

void timers_clear(struct timers *t, struct timer *timer)
{
    size_t place = timer->place;

    if (!place)
        return;
    struct timer *last = t->heap[t->n--];
    timer->place = 0;
    if (last == timer)
        return;
    put(t, place, last);
    move_up(t, last);
    move_down(t, last);
}

struct timer *timers_first(const struct timers *t)
{
    return t->n ? t->heap[1] : NULL;
}
