/* json.c - see json.h. Depth and number of values are checked before jansson sees the text: it recurses once a level, up
 * to 2,048, and takes some 200 bytes for a value that may be two bytes of text. */
#include "json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SHORT_ANSWER 512 /* bytes that are written without allocating */

/* Brackets and commas outside of strings; what is not JSON is jansson's to find. */
static struct status check_shape(const char *text, size_t size)
{
    size_t depth = 0, n = 1; /* values at most */
    bool in_string = false;

    for (size_t i = 0; i < size; i++) {
        char c = text[i];

        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (in_string)
            continue;
        else if ((c == '{' || c == '[' || c == ',') && ++n > JSON_MAX_VALUES)
            return status_errorf(ST_INVALID, "JSON: more than %d values", JSON_MAX_VALUES);
        else if ((c == '{' || c == '[') && ++depth > JSON_MAX_DEPTH)
            return status_errorf(ST_INVALID, "JSON: nested more than %d levels deep", JSON_MAX_DEPTH);
        else if ((c == '}' || c == ']') && depth)
            depth--;
    }
    return status_ok();
}

static struct status parse_any(const char *text, size_t size, json_t **out)
{
    struct status st = check_shape(text, size);
    json_error_t error;

    *out = NULL;
    if (!size)
        return status_errorf(ST_INVALID, "the body is empty: it has to be a JSON object");
    if (st.code)
        return st;
    *out = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!*out)
        return status_errorf(ST_INVALID, "JSON: line %d, column %d: %s", error.line, error.column, error.text);
    return status_ok();
}

struct status json_unwrap(struct json_span *text)
{
    struct status st = status_ok();
    json_t *outer = NULL;

    if (text->at[strspn(text->at, " \t\r\n")] != '"')
        return st;
    st = parse_any(text->at, text->size, &outer);
    if (!st.code) { /* a string: nothing else begins so. It is shorter than its JSON */
        text->size = json_string_length(outer);
        memcpy(text->at, json_string_value(outer), text->size + 1);
    }
    json_decref(outer);
    return st;
}

struct status json_parse(const char *text, size_t size, json_t **out)
{
    struct status st = parse_any(text, size, out);

    if (!st.code && json_is_string(*out)) {
        json_t *outer = *out;

        st = parse_any(json_string_value(outer), json_string_length(outer), out);
        json_decref(outer);
    }
    if (!st.code && !json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        st = status_errorf(ST_INVALID, "the body has to be a JSON object");
    }
    return st;
}

struct status json_text(const json_t *object, const char *name, size_t max_bytes, bool required, const char **out)
{
    const json_t *field = json_object_get(object, name);

    *out = NULL;
    if (!field && required)
        return status_errorf(ST_INVALID, "\"%s\" is missing", name);
    if (!field)
        return status_ok();
    if (!json_is_string(field))
        return status_errorf(ST_INVALID, "\"%s\" has to be a string", name);
    if (json_string_length(field) > max_bytes)
        return status_errorf(ST_INVALID, "\"%s\" is over the limit of %zu bytes", name, max_bytes);
    *out = json_string_value(field);
    return status_ok();
}

struct status json_number(const json_t *object, const char *name, double min, double max, double preset, double *out)
{
    const json_t *field = json_object_get(object, name);

    *out = preset;
    if (!field)
        return status_ok();
    if (!json_is_number(field))
        return status_errorf(ST_INVALID, "\"%s\" has to be a number", name);
    *out = json_number_value(field);
    if (!(*out >= min && *out <= max))
        return status_errorf(ST_INVALID, "\"%s\" has to be %g to %g", name, min, max);
    return status_ok();
}

struct status json_flag(const json_t *object, const char *name, bool *out)
{
    const json_t *field = json_object_get(object, name);

    if (field && !json_is_boolean(field))
        return status_errorf(ST_INVALID, "\"%s\" has to be true or false", name);
    *out = field ? json_is_true(field) : *out;
    return status_ok();
}

json_t *json_rounded(double value, int decimals)
{
    double scale = pow(10, decimals);

    return isfinite(value) ? json_real(round(value * scale) / scale) : json_null();
}

void json_reply(struct http_call *call, int http_code, json_t *body)
{
    const size_t flags = JSON_COMPACT | JSON_REAL_PRECISION(9);
    char few[SHORT_ANSWER], *text = NULL;
    size_t size = json_dumpb(body, few, sizeof few, flags);

    if (size > sizeof few)
        text = json_dumps(body, flags);
    if (text)
        http_reply(call, http_code, "application/json", text, strlen(text));
    else if (size && size <= sizeof few)
        http_reply(call, http_code, "application/json", few, size);
    free(text);
    json_decref(body);
}
