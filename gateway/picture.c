/* picture.c - see picture.h. Nothing of the picture is copied: base64 is decoded where it stands. */
#include "picture.h"

#include "base64.h"
#include "json.h"
#include "multipart.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_ID       256
#define MAX_MODEL    128
#define MAX_DATA_URL 64    /* "data:image/jpeg;base64," and the like */
#define MIN_SHOWN    0.001 /* least threshold */

static bool is_text(const char *text, size_t size)
{
    json_t *valid = json_stringn(text, size);
    bool ok = valid && !memchr(text, '\0', size);

    json_decref(valid);
    return ok;
}

static struct status copy_text(struct http_call *call, const char *name, const char *text, size_t size, size_t max,
                               const char **out)
{
    if (size > max)
        return status_errorf(ST_INVALID, "\"%s\" is over the limit of %zu bytes", name, max);
    if (!is_text(text, size))
        return status_errorf(ST_INVALID, "\"%s\" has to be UTF-8 without NUL", name);
    *out = arena_printf(http_arena(call), "%.*s", (int)size, text);
    return *out ? status_ok() : status_errorf(ST_EXHAUSTED, "\"%s\" does not fit in memory", name);
}

static struct status read_threshold(const char *text, double *out)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end || !(value >= MIN_SHOWN && value <= 1))
        return status_errorf(ST_INVALID, "\"threshold\" has to be %g to 1", MIN_SHOWN);
    *out = value;
    return status_ok();
}

static struct status read_flag(const char *text, bool *out)
{
    bool yes = !strcmp(text, "true") || !strcmp(text, "1");

    if (!yes && strcmp(text, "false") != 0 && strcmp(text, "0") != 0)
        return status_errorf(ST_INVALID, "\"timing\" has to be true or false");
    *out = yes;
    return status_ok();
}

/* A field of a form or the query; those that are not known are left alone. */
static struct status take_field(struct http_call *call, const char *name, const char *text, size_t size,
                                struct picture *out)
{
    const char *value;
    struct status st;

    if (!strcmp(name, "id"))
        return copy_text(call, name, text, size, MAX_ID, &out->id);
    if (!strcmp(name, "model"))
        return copy_text(call, name, text, size, MAX_MODEL, &out->model);
    if (strcmp(name, "threshold") != 0 && strcmp(name, "timing") != 0)
        return status_ok();
    st = copy_text(call, name, text, size, 32, &value);
    if (st.code)
        return st;
    return *name == 't' && name[1] == 'h' ? read_threshold(value, &out->threshold) : read_flag(value, &out->timing);
}

static struct status read_query(struct http_call *call, struct picture *out)
{
    static const char *const names[] = {"id", "model", "threshold", "timing"};
    struct status st = status_ok();

    for (size_t i = 0; i < COUNT_OF(names) && !st.code; i++) {
        const char *value = http_query(call, names[i]);

        if (value)
            st = take_field(call, names[i], value, strlen(value), out);
    }
    return st;
}

/* ---- a form ---- */

static struct status read_form(struct http_call *call, const char *type, char *body, size_t size, struct picture *out)
{
    struct multipart_part part;
    struct multipart m;
    struct status st = multipart_init(&m, type, body, size);

    while (!st.code && !(st = multipart_next(&m, &part)).code && part.data) {
        if (strcmp(part.name, "image") != 0 && strcmp(part.name, "file") != 0) {
            st = take_field(call, part.name, part.data, part.size, out);
            continue;
        }
        if (out->data)
            return status_errorf(ST_INVALID, "the form has more than one picture");
        out->data = (uint8_t *)part.data;
        out->size = part.size;
    }
    if (!st.code && !out->data)
        st = status_errorf(ST_INVALID, "the form has no part \"image\"");
    return st;
}

/* ---- JSON ---- */

/* Behind "data:...;base64,", which browsers put before it. */
static void skip_data_url(struct json_span *text)
{
    static const char mark[] = ";base64,";
    size_t n = text->size < MAX_DATA_URL ? text->size : MAX_DATA_URL;
    char *at = n > 5 && !memcmp(text->at, "data:", 5) ? memmem(text->at, n, mark, sizeof mark - 1) : NULL;

    if (!at)
        return;
    at += sizeof mark - 1;
    *text = (struct json_span){at, text->size - (size_t)(at - text->at)};
}

static struct status decode(struct json_span text, struct picture *out)
{
    skip_data_url(&text);
    out->data = (uint8_t *)text.at;
    return status_prefix(base64_decode(text.at, text.size, out->data, &out->size), "\"image\"");
}

static struct status read_fields(struct http_call *call, const json_t *in, struct picture *out)
{
    const char *id, *model;
    struct status st = json_text(in, "id", MAX_ID, !out->id, &id);

    if (!st.code)
        st = json_text(in, "model", MAX_MODEL, false, &model);
    if (!st.code)
        st = json_number(in, "threshold", MIN_SHOWN, 1, out->threshold, &out->threshold);
    if (!st.code)
        st = json_flag(in, "timing", &out->timing);
    if (!st.code && id)
        st = copy_text(call, "id", id, strlen(id), MAX_ID, &out->id);
    if (!st.code && model)
        st = copy_text(call, "model", model, strlen(model), MAX_MODEL, &out->model);
    return st;
}

static struct status read_json(struct http_call *call, char *body, size_t size, struct picture *out)
{
    struct json_span text = {body, size}, image;
    struct status st = json_cut(&text, "image", http_arena(call), &image);
    const char *other;
    json_t *in = NULL;

    if (!st.code)
        st = json_parse(text.at, text.size, &in);
    if (!st.code)
        st = read_fields(call, in, out);
    if (!st.code)
        st = json_text(in, "image", SIZE_MAX, true, &other);
    if (!st.code && !image.at)
        st = status_errorf(ST_INVALID, "\"image\": its name has to be written without escapes");
    if (!st.code)
        st = decode(image, out);
    json_decref(in);
    return st;
}

/* ---- which of them ---- */

static bool starts(const char *text, const char *with)
{
    return !strncasecmp(text, with, strlen(with));
}

/* By its first bytes, none of which begins JSON: curl --data-binary says that a file is a form. */
static bool is_file(const char *body, size_t size)
{
    return (size >= 3 && !memcmp(body, "\xff\xd8\xff", 3)) || (size >= 4 && !memcmp(body, "\x89PNG", 4)) ||
           (size >= 4 && !memcmp(body, "GIF8", 4)) || (size >= 4 && !memcmp(body, "RIFF", 4));
}

static struct status read_any(struct http_call *call, struct picture *out)
{
    const char *type = http_header(call, "Content-Type");
    size_t size;
    char *body = http_own_body(call, &size);

    type = type ? type : "";
    if (starts(type, "multipart/form-data"))
        return read_form(call, type, body, size, out);
    if (!starts(type, "image/") && !starts(type, "application/octet-stream") && !is_file(body, size))
        return read_json(call, body, size, out);
    out->data = (uint8_t *)body;
    out->size = size;
    return status_ok();
}

struct status picture_read(struct http_call *call, size_t max_bytes, struct picture *out)
{
    struct status st;

    *out = (struct picture){NULL};
    st = read_query(call, out);
    if (!st.code)
        st = read_any(call, out);
    if (!st.code && !out->id)
        out->id = http_request_id(call);
    if (!st.code && !out->size)
        return status_errorf(ST_INVALID, "\"image\" is empty");
    if (!st.code && out->size > max_bytes) {
        out->data = NULL;
        http_reply_error(call, 413, "the picture is over the limit of this gateway", "RESOURCE_EXHAUSTED");
    }
    return st;
}
