/* parameters.h - what an operator sets for a task's models while they serve: DIR/<task>/parameters.json of the store, as
 *
 *     {"threshold": 0.6, "max_batch": 32, "max_queue_delay_us": 500, "canary_percent": 10, "shadow_percent": 0}
 *
 * A member that is absent has its default. store.h reads and writes the file. */
#ifndef MODEL_PARAMETERS_H
#define MODEL_PARAMETERS_H

#include "base/base.h"

#include <stddef.h>
#include <stdint.h>

#define PARAMETERS_FILE      "parameters.json"
#define PARAMETERS_MAX_BYTES 4096

struct model_parameters {
    double threshold;            /* 0..1: with two labels, the least P(second) that is answered with the second */
    uint32_t max_batch;          /* 1..256 texts in one forward pass */
    uint32_t max_queue_delay_us; /* 0..100000: how long a text may wait for others to share its pass; 0: not at all */
    double canary_percent;       /* 0..100: of routed calls, to the candidate */
    double shadow_percent;       /* 0..100: of routed calls, also run on the candidate, its answer only compared */
};

/* The defaults: 0.5, 32, 0, 0, 0. */
struct model_parameters model_parameters_default(void);

/* Sets one member by its name. ST_INVALID: no such member, and the message names them all, or out of its range. */
struct status model_parameters_set(struct model_parameters *p, const char *name, double value);

/* Copies one member by its name. ST_INVALID: no such member, or out of its range. */
struct status model_parameters_copy(struct model_parameters *to, const struct model_parameters *from, const char *name);

/* ST_INVALID names the member and its range. */
struct status model_parameters_check(const struct model_parameters *p);

/* Members that are absent stay at their defaults. ST_DATA_LOSS: not an object of the members above, each once and in
 * its range. */
struct status model_parameters_parse(struct model_parameters *out, const char *text, size_t size);

/* The file's content, a line of JSON, to free(). */
char *model_parameters_format(const struct model_parameters *p);

bool model_parameters_equal(const struct model_parameters *a, const struct model_parameters *b);

#endif
