/* testing.h - a Redis server of a test program's own: real, on a free port of loopback, its files in a folder that goes
 * with it. One process watches over it and takes both away when the test program ends, however it ends. Helpers die on
 * failure. */
#ifndef REDIS_TESTING_H
#define REDIS_TESTING_H

#include "redis/redis.h"

struct redis_testing;

/* Call before the first thread. password: NULL for none. durable: every write is on disk before its reply. The server runs
 * and answers. */
struct redis_testing *redis_testing_start(const char *password, bool durable);
void redis_testing_stop(struct redis_testing *t);

void redis_testing_kill(struct redis_testing *t);    /* SIGKILL; it is gone when this returns */
void redis_testing_restart(struct redis_testing *t); /* after the kill, on the same port; it answers */
void redis_testing_freeze(struct redis_testing *t);  /* SIGSTOP: takes connections and is silent */
void redis_testing_thaw(struct redis_testing *t);

/* A config for this server: 8 connections, replies of up to 1 MiB. */
struct redis_config redis_testing_config(const struct redis_testing *t);

/* One with that config; ready. The caller's, to redis_close(). */
struct redis *redis_testing_open(const struct redis_testing *t);

#endif
