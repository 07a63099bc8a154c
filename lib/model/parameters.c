/* parameters.c - see parameters.h. One table says what there is; reading, checking and writing follow it. */
#include "model/parameters.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct member {
    const char *name;
    size_t offset;
    bool whole; /* uint32_t, else double */
    double preset, min, max;
} members[] = {
    {"threshold", offsetof(struct model_parameters, threshold), false, 0.5, 0, 1},
    {"max_batch", offsetof(struct model_parameters, max_batch), true, 32, 1, 256},
    {"max_queue_delay_us", offsetof(struct model_parameters, max_queue_delay_us), true, 0, 0, 100000},
    {"canary_percent", offsetof(struct model_parameters, canary_percent), false, 0, 0, 100},
    {"shadow_percent", offsetof(struct model_parameters, shadow_percent), false, 0, 0, 100},
};

static double member_get(const struct model_parameters *p, const struct member *m)
{
    const char *at = (const char *)p + m->offset;

    return m->whole ? *(const uint32_t *)at : *(const double *)at;
}

static void member_set(struct model_parameters *p, const struct member *m, double value)
{
    char *at = (char *)p + m->offset;

    if (m->whole)
        *(uint32_t *)at = (uint32_t)value;
    else
        *(double *)at = value;
}

static struct status member_check(const struct member *m, double value)
{
    if (!(value >= m->min && value <= m->max)) /* NaN is in no range */
        return status_errorf(ST_INVALID, "%s: %g, must be %g to %g", m->name, value, m->min, m->max);
    if (m->whole && value != floor(value))
        return status_errorf(ST_INVALID, "%s: %g, must be a whole number", m->name, value);
    return status_ok();
}

struct model_parameters model_parameters_default(void)
{
    struct model_parameters p;

    for (size_t i = 0; i < COUNT_OF(members); i++)
        member_set(&p, &members[i], members[i].preset);
    return p;
}

struct status model_parameters_check(const struct model_parameters *p)
{
    struct status st = status_ok();

    for (size_t i = 0; i < COUNT_OF(members) && !st.code; i++)
        st = member_check(&members[i], member_get(p, &members[i]));
    return st;
}

bool model_parameters_equal(const struct model_parameters *a, const struct model_parameters *b)
{
    for (size_t i = 0; i < COUNT_OF(members); i++)
        if (member_get(a, &members[i]) != member_get(b, &members[i]))
            return false;
    return true;
}

/* ---- by name ---- */

static const struct member *member_find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(members); i++)
        if (strcmp(members[i].name, name) == 0)
            return &members[i];
    return NULL;
}

static struct status member_unknown(const char *name)
{
    struct buf list = BUF_INIT(STATUS_MSG_SIZE);

    for (size_t i = 0; i < COUNT_OF(members); i++)
        buf_printf(&list, "%s%s", i ? ", " : "", members[i].name);
    struct status st = status_errorf(ST_INVALID, "%.40s: there are %s", name, list.data);
    buf_fini(&list);
    return st;
}

struct status model_parameters_set(struct model_parameters *p, const char *name, double value)
{
    const struct member *m = member_find(name);
    struct status st = m ? member_check(m, value) : member_unknown(name);

    if (m && !st.code)
        member_set(p, m, value);
    return st;
}

struct status model_parameters_copy(struct model_parameters *to, const struct model_parameters *from, const char *name)
{
    const struct member *m = member_find(name);

    return m ? model_parameters_set(to, name, member_get(from, m)) : member_unknown(name);
}

/* ---- JSON ---- */

struct status model_parameters_parse(struct model_parameters *out, const char *text, size_t size)
{
    struct model_parameters p = model_parameters_default();
    struct status st = status_ok();
    json_error_t error;
    const char *name;
    json_t *value;

    if (size > PARAMETERS_MAX_BYTES)
        return status_errorf(ST_DATA_LOSS, "%s has over %d bytes", PARAMETERS_FILE, PARAMETERS_MAX_BYTES);
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(root)) {
        json_decref(root);
        return status_errorf(ST_DATA_LOSS, "%s is not a JSON object", PARAMETERS_FILE);
    }
    json_object_foreach(root, name, value)
    {
        if (!st.code && !json_is_number(value))
            st = status_errorf(ST_INVALID, "%.40s: not a number", name);
        else if (!st.code)
            st = model_parameters_set(&p, name, json_number_value(value));
    }
    json_decref(root);
    if (st.code)
        return status_errorf(ST_DATA_LOSS, "%s: %.160s", PARAMETERS_FILE, st.msg);
    *out = p;
    return st;
}

char *model_parameters_format(const struct model_parameters *p)
{
    struct buf text = BUF_INIT(PARAMETERS_MAX_BYTES);

    for (size_t i = 0; i < COUNT_OF(members); i++)
        buf_printf(&text, "%s\"%s\": %.17g", i ? ", " : "{", members[i].name, member_get(p, &members[i]));
    buf_puts(&text, "}\n");
    return buf_take(&text);
}
