/* route.h - paths and queries of requests: decoding them strictly, and finding the route. Knows no civetweb; private
 * to lib/http. What arrives is hostile until it has been through here. */
#ifndef HTTP_ROUTE_H
#define HTTP_ROUTE_H

#include "http/http.h"

#define ROUTE_MAX_PARAMS 4

/* A value of {name} or "*" as found in a path. */
struct route_param {
    const char *name; /* in the pattern; name_size bytes */
    size_t name_size;
    char *value;
};

struct route_match {
    const struct http_route *route; /* NULL: none */
    bool path_known;                /* another verb has this path */
    struct route_param params[ROUTE_MAX_PARAMS];
    size_t n_params;
};

/* True when text is UTF-8 without NUL, controls, surrogates and overlong forms. */
bool route_text_valid(const char *text, size_t size);

/* Percent-decodes into out (size + 1 bytes); plus: '+' is a space. NULL on a bad escape or invalid text. */
char *route_decode(const char *in, size_t size, bool plus, char *out);

/* The path of a request, decoded segment by segment into out (strlen(raw) + 1 bytes). ST_INVALID: no leading '/',
 * a bad escape or invalid text. ST_NOT_FOUND: a segment with an encoded '/', or "." or "..": no route has such. */
struct status route_path(const char *raw, char *out);

/* Finds verb (HEAD counts as GET) and path. The parameters are copied into arena; false when it is full. */
bool route_find(struct route_match *m, const struct http_route *routes, size_t n, const char *verb, const char *path,
                struct arena *arena);

/* "GET, HEAD, POST": the verbs of a path. */
void route_allow(struct buf *out, const struct http_route *routes, size_t n, const char *path);

/* The first value of name in a query string, decoded into arena; NULL: absent, not valid or no room. */
const char *route_query(const char *query, const char *name, struct arena *arena);

/* A pattern that route_find() can match; asserts otherwise. */
void route_check(const struct http_route *route);

#endif
