/* network.h - a cfg file and its weights, checked and ready for an engine: batch normalisation folded into the
 * weights, everything in one block. Immutable once made, so any number of engines and threads share it. */
#ifndef DETECTOR_NETWORK_H
#define DETECTOR_NETWORK_H

#include "cfg.h"
#include "ranges.h"

/* A convolution's folded parameters; NULL for the other layers. */
struct network_layer {
    const float *weights; /* (out.c, in.c / groups, size, size) */
    const float *bias;    /* (out.c,) */
};

struct network {
    struct cfg *cfg;
    struct network_layer layers[CFG_MAX_LAYERS];
    float *block;  /* what layers point into */
    uint8_t *file; /* the weights file as it was read, for darknet; NULL after network_drop_file() */
    size_t file_size;
    struct ranges *ranges; /* for the quantised engines, of cfg->n_layers layers; NULL: none are known */
};

/* Takes cfg (from malloc) and file (from malloc) over, also on failure. ST_INVALID: the file has another size than the
 * cfg asks for, an unknown header, a number that is not finite or a negative variance. */
struct status network_new(struct network **out, struct cfg *cfg, uint8_t *file, size_t file_size);
void network_free(struct network *net);

/* Takes ranges over (from malloc; NULL is fine). ST_INVALID: they are for another number of layers. Before engines are
 * made. */
struct status network_set_ranges(struct network *net, struct ranges *ranges);

/* Gives the file's memory back once no darknet engine is to be made any more. */
void network_drop_file(struct network *net);

/* The same for the weights, once every engine has its own packed copy: then only cfg is left for them to read. */
void network_drop_parameters(struct network *net);

/* The largest weights file that goes with any cfg. */
#define NETWORK_MAX_FILE (20 + sizeof(float) * CFG_MAX_PARAMS)

#endif
