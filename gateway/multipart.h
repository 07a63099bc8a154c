/* multipart.h - multipart/form-data of RFC 7578, as browsers and curl -F send it: a walk over the parts of a body that is
 * there as a whole. Knows nothing of HTTP calls; what it walks over is hostile. */
#ifndef GATEWAY_MULTIPART_H
#define GATEWAY_MULTIPART_H

#include "base/base.h"

#define MULTIPART_MAX_BOUNDARY 70 /* RFC 2046 */
#define MULTIPART_MAX_NAME     64

struct multipart {
    char mark[4 + MULTIPART_MAX_BOUNDARY + 1]; /* CR, LF, "--" and the boundary */
    char *at, *end;                            /* of what is left: behind a boundary */
};

struct multipart_part {
    char name[MULTIPART_MAX_NAME + 1]; /* of the field; "" when it has none */
    char *data;                        /* size bytes within the body */
    size_t size;
};

/* body: size bytes, borrowed for the walk. ST_INVALID: the Content-Type names no boundary, or the body does not begin with
 * it. */
struct status multipart_init(struct multipart *m, const char *content_type, char *body, size_t size);

/* part->data NULL: that was the last one. ST_INVALID: the body ends before its last boundary, or a part's head is
 * damaged. */
struct status multipart_next(struct multipart *m, struct multipart_part *part);

#endif
