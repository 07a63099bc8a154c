/* caller.c - see caller.h. */
#include "caller.h"

#include "gateway.h"

#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>

struct status admin_token_set(struct admin_token *t, const char *token)
{
    *t = (struct admin_token){.set = token[0] != '\0'};
    if (!t->set)
        return status_ok();
    if (strlen(token) < ADMIN_TOKEN_MIN)
        return status_errorf(ST_INVALID, "admin-token: it has to have at least %d characters", ADMIN_TOKEN_MIN);
    for (const char *p = token; *p; p++)
        if (*p <= ' ' || *p > '~')
            return status_errorf(ST_INVALID, "admin-token: it has to be printable ASCII without spaces");
    sha256(token, strlen(token), t->digest);
    return status_ok();
}

/* What follows "Bearer " in the header; NULL: there is none. */
static const char *bearer(const struct http_call *call)
{
    static const char scheme[] = "Bearer ";
    const char *header = http_header(call, "Authorization");

    if (!header || strncasecmp(header, scheme, sizeof scheme - 1) != 0)
        return NULL;
    header += sizeof scheme - 1;
    return header + strspn(header, " ");
}

/* Digests are compared, so that not even the length of the token shows. */
static bool is_admin_token(const struct admin_token *t, const char *token)
{
    uint8_t digest[SHA256_SIZE];

    sha256(token, strlen(token), digest);
    return t->set && !CRYPTO_memcmp(digest, t->digest, sizeof digest);
}

/* False: nobody who is known here. */
static bool find_role(const struct gateway *g, const char *token, enum role *role)
{
    *role = ROLE_ADMIN;
    return token && is_admin_token(&g->admin_token, token);
}

struct status caller_require(struct http_call *call, enum role role)
{
    const struct gateway *g = http_service(call);
    const char *token = bearer(call);
    enum role has;

    if (find_role(g, token, &has) && has >= role)
        return status_ok();
    if (!g->admin_token.set)
        return status_errorf(ST_DENIED, "changes are off here: start the gateway with BLOGINFER_ADMIN_TOKEN or "
                                        "--admin-token-file, and send that token as Authorization: Bearer");
    http_set_header(call, "WWW-Authenticate", token ? "Bearer error=\"invalid_token\"" : "Bearer");
    return status_errorf(ST_UNAUTHENTICATED, token ? "the token is not an admin's"
                                                   : "this needs an admin: send Authorization: Bearer TOKEN");
}
