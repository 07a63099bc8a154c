/* status.c - see status.h. */
#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct status status_ok(void)
{
    return (struct status){.code = ST_OK, .msg = ""};
}

/* Removes the start of a UTF-8 sequence that the end of the buffer cut off. */
static void trim_utf8(char *msg)
{
    size_t n = strlen(msg), i = n;

    while (i > 0 && ((unsigned char)msg[i - 1] & 0xC0) == 0x80)
        i--;
    if (i == 0)
        return;
    unsigned char lead = (unsigned char)msg[i - 1];
    size_t want = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (n - (i - 1) < want)
        msg[i - 1] = '\0';
}

static void set_message(struct status *st, const char *fmt, va_list ap)
{
    int n = vsnprintf(st->msg, sizeof st->msg, fmt, ap);

    if (n >= (int)sizeof st->msg)
        trim_utf8(st->msg);
}

struct status(status_errorf)(enum code code, const char *fmt, ...)
{
    struct status st = {.code = code};
    va_list ap;

    va_start(ap, fmt);
    set_message(&st, fmt, ap);
    va_end(ap);
    return st;
}

static enum code code_of_errno(int e)
{
    switch (e) {
    case ENOENT:
    case ENOTDIR:
        return ST_NOT_FOUND;
    case EEXIST:
    case ENOTEMPTY:
        return ST_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return ST_DENIED;
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return ST_EXHAUSTED;
    case EINVAL:
    case ENAMETOOLONG:
    case ELOOP:
        return ST_INVALID;
    case EADDRINUSE:
    case ECONNREFUSED:
    case ECONNRESET:
    case EAGAIN:
        return ST_UNAVAILABLE;
    case ETIMEDOUT:
        return ST_DEADLINE;
    default:
        return ST_INTERNAL;
    }
}

struct status status_errno(const char *fmt, ...)
{
    int e = errno;
    struct status what = {.code = code_of_errno(e)};
    char text[64];
    va_list ap;

    va_start(ap, fmt);
    set_message(&what, fmt, ap);
    va_end(ap);
    return status_errorf(what.code, "%s: %s", what.msg, strerror_r(e, text, sizeof text));
}

struct status status_prefix(struct status st, const char *fmt, ...)
{
    struct status context = {.code = st.code};
    va_list ap;

    if (!st.code)
        return st;
    va_start(ap, fmt);
    set_message(&context, fmt, ap);
    va_end(ap);
    return status_errorf(st.code, "%s: %s", context.msg, st.msg);
}

const char *code_name(enum code code)
{
    static const char *const names[ST_N_CODES] = {
        [ST_OK] = "OK",
        [ST_CANCELLED] = "CANCELLED",
        [ST_UNKNOWN] = "UNKNOWN",
        [ST_INVALID] = "INVALID_ARGUMENT",
        [ST_DEADLINE] = "DEADLINE_EXCEEDED",
        [ST_NOT_FOUND] = "NOT_FOUND",
        [ST_EXISTS] = "ALREADY_EXISTS",
        [ST_DENIED] = "PERMISSION_DENIED",
        [ST_EXHAUSTED] = "RESOURCE_EXHAUSTED",
        [ST_PRECONDITION] = "FAILED_PRECONDITION",
        [ST_ABORTED] = "ABORTED",
        [ST_RANGE] = "OUT_OF_RANGE",
        [ST_UNIMPLEMENTED] = "UNIMPLEMENTED",
        [ST_INTERNAL] = "INTERNAL",
        [ST_UNAVAILABLE] = "UNAVAILABLE",
        [ST_DATA_LOSS] = "DATA_LOSS",
        [ST_UNAUTHENTICATED] = "UNAUTHENTICATED",
    };

    return (unsigned)code < ST_N_CODES ? names[code] : "UNKNOWN";
}

void or_die(struct status st)
{
    if (!st.code)
        return;
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, st.msg);
    exit(st.code == ST_INVALID ? 2 : 1);
}
