/* password.h - passwords: which may be chosen, how they are kept (argon2id by libsodium), and that checking them cannot take
 * all memory: each takes 64 MiB and some 0.1 s of a CPU, so that only a few run at once and a few more wait. Thread-safe,
 * but for passwords_free(). */
#ifndef BLOG_PASSWORD_H
#define BLOG_PASSWORD_H

#include "base/base.h"

#include <stdbool.h>
#include <stddef.h>

struct passwords;

struct passwords_config {
    int64_t at_once; /* 0: as many as there are CPUs and as a quarter of the memory allows, at least 1 */
    int64_t waiting; /* callers that may wait for their turn */
};

/* Takes as long as a check does: it makes the hash that unknown names are compared with. ST_EXHAUSTED: no memory. */
struct status passwords_new(struct passwords **out, const struct passwords_config *config);
void passwords_free(struct passwords *p); /* takes NULL */

#define PASSWORD_MIN_CHARACTERS 10
#define PASSWORD_MAX_BYTES      128
#define PASSWORD_HASH_SIZE      128 /* bytes, with the NUL */

/* May this user choose this password? ST_INVALID says why not: not 10 characters to 128 bytes of UTF-8 without control
 * characters; one of the most common; a run or a repetition; the name with little more. Pure. */
struct status password_check(const char *name, const char *password, size_t size);

/* What to keep of a password that password_check() allowed. ST_EXHAUSTED: too many at once, or none of them ended before the
 * deadline. */
struct status password_hash(struct passwords *p, int64_t deadline, const char *password, size_t size,
                            char hash[PASSWORD_HASH_SIZE]);

/* ST_UNAUTHENTICATED: not this one. hash NULL or "": nobody has that name, or no password; the answer takes as long as if
 * somebody had. *outdated: it is right, but today's hash would be stronger: make and keep a new one. ST_EXHAUSTED as
 * above; ST_INTERNAL: the hash is none. */
struct status password_verify(struct passwords *p, int64_t deadline, const char *hash, const char *password,
                              size_t size, bool *outdated);

#endif
