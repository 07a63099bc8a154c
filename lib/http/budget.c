/* budget.c - see budget.h. A waiter that is large holds up smaller ones behind it: else it would never get its turn. */
#include "http/budget.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#define ASK_MS 1000

struct waiter {
    size_t size;
    bool granted;
    pthread_cond_t wake;
    struct waiter *next;
};

struct budget {
    size_t limit;
    pthread_mutex_t mu; /* guards all below */
    size_t used;
    struct waiter *first, **last;
};

struct budget *budget_new(size_t limit_bytes)
{
    struct budget *b = xcalloc(1, sizeof *b);

    b->limit = limit_bytes;
    b->last = &b->first;
    pthread_mutex_init(&b->mu, NULL);
    return b;
}

void budget_free(struct budget *b)
{
    if (!b)
        return;
    assert(!b->first);
    pthread_mutex_destroy(&b->mu);
    free(b);
}

static bool fits_locked(const struct budget *b, size_t size)
{
    return size <= b->limit - b->used;
}

static void grant_locked(struct budget *b)
{
    while (b->first && fits_locked(b, b->first->size)) {
        struct waiter *w = b->first;

        b->used += w->size;
        b->first = w->next;
        if (!b->first)
            b->last = &b->first;
        w->granted = true;
        pthread_cond_signal(&w->wake);
    }
}

static bool take_locked(struct budget *b, size_t size)
{
    if (b->first || !fits_locked(b, size))
        return false;
    b->used += size;
    return true;
}

bool budget_try(struct budget *b, size_t size)
{
    bool taken;

    pthread_mutex_lock(&b->mu);
    taken = take_locked(b, size);
    pthread_mutex_unlock(&b->mu);
    return taken;
}

static void leave_locked(struct budget *b, struct waiter *w)
{
    struct waiter **at = &b->first;

    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    if (!*at)
        b->last = at;
    grant_locked(b); /* it may have held up others */
}

/* Until it is granted, over, or the caller has given up; the mutex is not held while the caller is asked. */
static void wait_locked(struct budget *b, struct waiter *w, int64_t deadline, bool (*given_up)(void *ctx), void *ctx)
{
    bool over = false;

    while (!w->granted && !over) {
        int64_t until = clock_after_ms(ASK_MS);
        struct timespec at = clock_timespec(until < deadline ? until : deadline);

        pthread_cond_timedwait(&w->wake, &b->mu, &at);
        if (w->granted || clock_now() < until) {
            over = clock_now() >= deadline;
            continue;
        }
        pthread_mutex_unlock(&b->mu);
        over = clock_now() >= deadline || given_up(ctx);
        pthread_mutex_lock(&b->mu);
    }
}

bool budget_wait(struct budget *b, size_t size, int64_t deadline, bool (*given_up)(void *ctx), void *ctx)
{
    struct waiter w = {.size = size};
    bool taken;

    if (size > b->limit)
        return false;
    pthread_mutex_lock(&b->mu);
    taken = take_locked(b, size);
    if (!taken) {
        cond_init_monotonic(&w.wake);
        *b->last = &w;
        b->last = &w.next;
        wait_locked(b, &w, deadline, given_up, ctx);
        taken = w.granted;
        if (!taken)
            leave_locked(b, &w);
        pthread_cond_destroy(&w.wake);
    }
    pthread_mutex_unlock(&b->mu);
    return taken;
}

void budget_give(struct budget *b, size_t size)
{
    pthread_mutex_lock(&b->mu);
    assert(size <= b->used);
    b->used -= size;
    grant_locked(b);
    pthread_mutex_unlock(&b->mu);
}
