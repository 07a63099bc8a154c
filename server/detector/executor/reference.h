/* reference.h - what darknet itself computes for one invented picture: the yardstick of every engine. For the public
 * models it ships as a small file (known/NAME.check); for others darknet runs once, in a child process, so that nothing
 * it does to a process can reach this one. */
#ifndef DETECTOR_REFERENCE_H
#define DETECTOR_REFERENCE_H

#include "executor/engine.h"

enum reference_source { REFERENCE_NONE, REFERENCE_KNOWN, REFERENCE_DARKNET };

struct reference {
    enum reference_source source; /* NONE: darknet is not installed, there is nothing to compare with */
    float *picture;               /* (3, h, w) */
    float *values;                /* (n,): of all heads' outputs in a row, every (n_outputs / n)-th; NULL: none */
    size_t n, n_outputs;
};

/* Needs the network's weights file. Starts darknet only where nothing is known: call it before threads are started,
 * OpenBLAS's too (nn_setup_blas()). ST_INVALID: darknet dies on this network. */
struct status reference_get(struct reference *out, const struct network *net);
void reference_fini(struct reference *r);

/* The largest and the root mean square difference of an engine's outputs for the picture, relative to darknet's; false:
 * some are not finite. Without values 0. */
bool reference_compare(const struct reference *r, const struct engine *e, const struct cfg *c, double *largest,
                       double *rms);

/* A known/NAME.check for this network, from darknet. */
struct status reference_write(const char *path, const struct network *net);

#endif
