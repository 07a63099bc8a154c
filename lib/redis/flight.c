/* flight.c - see flight.h. The list is as long as values are being made at the moment: as many as there are threads, at
 * most. */
#include "redis/flight.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct flight {
    struct flight *next;
    char *key;
    size_t key_size;
    size_t n_seats; /* the last to leave frees it */
    bool closed, landed, fresh;
    pthread_cond_t changed;
    struct status st;
    char *value; /* NULL unless somebody waited for it */
    size_t size;
};

void flights_init(struct flights *f)
{
    *f = (struct flights){.first = NULL};
    pthread_mutex_init(&f->mu, NULL);
}

void flights_fini(struct flights *f)
{
    assert(!f->first);
    pthread_mutex_destroy(&f->mu);
}

static struct flight *find_locked(const struct flights *f, const void *key, size_t key_size)
{
    struct flight *at = f->first;

    while (at && (at->key_size != key_size || memcmp(at->key, key, key_size) != 0))
        at = at->next;
    return at;
}

static struct flight *begin_locked(struct flights *f, const void *key, size_t key_size)
{
    struct flight *flight = xcalloc(1, sizeof *flight);

    flight->key = xmalloc(key_size + 1);
    memcpy(flight->key, key, key_size);
    flight->key_size = key_size;
    cond_init_monotonic(&flight->changed);
    flight->next = f->first;
    f->first = flight;
    return flight;
}

static void leave_locked(struct flight *flight)
{
    if (--flight->n_seats)
        return;
    pthread_cond_destroy(&flight->changed);
    free(flight->value);
    free(flight->key);
    free(flight);
}

struct seat flight_board(struct flights *f, const void *key, size_t key_size)
{
    struct seat seat = {.pilot = false};

    pthread_mutex_lock(&f->mu);
    seat.flight = find_locked(f, key, key_size);
    if (!seat.flight) {
        seat.flight = begin_locked(f, key, key_size);
        seat.pilot = true;
    }
    seat.late = seat.flight->closed;
    seat.flight->n_seats++;
    pthread_mutex_unlock(&f->mu);
    return seat;
}

void flight_close(struct flights *f, const struct seat *seat)
{
    pthread_mutex_lock(&f->mu);
    seat->flight->closed = true;
    pthread_mutex_unlock(&f->mu);
}

void flight_land(struct flights *f, const struct seat *seat, const struct status *st, const void *value, size_t size,
                 bool fresh)
{
    struct flight *flight = seat->flight, **at = &f->first;

    pthread_mutex_lock(&f->mu);
    while (*at != flight)
        at = &(*at)->next;
    *at = flight->next;
    bool awaited = flight->n_seats > 1; /* nobody can board any more */
    pthread_mutex_unlock(&f->mu);

    char *copy = awaited && !st->code ? xmalloc(size + 1) : NULL;
    if (copy && size)
        memcpy(copy, value, size);

    pthread_mutex_lock(&f->mu);
    flight->st = *st;
    flight->value = copy;
    flight->size = size;
    flight->fresh = fresh;
    flight->landed = true;
    pthread_cond_broadcast(&flight->changed);
    leave_locked(flight);
    pthread_mutex_unlock(&f->mu);
}

struct landing flight_wait(struct flights *f, const struct seat *seat, bool later, int64_t deadline,
                           struct arena *arena)
{
    struct flight *flight = seat->flight;
    struct timespec at = clock_timespec(deadline);
    struct landing l = {.landed = false};

    pthread_mutex_lock(&f->mu);
    while (!flight->landed && clock_now() < deadline)
        pthread_cond_timedwait(&flight->changed, &f->mu, &at);
    l.landed = flight->landed;
    pthread_mutex_unlock(&f->mu);
    if (l.landed) { /* from here on nobody writes to it */
        l.usable = later || (flight->fresh && !seat->late);
        l.st = flight->st;
        l.size = flight->size;
        l.value = l.usable && !l.st.code ? arena_alloc(arena, l.size + 1) : NULL;
        if (l.value)
            memcpy(l.value, flight->value, l.size);
    }
    pthread_mutex_lock(&f->mu);
    leave_locked(flight);
    pthread_mutex_unlock(&f->mu);
    return l;
}
