/* multipart.c - see multipart.h. */
#include "multipart.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* The next semicolon that no quotes hold, NULL: none. */
static const char *next_parameter(const char *at, const char *end)
{
    bool quoted = false;

    for (; at < end && (quoted || *at != ';'); at++)
        quoted ^= *at == '"';
    return at < end ? at : NULL;
}

/* The value of a parameter such as boundary="x" or name=x in a header's value of n bytes; false: absent or too long. */
static bool parameter(const char *header, size_t n, const char *name, char *out, size_t max)
{
    const char *end = header + n;
    size_t n_name = strlen(name);

    for (const char *at = next_parameter(header, end); at; at = next_parameter(at, end)) {
        for (at++; at < end && (*at == ' ' || *at == '\t'); at++)
            ;
        if ((size_t)(end - at) <= n_name || strncasecmp(at, name, n_name) != 0 || at[n_name] != '=')
            continue;
        at += n_name + 1;
        bool quoted = at < end && *at == '"';
        const char *value = at + quoted, *stop = memchr(value, quoted ? '"' : ';', (size_t)(end - value));
        size_t size = (size_t)((stop ? stop : end) - value);

        while (!quoted && size && (value[size - 1] == ' ' || value[size - 1] == '\t'))
            size--;
        if ((quoted && !stop) || size > max)
            return false;
        memcpy(out, value, size);
        out[size] = '\0';
        return true;
    }
    return false;
}

struct status multipart_init(struct multipart *m, const char *content_type, char *body, size_t size)
{
    char boundary[MULTIPART_MAX_BOUNDARY + 1];
    size_t n;

    *m = (struct multipart){.at = body, .end = body + size};
    if (!parameter(content_type, strlen(content_type), "boundary", boundary, MULTIPART_MAX_BOUNDARY) || !*boundary)
        return status_errorf(ST_INVALID, "Content-Type: multipart/form-data without a boundary of 1 to %d characters",
                             MULTIPART_MAX_BOUNDARY);
    n = (size_t)snprintf(m->mark, sizeof m->mark, "\r\n--%s", boundary);
    if (size < n - 2 || memcmp(body, m->mark + 2, n - 2) != 0)
        return status_errorf(ST_INVALID, "the body does not begin with the boundary of its Content-Type");
    m->at += n - 2;
    return status_ok();
}

/* The headers of a part, up to the line that is empty: from[0..n). */
static void read_name(const char *from, size_t n, struct multipart_part *part)
{
    static const char wanted[] = "content-disposition:";
    const char *end = from + n;

    part->name[0] = '\0';
    while (from < end) {
        const char *stop = memmem(from, (size_t)(end - from), "\r\n", 2);
        size_t size = (size_t)((stop ? stop : end) - from);

        if (size >= sizeof wanted - 1 && !strncasecmp(from, wanted, sizeof wanted - 1) &&
            parameter(from, size, "name", part->name, MULTIPART_MAX_NAME))
            return;
        from += size + 2;
    }
}

struct status multipart_next(struct multipart *m, struct multipart_part *part)
{
    size_t left = (size_t)(m->end - m->at), n = strlen(m->mark);
    char *head = m->at, *data, *stop;

    *part = (struct multipart_part){.data = NULL};
    if (left >= 2 && !memcmp(head, "--", 2))
        return status_ok();
    if (left < 2 || memcmp(head, "\r\n", 2) != 0)
        return status_errorf(ST_INVALID, "multipart: the body ends without its last boundary");
    data = memmem(head, left, "\r\n\r\n", 4);
    if (!data)
        return status_errorf(ST_INVALID, "multipart: a part without an empty line behind its headers");
    read_name(head + 2, (size_t)(data - head) > 2 ? (size_t)(data - head) - 2 : 0, part);
    data += 4;
    stop = memmem(data - 2, (size_t)(m->end - data) + 2, m->mark, n); /* an empty part has one line end for both */
    if (!stop)
        return status_errorf(ST_INVALID, "multipart: the body ends without its last boundary");
    part->data = data;
    part->size = stop > data ? (size_t)(stop - data) : 0;
    m->at = stop + n;
    return status_ok();
}
