/* plan.h - a network as a list of steps over typed tensors: what the engines of our own kernels execute.
 *
 * Making it: convolutions take bias, activation and a following residual with them; a route of several layers becomes a
 * wide tensor into whose slices its layers write; each convolution gets the fastest of the methods that can do it; and
 * tensors share memory as far as nobody reads them any more, which keeps the working set near the caches. A plan is
 * immutable once made and shared by the runs (plan_run.h) of all threads; the network's weights are not needed any
 * more then, its cfg is. */
#ifndef DETECTOR_PLAN_H
#define DETECTOR_PLAN_H

#include "executor/conv.h"

#include <stdatomic.h>

#define PLAN_MAX_TENSORS (4 * CFG_MAX_LAYERS)
#define PLAN_MAX_CHAIN   16 /* steps */
#define PLAN_MAX_STEPS   (4 * CFG_MAX_LAYERS)

/* How numbers are kept; zeroed: as floats. */
struct plan_type {
    enum tensor_type type;
    float scale;
    int32_t zero;
};

/* What a quantised engine decides, by layer of the cfg. */
struct plan_types {
    struct plan_type
        out[CFG_MAX_LAYERS];             /* its output; layers that a route joins take the route's. A convolution that a
                                             shortcut follows is computed with it: then the shortcut's counts */
    struct plan_type in[CFG_MAX_LAYERS]; /* of convolutions: what they read. Where their input is kept in the same type
                                             they take it as it is, with its scale; else a step converts it */
};

enum plan_op {
    PLAN_CONV,
    PLAN_MAXPOOL,
    PLAN_UPSAMPLE,
    PLAN_REORG,
    PLAN_ADD,
    PLAN_CONVERT,
    PLAN_LOGISTIC,
    PLAN_PICTURE,
    PLAN_HEAD
};

struct plan_tensor {
    struct tensor t; /* data: unset */
    int root;        /* the tensor whose memory it is a slice of; itself if none */
    size_t offset;   /* bytes from the root's start; of a root: from the pool's */
    int first, last; /* of a root: the steps from which and up to which its memory is in use */
};

struct plan_step {
    enum plan_op op;
    int layer;        /* of the cfg: the one whose output is complete after this step, or, for steps that prepare an
                         input, the one that reads it */
    int in, add, out; /* tensors; add: the residual, or an addition's second term; -1: none */
    int conv_layer;   /* PLAN_CONV: the convolution itself; layer may be the shortcut after it */
    struct conv *conv;
    size_t n_chained; /* of a chain's first step: that so many steps, from this one on, go band by band; else 0 */
    size_t band_rows; /* rows of the last one's output at a time */
    size_t head;      /* PLAN_HEAD */
};

struct plan {
    const struct network *net;
    struct plan_tensor tensors[PLAN_MAX_TENSORS]; /* the first is the picture */
    size_t n_tensors;
    struct plan_step steps[PLAN_MAX_STEPS];
    size_t n_steps;
    size_t pool_size, scratch_size; /* bytes of a run's memory */
    atomic_int n_users;
};

/* types: NULL for floats throughout. ST_INVALID: no method for a convolution's type. */
struct status plan_new(struct plan **out, const struct network *net, const struct plan_types *types);
struct plan *plan_acquire(struct plan *p);
void plan_release(struct plan *p); /* NULL is fine; the last one frees it */

size_t plan_weights_size(const struct plan *p); /* bytes of all prepared convolutions */

/* ---- inside: the parts of plan_new() ---- */

void plan_build(struct plan *p, const struct plan_types *types); /* plan_build.c: steps */
void plan_place(struct plan *p);                                 /* plan_memory.c: offsets */
struct status plan_choose(struct plan *p);                       /* plan_choose.c: methods */
void plan_chain(struct plan *p); /* plan_bands.c: chains of steps, after methods, before offsets */
size_t plan_rows_before(const struct plan *p, const struct plan_step *step, size_t rows); /* of its input, for its
                                                                                              output's first `rows` */
struct conv_spec plan_spec(const struct plan *p, const struct plan_step *step); /* what a convolution's method sees */

float plan_slope(enum cfg_activation activation); /* as conv.h; 1 for the logistic one */

static inline const struct cfg_layer *plan_layer(const struct plan *p, int layer)
{
    return &p->net->cfg->layers[layer];
}

#endif
