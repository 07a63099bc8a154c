/* flight.h - who makes a value and who waits for it: at most one flight for a key at a time. Private to lib/redis.
 * Thread-safe. */
#ifndef REDIS_FLIGHT_H
#define REDIS_FLIGHT_H

#include "base/base.h"

#include <pthread.h>
#include <stdbool.h>

struct flight;

struct flights {
    pthread_mutex_t mu; /* guards all below, and every flight */
    struct flight *first;
};

void flights_init(struct flights *f);
void flights_fini(struct flights *f); /* nobody may fly */

/* One caller's part in a flight. */
struct seat {
    struct flight *flight;
    bool pilot; /* it makes the value, and calls flight_land(); else flight_wait() */
    bool late;  /* it came after flight_close() */
};

struct seat flight_board(struct flights *f, const void *key, size_t key_size);

/* The pilot: who boards from now on may not have the value without asking further. */
void flight_close(struct flights *f, const struct seat *seat);

/* The pilot: publishes its status and, when OK, the value, of which copies are made for those that wait. fresh: it was true
 * at a time after flight_close(). The next one to board begins a new flight. */
void flight_land(struct flights *f, const struct seat *seat, const struct status *st, const void *value, size_t size,
                 bool fresh);

struct landing {
    bool landed; /* false: the deadline came first */
    bool usable; /* this seat may have the value */
    struct status st;
    void *value; /* in the arena; NULL: it does not fit */
    size_t size;
};

/* later: the flight began after the passenger's wish, so that any value will do, fresh or not. */
struct landing flight_wait(struct flights *f, const struct seat *seat, bool later, int64_t deadline,
                           struct arena *arena);

#endif
