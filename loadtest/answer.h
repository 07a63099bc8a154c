/* answer.h - one HTTP/1.1 answer, taken as its bytes come: status line, headers, a body by Content-Length, in chunks or
 * up to the end of the connection (RFC 9112, sections 4 to 6). Everything is bounded; what a server sends beyond that is
 * an error and no memory. Not thread-safe. */
#ifndef LOADTEST_ANSWER_H
#define LOADTEST_ANSWER_H

#include "base/base.h"

#include <stdbool.h>
#include <stdint.h>

#define ANSWER_HEAD_MAX ((size_t)16 << 10) /* of status line and headers, or of all trailers */
#define ANSWER_BODY_MAX ((size_t)4 << 20)
#define ANSWER_NAME_MAX 64

struct answer {
    bool begun, done;                /* a byte has come; all have */
    int code;                        /* 200 to 599, once done; interim answers (1xx) are skipped */
    bool keep_alive;                 /* the connection takes another request, once done */
    char served_by[ANSWER_NAME_MAX]; /* header X-Served-By, cut; "": absent */
    struct buf body;

    int state;
    struct buf line;
    size_t head_size;
    uint64_t left; /* bytes of the body or chunk */
    bool has_length, chunked, closes, http_1_0;
};

void answer_init(struct answer *a);
void answer_fini(struct answer *a);
void answer_reset(struct answer *a); /* for the next one; keeps the memory */

/* Takes what belongs to this answer from the front of the bytes; *used says how many, less than size only when done.
 * ST_INVALID: this is not HTTP, or over a bound. */
struct status answer_take(struct answer *a, const char *data, size_t size, size_t *used);

/* The peer has closed: true when that is how this answer ends. */
bool answer_closed(struct answer *a);

#endif
