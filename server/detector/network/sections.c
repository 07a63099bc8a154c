/* sections.c - one copy of the text, cut in place. */
#include "sections.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char *trim(char *s)
{
    s += strspn(s, " \t\r");
    size_t n = strlen(s);
    while (n > 0 && strchr(" \t\r", s[n - 1]))
        s[--n] = 0;
    return s;
}

static struct status open_section(struct sections *out, char *line, int number)
{
    size_t n = strlen(line);
    struct section *s;

    if (n < 3 || line[n - 1] != ']')
        return status_errorf(ST_INVALID, "line %d: a section is written [name]", number);
    if (!(s = vec_push(&out->list)))
        return status_errorf(ST_INVALID, "line %d: more than %d sections", number, SECTIONS_MAX);
    line[n - 1] = 0;
    s->name = line + 1;
    s->line = number;
    return status_ok();
}

static struct status add_key(struct sections *out, char *line, int number)
{
    char *equals = strchr(line, '=');

    if (!equals)
        return status_errorf(ST_INVALID, "line %d: neither a [section] nor key=value", number);
    if (out->list.n == 0)
        return status_errorf(ST_INVALID, "line %d: a key before the first [section]", number);
    struct section *s = VEC_AT(&out->list, struct section, out->list.n - 1);
    *equals = 0;
    char *name = trim(line), *value = trim(equals + 1);
    if (!*name || !*value)
        return status_errorf(ST_INVALID, "line %d: a key or its value is empty", number);
    for (size_t i = 0; i < s->n_keys; i++)
        if (strcmp(s->keys[i].name, name) == 0)
            return status_errorf(ST_INVALID, "line %d: %.40s stands in line %d, too", number, name, s->keys[i].line);
    if (s->n_keys == SECTIONS_MAX_KEYS)
        return status_errorf(ST_INVALID, "line %d: more than %d keys in one section", number, SECTIONS_MAX_KEYS);
    s->keys[s->n_keys++] = (struct section_key){name, value, number, false};
    return status_ok();
}

static struct status parse_line(struct sections *out, char *line, int number)
{
    for (const char *p = line; *p; p++)
        if ((unsigned char)*p < ' ' && *p != '\t' && *p != '\r')
            return status_errorf(ST_INVALID, "line %d: not text", number);
    line = trim(line);
    if (*line == 0 || *line == '#' || *line == ';')
        return status_ok();
    return *line == '[' ? open_section(out, line, number) : add_key(out, line, number);
}

struct status sections_parse(struct sections *out, const char *text, size_t size)
{
    struct status st = status_ok();
    int number = 1;

    *out = (struct sections){NULL, VEC_INIT(sizeof(struct section), SECTIONS_MAX)};
    if (size > SECTIONS_MAX_BYTES)
        return status_errorf(ST_INVALID, "it has %zu bytes, at most %zu are taken", size, SECTIONS_MAX_BYTES);
    if (memchr(text, 0, size))
        return status_errorf(ST_INVALID, "it is not text");
    out->text = xstrndup(text, size);
    for (char *line = out->text, *next; line && !st.code; line = next, number++) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        st = parse_line(out, line, number);
    }
    if (!st.code && out->list.n == 0)
        st = status_errorf(ST_INVALID, "it has no sections");
    if (st.code)
        sections_fini(out);
    return st;
}

void sections_fini(struct sections *s)
{
    free(s->text);
    s->text = NULL;
    vec_fini(&s->list);
}

static struct section_key *find(struct section *s, const char *name)
{
    for (size_t i = 0; i < s->n_keys; i++)
        if (strcmp(s->keys[i].name, name) == 0) {
            s->keys[i].used = true;
            return &s->keys[i];
        }
    return NULL;
}

const char *section_value(struct section *s, const char *name)
{
    struct section_key *key = find(s, name);
    return key ? key->value : NULL;
}

static void set_error(struct status *st, struct status error)
{
    if (!st->code)
        *st = error;
}

