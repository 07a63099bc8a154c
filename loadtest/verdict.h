/* verdict.h - whether an answer is what was asked for, and the kinds of failure that a report tells apart. */
#ifndef LOADTEST_VERDICT_H
#define LOADTEST_VERDICT_H

#include "answer.h"

enum verdict {
    VERDICT_OK,
    VERDICT_CONNECT,   /* no connection, or none in time */
    VERDICT_CLOSED,    /* the server closed in the middle */
    VERDICT_TIMEOUT,   /* no whole answer in time */
    VERDICT_MALFORMED, /* not HTTP */
    VERDICT_HTTP,      /* a status other than 200: counted by status */
    VERDICT_BODY,      /* 200, but not {"id", "objects": [...]} */
    VERDICT_ID,        /* 200 with the id of somebody else */
    N_VERDICTS
};

const char *verdict_name(enum verdict v); /* "timeout" */

/* Judges a whole answer. *n_objects: detections in it. id_optional: an answer without an id passes, one with another
 * does not. */
enum verdict verdict_of(const struct answer *a, const char *id, bool id_optional, uint32_t *n_objects);

#endif
