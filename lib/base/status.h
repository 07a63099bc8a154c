/* status.h - the one error type: a canonical code and a message for a person.
 *
 * Goes by value, so that it is never stale, never freed and safe in any thread. Codes are gRPC's numbers
 * (https://grpc.io/docs/guides/status-codes/); the rpc library pins them with a static_assert.
 * A message names the thing and the value ("shard 3/2: the index must be below the count"), not the function. */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

enum code {
    ST_OK = 0,
    ST_CANCELLED = 1,
    ST_UNKNOWN = 2,
    ST_INVALID = 3,  /* INVALID_ARGUMENT: the caller's input is wrong whatever the state */
    ST_DEADLINE = 4, /* DEADLINE_EXCEEDED */
    ST_NOT_FOUND = 5,
    ST_EXISTS = 6,       /* ALREADY_EXISTS */
    ST_DENIED = 7,       /* PERMISSION_DENIED */
    ST_EXHAUSTED = 8,    /* RESOURCE_EXHAUSTED: a limit, a full queue, a full disk */
    ST_PRECONDITION = 9, /* FAILED_PRECONDITION: right input, wrong state */
    ST_ABORTED = 10,
    ST_RANGE = 11, /* OUT_OF_RANGE */
    ST_UNIMPLEMENTED = 12,
    ST_INTERNAL = 13,
    ST_UNAVAILABLE = 14, /* worth a retry */
    ST_DATA_LOSS = 15,   /* a checksum that does not match */
    ST_UNAUTHENTICATED = 16,
    ST_N_CODES
};

#define STATUS_MSG_SIZE 240 /* bytes, with the terminating NUL; longer text is cut at a UTF-8 boundary */

struct status {
    enum code code;
    char msg[STATUS_MSG_SIZE];
};

struct status status_ok(void);

/* A status of this code with a printf-like message. */
__attribute__((format(printf, 2, 3))) struct status status_errorf(enum code code, const char *fmt, ...);

#ifdef __clang_analyzer__
/* The analyser sees one file at a time: this tells it that an error is one. */
#define status_errorf(status_code, ...)                                                                                \
    (status_errorf(status_code, __VA_ARGS__), (struct status){.code = (status_code)})
#endif

/* The status of errno: ENOENT is ST_NOT_FOUND, ENOSPC ST_EXHAUSTED and so on; the message is "what: strerror". */
__attribute__((format(printf, 1, 2))) struct status status_errno(const char *fmt, ...);

/* The same status with "context: " before its message; an OK status stays as it is. */
__attribute__((format(printf, 2, 3))) struct status status_prefix(struct status st, const char *fmt, ...);

/* "INVALID_ARGUMENT" and so on; "UNKNOWN" for a number outside the list. */
const char *code_name(enum code code);

/* For main() alone: prints "program: message" and ends with exit code 1 (2 for ST_INVALID) when st is an error. */
void or_die(struct status st);

#endif