/* A whole number at *p, which moves behind it. */
static bool scan_int(const char **p, long min, long max, long *value)
{
    char *end;

    errno = 0;
    *value = strtol(*p, &end, 10);
    bool ok = end != *p && errno == 0 && *value >= min && *value <= max;
    *p = end;
    return ok;
}

/* Decimal only: strtod() would also take nan, inf and hexadecimal. */
static bool scan_float(const char **p, double min, double max, double *value)
{
    char *end;
    size_t n = strspn(*p, "+-.0123456789eE \t");

    *value = strtod(*p, &end);
    bool ok = end != *p && (size_t)(end - *p) <= n && *value >= min && *value <= max;
    *p = end;
    return ok;
}

long section_int(struct section *s, const char *name, long preset, long min, long max, struct status *st)
{
    const struct section_key *key = find(s, name);
    const char *p = key ? key->value : NULL;
    long value;

    if (!key)
        return preset;
    if (scan_int(&p, min, max, &value) && *p == 0)
        return value;
    set_error(st, status_errorf(ST_INVALID, "line %d: %s=%.40s is not a whole number from %ld to %ld", key->line, name,
                                key->value, min, max));
    return preset;
}

double section_float(struct section *s, const char *name, double preset, double min, double max, struct status *st)
{
    const struct section_key *key = find(s, name);
    const char *p = key ? key->value : NULL;
    double value;

    if (!key)
        return preset;
    if (scan_float(&p, min, max, &value) && *p == 0)
        return value;
    set_error(st, status_errorf(ST_INVALID, "line %d: %s=%.40s is not a number from %g to %g", key->line, name,
                                key->value, min, max));
    return preset;
}

static const struct section_key *required(struct section *s, const char *name, struct status *st)
{
    const struct section_key *key = find(s, name);
    if (!key)
        set_error(st, status_errorf(ST_INVALID, "line %d: [%s] has no %s", s->line, s->name, name));
    return key;
}

/* Behind one number of a list: true when another follows. *ok: the separator is right. */
static bool list_goes_on(const char **p, bool *ok)
{
    *p += strspn(*p, " \t");
    if (**p != ',') {
        *ok = *ok && **p == 0;
        return false;
    }
    ++*p;
    return true;
}

static void list_error(struct status *st, const struct section_key *key, size_t max_n, double min, double max)
{
    set_error(st, status_errorf(ST_INVALID, "line %d: %s=%.40s is not a list of 1 to %zu numbers from %g to %g",
                                key->line, key->name, key->value, max_n, min, max));
}

size_t section_ints(struct section *s, const char *name, long min, long max, int *values, size_t max_n,
                    struct status *st)
{
    const struct section_key *key = required(s, name, st);
    const char *p = key ? key->value : NULL;
    size_t n = 0;
    bool ok = true, more = key != NULL;

    for (long value; more && ok; more = ok && list_goes_on(&p, &ok)) {
        ok = n < max_n && scan_int(&p, min, max, &value);
        if (ok)
            values[n++] = (int)value;
    }
    if (!ok)
        list_error(st, key, max_n, (double)min, (double)max);
    return ok ? n : 0;
}

size_t section_floats(struct section *s, const char *name, double min, double max, float *values, size_t max_n,
                      struct status *st)
{
    const struct section_key *key = required(s, name, st);
    const char *p = key ? key->value : NULL;
    size_t n = 0;
    bool ok = true, more = key != NULL;

    for (double value; more && ok; more = ok && list_goes_on(&p, &ok)) {
        ok = n < max_n && scan_float(&p, min, max, &value);
        if (ok)
            values[n++] = (float)value;
    }
    if (!ok)
        list_error(st, key, max_n, min, max);
    return ok ? n : 0;
}

static bool is_word_of(const char *words, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = words; (p = strstr(p, word)); p += n)
        if ((p == words || p[-1] == ' ') && (p[n] == 0 || p[n] == ' '))
            return true;
    return false;
}

const struct section_key *section_first_unused(const struct section *s, const char *ignored)
{
    for (size_t i = 0; i < s->n_keys; i++)
        if (!s->keys[i].used && !is_word_of(ignored, s->keys[i].name))
            return &s->keys[i];
    return NULL;
}
