/* encoder.h - what a family of models is made of, behind one small interface: an encoder from texts to features, and
 * the facts that the parts common to all families need. Private to lib/nn.
 *
 * Adding a family is a row in family.c, and a file with its encoder unless it has no features of its own. */
#ifndef NN_ENCODER_H
#define NN_ENCODER_H

#include "nn/kernels.h"

/* Memory that is placed twice: once to measure it (base NULL), once for good. Pages that no batch reaches are never
 * touched. */
struct block {
    char *base;
    size_t used;
};
void *block_take(struct block *b, size_t n, size_t size);

/* Where tensors lie, one after the other. */
struct layout {
    struct nn_tensor *tensors;
    size_t n, n_floats;
};
const struct nn_tensor *layout_add(struct layout *l, const char *name, uint32_t rows, uint32_t columns, bool sparse);

/* One batch on its way through a model. */
struct pass {
    const struct nn_kernels *kernels;
    const nn_real *params;
    const struct nn_example *batch;
    size_t n;
    const struct nn_objective *objective; /* its dropout */
    uint64_t seed;
    uint32_t *order;   /* (n,): row r of the features is batch[order[r]]; as it was, unless forward() changes it */
    nn_real *features; /* (n,F) */
};

struct encoder {
    size_t (*n_features)(const struct nn_shape *s); /* F */
    void (*lay_out)(struct layout *l, const struct nn_shape *s);
    /* params are zero; tensors as laid out. */
    void (*init)(nn_real *params, const struct nn_shape *s, const struct nn_tensor *tensors, struct rng *rng);

    size_t state_size; /* of what place() fills, zeroed before */
    void (*place)(void *state, const struct nn_shape *s, size_t max_batch, struct block *b);
    /* keep: for a backward pass */
    void (*forward)(void *state, struct pass *p, bool keep);
    /* After forward() with keep and the same pass: adds to grad. */
    void (*backward)(void *state, const struct pass *p, const nn_real *dfeatures, nn_real *grad);
};

extern const struct encoder encoder_lstm, encoder_lstm_plain, encoder_textcnn, encoder_bag;

enum need { UNUSED, OPTIONAL, NEEDED };

struct family {
    const char *name;
    struct nn_shape preset;
    enum need characters, units, buckets; /* vocab; hidden; buckets. embed goes with an encoder */
    const struct encoder *encoder;        /* NULL: no features */
    bool ngrams_in_head;                  /* buckets, if any, are a linear part */
};

const struct family *family_of(const struct nn_shape *s); /* of a shape that was checked */

void init_normal(nn_real *w, size_t n, double deviation, struct rng *rng);
void init_uniform(nn_real *w, size_t n, double limit, struct rng *rng);
void init_embedding(nn_real *params, const struct nn_tensor *embedding, struct rng *rng); /* row 0 stays 0 */

#endif
