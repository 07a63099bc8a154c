/* engine.h - what computes a network: picture in, raw outputs of its heads out. Several can do it; which one serves is
 * chosen by name or by trial (trial.h). An engine is for one thread at a time and shares its network with the others. */
#ifndef DETECTOR_ENGINE_H
#define DETECTOR_ENGINE_H

#include "network/network.h"

#include <stdbool.h>

struct engine;

struct engine_kind {
    const char *name;

    /* net: borrowed until free(). ST_UNAVAILABLE: something that this engine needs is not installed. */
    struct status (*create)(struct engine **out, const struct network *net);
    void (*forward)(struct engine *e, const float *input);
    void (*destroy)(struct engine *e);

    /* NULL, or: another one with the same prepared weights, so that neither time nor memory is spent on them again.
     * A kind that has it reads the network's parameters in create() alone. */
    struct status (*clone)(struct engine **out, const struct engine *e);

    const char *precision; /* "fp32", "int16", "int8", "bf16" */
    double tolerance;      /* 0: exact, see TRIAL_TOLERANCE; else the largest root mean square error, relative to the
                              outputs', with which it may serve */
    struct status (*check_cpu)(void); /* NULL, or ST_UNAVAILABLE where this CPU lacks what every network needs here; as
                                         create() would say */
    bool fallback;                    /* right for every network, and slower than the others: for when those fail */
};

/* The start of every engine's own struct. */
struct engine {
    const struct engine_kind *kind;
    const float *heads[CFG_MAX_HEADS]; /* raw, as the layer before [yolo] left them; valid after engine_forward() */
};

extern const struct engine_kind engine_openblas;           /* im2col and sgemm; any CPU */
extern const struct engine_kind engine_darknet;            /* darknet's own forward pass: the reference */
extern const struct engine_kind engine_fp32;               /* our own kernels, in floats */
extern const struct engine_kind engine_bf16;               /* in BF16, on CPUs with AVX512-BF16 */
extern const struct engine_kind engine_int16, engine_int8; /* in integers, for networks whose ranges are known */

/* For measuring, engine_openblas only: called after each layer that computes something, with its output (planes,
 * cfg_shape_size() values), which may be changed. see NULL: nobody watches any more. */
struct engine_watch {
    void (*see)(void *ctx, size_t layer, float *values);
    void *ctx;
};
void engine_openblas_watch(struct engine *e, struct engine_watch watch);

const struct engine_kind *engine_kind_find(const char *name); /* NULL: there is none */
const struct engine_kind *engine_kind_at(size_t i);           /* all of them, the reference last; NULL: no more */

/* Another one of the same kind and for the same network, for another thread. */
struct status engine_clone(struct engine **out, const struct engine *e, const struct network *net);

/* Once all engines of the network are made: gives back what they do not read any more, given that all are of e's kind. */
void engine_release_parameters(const struct engine *e, struct network *net);

/* input (3, h, w), 0..1. Cannot fail. */
void engine_forward(struct engine *e, const float *input);
void engine_free(struct engine *e); /* NULL is fine */

/* The same, but gives up between two layers once stop() says so: false then, and the heads are nonsense. stop() is cheap and
 * may be asked often. */
bool engine_forward_until(struct engine *e, const float *input, bool (*stop)(void *ctx), void *ctx);

/* For engines, between layers: true: the forward pass of this thread is not wanted any more. */
bool engine_stop_asked(void);

#endif
