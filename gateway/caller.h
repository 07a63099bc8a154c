/* caller.h - who asks, and whether they may. Every route that changes something asks here, and nowhere else is it
 * decided: reading is open, changes need a role. */
#ifndef GATEWAY_CALLER_H
#define GATEWAY_CALLER_H

#include "http/http.h"

#include <stdbool.h>

enum role { ROLE_READER, ROLE_AUTHOR, ROLE_ADMIN }; /* each may do what those before it may */

/* The token of operators and their programs, as its digest. Zero: none is configured, and nobody is an admin. */
struct admin_token {
    bool set;
    uint8_t digest[SHA256_SIZE];
};

#define ADMIN_TOKEN_MIN 16 /* characters */

/* "" is none. ST_INVALID: shorter than ADMIN_TOKEN_MIN, or not printable ASCII without spaces. */
struct status admin_token_set(struct admin_token *t, const char *token);

/* OK: the caller has at least this role; who sends the admin token has every one. ST_UNAUTHENTICATED (401, and the answer says how to): nobody known. ST_DENIED
 * (403): no admin token is configured here. The token is compared in the same time whatever it is. */
struct status caller_require(struct http_call *call, enum role role);

#endif
