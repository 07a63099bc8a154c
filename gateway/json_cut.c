/* json_cut.c - json_cut() of json.h. A picture in base64 is nearly all of its request: jansson would copy it, byte by byte,
 * and hold the copy as long as the object. So it is found here by a walk over the object's own members, which knows strings
 * and brackets and nothing else; whether all of it is JSON is for jansson to say, about what is left. */
#include "json.h"

#include <ctype.h>
#include <string.h>

static char *skip_space(char *at)
{
    return at + strspn(at, " \t\r\n");
}

/* at: the opening quote. Behind the closing one; NULL: there is none. */
static char *skip_string(char *at)
{
    for (char *end = strchr(at + 1, '"'); end; end = strchr(end + 1, '"')) {
        size_t n = 0;

        while (end[-1 - (ptrdiff_t)n] == '\\') /* ends at the latest at the opening quote */
            n++;
        if (n % 2 == 0)
            return end + 1;
    }
    return NULL;
}

/* Behind a value: at the comma or bracket that ends it, NULL: the text ends first. */
static char *skip_value(char *at)
{
    size_t depth = 0;

    while (at && *at && (depth || (*at != ',' && *at != '}'))) {
        if (*at == '"') {
            at = skip_string(at);
            continue;
        }
        depth += *at == '{' || *at == '[';
        depth -= depth && (*at == '}' || *at == ']');
        at++;
    }
    return at && *at ? at : NULL;
}

/* The opening quote of the string that the member is; NULL: there is no such. */
static char *find_string(char *at, const char *name)
{
    size_t n = strlen(name);

    at = skip_space(at);
    if (*at != '{')
        return NULL;
    do {
        char *key = skip_space(at + 1);
        bool found = *key == '"' && !strncmp(key + 1, name, n) && key[n + 1] == '"';

        at = *key == '"' ? skip_string(key) : NULL;
        at = at ? skip_space(at) : NULL;
        if (!at || *at != ':')
            return NULL;
        at = skip_space(at + 1);
        if (found)
            return *at == '"' ? at : NULL;
        at = skip_value(at);
    } while (at && *at == ',');
    return NULL;
}

/* Of the escapes only those that writers of JSON use for characters of base64: "\/" and "\u002B". */
static size_t unescape(char *text, size_t size)
{
    char *to = memchr(text, '\\', size), *end = text + size;

    for (char *at = to; at && at < end; at++) {
        if (*at == '\\' && end - at >= 2 && at[1] == '/') {
            at++;
        } else if (end - at >= 6 && !memcmp(at, "\\u00", 4) && isxdigit((unsigned char)at[4]) &&
                   isxdigit((unsigned char)at[5])) {
            char digits[3] = {at[4], at[5], '\0'};

            at += 5;
            *at = (char)strtol(digits, NULL, 16);
        }
        *to++ = *at;
    }
    return to ? (size_t)(to - text) : size;
}

struct status json_cut(struct json_span *text, const char *name, struct arena *arena, struct json_span *value)
{
    struct status st = json_unwrap(text);
    char *from = st.code ? NULL : find_string(text->at, name);
    char *end = from ? skip_string(from) : NULL, *rest;
    size_t before;

    *value = (struct json_span){NULL, 0};
    if (!end)
        return st;
    before = (size_t)(from + 1 - text->at);
    *value = (struct json_span){from + 1, (size_t)(end - 1 - (from + 1))};
    rest = arena_alloc(arena, text->size - value->size + 1);
    if (!rest)
        return status_errorf(ST_EXHAUSTED, "the body does not fit in memory");
    memcpy(rest, text->at, before);
    memcpy(rest + before, end - 1, text->size - before - value->size);
    *text = (struct json_span){rest, text->size - value->size};
    rest[text->size] = '\0';
    value->size = unescape(value->at, value->size);
    return st;
}
