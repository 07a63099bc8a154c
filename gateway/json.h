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

/* A string of at most max_bytes bytes, without NUL. *out: borrowed from the object. Absent: ST_INVALID when it is
 * required, else *out is NULL. */
struct status json_text(const json_t *object, const char *name, size_t max_bytes, bool required, const char **out);

/* A number within min..max; absent: preset. */
struct status json_number(const json_t *object, const char *name, double min, double max, double preset, double *out);

/* A real, rounded to that many decimals; NaN and infinities are null. */
json_t *json_rounded(double value, int decimals);

/* Answers with body, compactly, and gives it back. */
void json_reply(struct http_call *call, int http_code, json_t *body);

#endif
