/* route.c - see route.h. Patterns are matched segment by segment against the decoded path: no segment of it holds a
 * '/', so that the two can be walked side by side. The first route of the table that fits wins. */
#include "http/route.h"

#include <assert.h>
#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Bytes of the UTF-8 sequence at p, 0 when it is not one. Limits: table 3-7 of the Unicode standard. */
static size_t utf8_size(const unsigned char *p, size_t left)
{
    static const struct {
        unsigned char first, last, second_min, second_max, size;
    } forms[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        if (p[0] < forms[i].first || p[0] > forms[i].last)
            continue;
        if (left < forms[i].size || p[1] < forms[i].second_min || p[1] > forms[i].second_max)
            return 0;
        for (size_t k = 2; k < forms[i].size; k++)
            if ((p[k] & 0xc0) != 0x80)
                return 0;
        return forms[i].size;
    }
    return 0;
}

bool route_text_valid(const char *text, size_t size)
{
    const unsigned char *p = (const unsigned char *)text;

    for (size_t i = 0; i < size;) {
        size_t n = 1;

        if (p[i] < 0x20 || p[i] == 0x7f)
            return false;
        if (p[i] >= 0x80)
            n = utf8_size(p + i, size - i);
        if (!n)
            return false;
        i += n;
    }
    return true;
}

char *route_decode(const char *in, size_t size, bool plus, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < size; i++) {
        char c = in[i];

        if (c == '%') {
            int high = i + 2 < size ? hex_digit(in[i + 1]) : -1;
            int low = i + 2 < size ? hex_digit(in[i + 2]) : -1;

            if (high < 0 || low < 0)
                return NULL;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        out[n++] = c;
    }
    out[n] = '\0';
    return route_text_valid(out, n) ? out : NULL;
}

struct status route_path(const char *raw, char *out)
{
    if (raw[0] != '/')
        return status_errorf(ST_INVALID, "path: it has to start with /");
    while (*raw == '/') {
        size_t size = strcspn(++raw, "/");

        *out++ = '/';
        if (!route_decode(raw, size, false, out))
            return status_errorf(ST_INVALID, "path: a bad escape, or not UTF-8");
        if (strchr(out, '/') || !strcmp(out, ".") || !strcmp(out, ".."))
            return status_errorf(ST_NOT_FOUND, "there is nothing at this path");
        out += strlen(out);
        raw += size;
    }
    return status_ok();
}

static bool add_param(struct route_match *m, const char *name, size_t name_size, const char *value, size_t size,
                      struct arena *arena)
{
    char *copy = arena_alloc(arena, size + 1);

    if (!copy)
        return false;
    memcpy(copy, value, size);
    copy[size] = '\0';
    m->params[m->n_params++] = (struct route_param){name, name_size, copy};
    return true;
}

/* 1: it matches, 0: it does not, -1: no room. */
static int match(struct route_match *m, const char *pattern, const char *path, struct arena *arena)
{
    m->n_params = 0;
    while (*pattern == '/' && *path == '/') {
        size_t p = strcspn(++pattern, "/"), s = strcspn(++path, "/");

        if (!strcmp(pattern, "*"))
            return !*path ? 0 : add_param(m, pattern, 1, path, strlen(path), arena) ? 1 : -1;
        if (pattern[0] == '{') {
            if (!s)
                return 0;
            if (!add_param(m, pattern + 1, p - 2, path, s, arena))
                return -1;
        } else if (p != s || memcmp(pattern, path, p) != 0) {
            return 0;
        }
        pattern += p;
        path += s;
    }
    return !*pattern && !*path;
}

bool route_find(struct route_match *m, const struct http_route *routes, size_t n, const char *verb, const char *path,
                struct arena *arena)
{
    const char *wanted = strcmp(verb, "HEAD") ? verb : "GET";

    *m = (struct route_match){.route = NULL};
    for (size_t i = 0; i < n; i++) {
        int found = match(m, routes[i].path, path, arena);

        if (found < 0)
            return false;
        if (!found)
            continue;
        m->path_known = true;
        if (!strcmp(routes[i].verb, wanted)) {
            m->route = &routes[i];
            return true;
        }
    }
    return true;
}

static bool verb_seen(const struct http_route *routes, size_t n, const char *path, const char *verb)
{
    struct route_match m;
    struct arena arena;
    bool seen;

    arena_init(&arena, 32 << 10); /* more than a request line */
    seen = route_find(&m, routes, n, verb, path, &arena) && m.route;
    arena_fini(&arena);
    return seen;
}

void route_allow(struct buf *out, const struct http_route *routes, size_t n, const char *path)
{
    static const char *const verbs[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};

    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        if (verb_seen(routes, n, path, verbs[i]))
            buf_printf(out, "%s%s%s", out->size ? ", " : "", verbs[i], i ? "" : ", HEAD");
}

const char *route_query(const char *query, const char *name, struct arena *arena)
{
    while (query && *query) {
        size_t size = strcspn(query, "&");
        const char *equals = memchr(query, '=', size);
        size_t key = equals ? (size_t)(equals - query) : size;
        size_t value = equals ? size - key - 1 : 0;
        char *out = arena_alloc(arena, size + 1);

        if (!out)
            return NULL;
        if (route_decode(query, key, true, out) && !strcmp(out, name))
            return route_decode(equals ? equals + 1 : query + size, value, true, out);
        query += size + (query[size] == '&');
    }
    return NULL;
}

void route_check(const struct http_route *route)
{
    size_t n_params = 0;

    assert(route->path[0] == '/' && route->handler);
    for (const char *p = route->path; (p = strchr(p, '/')); p++) {
        size_t size = strcspn(p + 1, "/");

        if (p[1] == '{') {
            assert(size > 2 && p[size] == '}');
            n_params++;
        } else if (p[1] == '*') {
            assert(!p[2]);
            n_params++;
        }
    }
    assert(n_params <= ROUTE_MAX_PARAMS);
    (void)n_params;
}
