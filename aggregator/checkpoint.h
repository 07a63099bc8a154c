/* checkpoint.h - a run on disk: what it is, its parameters and its optimizer, in one safetensors file that is replaced
 * whole. A run that has ended keeps only the words, not the tensors. */
#ifndef AGGREGATOR_CHECKPOINT_H
#define AGGREGATOR_CHECKPOINT_H

#include "run.h"

struct checkpoint {
    struct run_view view;          /* workers and exchange are not kept */
    uint64_t incarnation;          /* how often the run was brought back */
    uint64_t steps_planned;        /* optimizer steps of the whole run; 0: not known yet */
    float *params;                 /* (n_params,); NULL: ended. Borrowed by save, the caller's after load */
    struct nn_optimizer optimizer; /* m and v (n_params,) or NULL, as params */
    size_t n_params;
};

/* Durable when OK. path: the file. */
struct status checkpoint_save(const char *path, const struct checkpoint *c);

/* ST_DATA_LOSS names what does not hold. Frees nothing on failure that it has not made. */
struct status checkpoint_load(const char *path, struct checkpoint *c);
void checkpoint_fini(struct checkpoint *c);

#endif
