/* values.c - numbers and times become text, so that the server decides by the SQL which type they are of. */
#include "pg/values.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void write_time(char *out, int64_t wall)
{
    int64_t us = wall / 1000 - (wall % 1000 < 0), s = us / 1000000 - (us % 1000000 < 0);
    time_t seconds = (time_t)s;
    char stamp[24];
    struct tm tm;

    gmtime_r(&seconds, &tm); /* 64 bits of nanoseconds: the years 1677 to 2262 */
    strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", &tm);
    snprintf(out, VALUES_TEXT_SIZE, "%s.%06d+00", stamp, (int)(us - s * 1000000));
}

static struct status set_text(struct values *v, int i, const struct pg_value *from, const char *statement)
{
    if (!from->data)
        return status_ok();
    if (from->size == SIZE_MAX) {
        v->data[i] = from->data;
        return status_ok();
    }
    if (memchr(from->data, '\0', from->size))
        return status_errorf(ST_INVALID, "%s: text $%d has a NUL in it", statement, i + 1);
    char *copy = arena_alloc(&v->copies, from->size + 1); /* libpq wants it terminated */
    if (!copy)
        return status_errorf(ST_INVALID, "%s: values of over %zu bytes", statement, PG_MAX_BYTES);
    memcpy(copy, from->data, from->size);
    copy[from->size] = '\0';
    v->data[i] = copy;
    return status_ok();
}

static struct status set_value(struct values *v, int i, const struct pg_value *from, const char *statement)
{
    switch (from->kind) {
    case PG_KIND_NULL:
        return status_ok();
    case PG_KIND_INT:
        snprintf(v->numbers[i], VALUES_TEXT_SIZE, "%lld", (long long)from->i);
        break;
    case PG_KIND_FLOAT:
        snprintf(v->numbers[i], VALUES_TEXT_SIZE, "%.17g", from->f);
        break;
    case PG_KIND_BOOL:
        v->data[i] = from->i ? "t" : "f";
        return status_ok();
    case PG_KIND_TIME:
        write_time(v->numbers[i], from->i);
        break;
    case PG_KIND_TEXT:
        return set_text(v, i, from, statement);
    case PG_KIND_BYTES:
        v->data[i] = from->data;
        v->sizes[i] = (int)from->size;
        v->formats[i] = 1;
        return status_ok();
    }
    v->data[i] = v->numbers[i];
    return status_ok();
}

static size_t bytes_of(const struct pg_value *value)
{
    if (value->kind != PG_KIND_TEXT && value->kind != PG_KIND_BYTES)
        return 0;
    return value->size != SIZE_MAX ? value->size : value->data ? strlen(value->data) : 0;
}

struct status values_init(struct values *v, const struct pg_value *from, size_t n, const char *statement)
{
    struct status st = status_ok();
    size_t left = PG_MAX_BYTES;

    assert(n <= PG_MAX_VALUES);
    v->n = (int)n;
    memset(v->data, 0, sizeof v->data);
    memset(v->formats, 0, sizeof v->formats);
    arena_init(&v->copies, PG_MAX_BYTES + PG_MAX_VALUES);
    for (size_t i = 0; i < n && !st.code; i++) {
        size_t size = bytes_of(&from[i]);

        if (size > left)
            return status_errorf(ST_INVALID, "%s: values of over %zu bytes", statement, PG_MAX_BYTES);
        left -= size;
        st = set_value(v, (int)i, &from[i], statement);
    }
    return st;
}

void values_fini(struct values *v)
{
    arena_fini(&v->copies);
}
