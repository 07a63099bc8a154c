/* verdict.c - see verdict.h. */
#include "verdict.h"

#include <jansson.h>
#include <string.h>

const char *verdict_name(enum verdict v)
{
    static const char *const names[N_VERDICTS] = {"ok",        "connect", "closed", "timeout",
                                                  "malformed", "http",    "body",   "wrong_id"};

    return (unsigned)v < N_VERDICTS ? names[v] : "unknown";
}

static bool is_object_found(const json_t *o)
{
    return json_is_string(json_object_get(o, "label")) && json_is_number(json_object_get(o, "accuracy")) &&
           json_is_object(json_object_get(o, "rectangle"));
}

static enum verdict judge(const json_t *in, const char *id, bool id_optional, uint32_t *n_objects)
{
    const json_t *objects = json_object_get(in, "objects"), *told = json_object_get(in, "id");
    bool absent = !told || (json_is_string(told) && !json_string_length(told));

    if (!json_is_array(objects) || (!absent && !json_is_string(told)))
        return VERDICT_BODY;
    if (absent ? !id_optional : strcmp(json_string_value(told), id) != 0)
        return VERDICT_ID;
    for (size_t i = 0; i < json_array_size(objects); i++)
        if (!is_object_found(json_array_get(objects, i)))
            return VERDICT_BODY;
    *n_objects = (uint32_t)json_array_size(objects);
    return VERDICT_OK;
}

enum verdict verdict_of(const struct answer *a, const char *id, bool id_optional, uint32_t *n_objects)
{
    *n_objects = 0;
    if (a->code != 200)
        return VERDICT_HTTP;
    json_t *in = a->body.size ? json_loadb(a->body.data, a->body.size, 0, NULL) : NULL;
    enum verdict v = judge(in, id, id_optional, n_objects);
    json_decref(in);
    return v;
}
