/* session.h - who is logged in. A session is a key of Redis, found by the SHA-256 of its token, so that what Redis holds logs
 * nobody in; and it counts only while it stands in the list of its user's sessions, so that to remove that list is to log out
 * everywhere, whatever else Redis may have lost. A Redis that lost its data only logs people out; while it is away,
 * nobody can be logged in, and every function says ST_UNAVAILABLE.
 *
 * Times are milliseconds by the clock of Redis, since 1970 where they are stamps. Thread-safe. Codes besides those named:
 * those of redis_command(). */
#ifndef BLOG_SESSION_H
#define BLOG_SESSION_H

#include "redis/redis.h"

/* Filled in once, by the caller. */
struct sessions {
    struct redis *redis;
    int64_t idle_ms;  /* a session ends when it was not used for so long, or a tenth (at most a minute) less */
    int64_t life_ms;  /* and in any case after that */
    int64_t per_user; /* at most SESSION_MAX_PER_USER: one more ends the oldest */
};

#define SESSION_IDLE_MS      (INT64_C(14) * 86400 * 1000)
#define SESSION_LIFE_MS      (INT64_C(90) * 86400 * 1000)
#define SESSION_MAX_PER_USER 100
#define SESSION_TOKEN_SIZE   44  /* 256 random bits in base64url, and a NUL */
#define SESSION_ID_SIZE      65  /* the token's SHA-256 in hex, and a NUL: names a session, but does not open it */
#define SESSION_MAX_ROLE     16  /* bytes */
#define SESSION_MAX_TEXT     200 /* bytes of agent and address; longer ones are cut */

struct session {
    char id[SESSION_ID_SIZE];
    int64_t user_id;
    const char *role;    /* at the log-in: whoever changes it ends the sessions */
    const char *agent;   /* what the browser calls itself: printable UTF-8, whatever was sent */
    const char *address; /* where the log-in came from, as the caller gave it */
    int64_t created_ms;
    int64_t seen_ms; /* last use, as exact as idle_ms */
    int64_t ends_ms; /* at the latest */
};

/* Of s: user_id, role, agent and address; the last two may be NULL. token: SESSION_TOKEN_SIZE bytes, for the browser alone;
 * it is kept nowhere. ST_INVALID: the role is too long. */
struct status session_create(const struct sessions *all, int64_t deadline, const struct session *s, char *token);

/* Whom this token logs in, which counts as use. out's texts lie in the arena. ST_UNAUTHENTICATED: nobody (any more), or
 * this is no token; then Redis is not even asked. */
struct status session_find(const struct sessions *all, struct arena *arena, int64_t deadline, const char *token,
                           struct session *out);

/* ST_NOT_FOUND: that user has no such session. */
struct status session_end(const struct sessions *all, int64_t deadline, int64_t user_id, const char *id);

/* All of a user's, but for `except` (NULL: no exception), at one instant. *n_ended may be NULL. */
struct status session_end_all(const struct sessions *all, int64_t deadline, int64_t user_id, const char *except,
                              int64_t *n_ended);

/* What the user is logged in with, the newest first; *list and its texts lie in the arena, some 2 KiB each. */
struct status session_list(const struct sessions *all, struct arena *arena, int64_t deadline, int64_t user_id,
                           struct session **list, size_t *n);

#endif
