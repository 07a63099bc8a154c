/* json.h - JSON of requests and answers, on jansson: strict parsing, and fields with the errors that a caller can act
 * on. Every error is ST_INVALID and names the field. */
#ifndef GATEWAY_JSON_H
#define GATEWAY_JSON_H

#include "http/http.h"

#include <jansson.h>

#define JSON_MAX_DEPTH  16
#define JSON_MAX_VALUES 4096

/* One JSON object, UTF-8, without a name twice, at most JSON_MAX_DEPTH deep and of at most JSON_MAX_VALUES values; or a
 * string that holds one, because clients exist that encode twice. *out: the caller's, to json_decref(). */
struct status json_parse(const char *text, size_t size, json_t **out);

struct json_span {
    char *at; /* size bytes, and a NUL behind them where it is a whole text */
    size_t size;
};

/* Takes the string of one member out of the text of an object (or of a string that holds one) before it is parsed: *value lies
 * where it lay, of escapes only those undone that base64 may be written with, without a NUL; *text becomes a copy in
 * the arena that has "" there. value->at NULL: there is no such string, and json_parse() will say why. */
struct status json_cut(struct json_span *text, const char *name, struct arena *arena, struct json_span *value);

/* A text that is one string becomes what the string holds, in place. */
struct status json_unwrap(struct json_span *text);

/* A string of at most max_bytes bytes, without NUL. *out: borrowed from the object. Absent: ST_INVALID when it is
 * required, else *out is NULL. */
struct status json_text(const json_t *object, const char *name, size_t max_bytes, bool required, const char **out);

/* A number within min..max; absent: preset. */
struct status json_number(const json_t *object, const char *name, double min, double max, double preset, double *out);

/* true or false; absent: *out stays. */
struct status json_flag(const json_t *object, const char *name, bool *out);

/* A real, rounded to that many decimals; NaN and infinities are null. */
json_t *json_rounded(double value, int decimals);

/* Answers with body, compactly, and gives it back. */
void json_reply(struct http_call *call, int http_code, json_t *body);

#endif
