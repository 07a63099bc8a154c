/* embed.h - characters to vectors with dropout, and back. Private to lib/nn. */
#ifndef NN_EMBED_H
#define NN_EMBED_H

#include "nn/encoder.h"

struct embed {
    const struct nn_kernels *kernels;
    const nn_real *table; /* (V,E) */
    nn_real *grad;        /* (V,E); NULL without a backward pass */
    size_t width;         /* E */
    const struct nn_example *batch;
    const uint32_t *order; /* row r of a step is batch[order[r]] */
    uint64_t seed;
    uint32_t drop_token, drop_element; /* dropout_limit(); both 0: none */
    nn_real scale;                     /* of the elements that stay */
};

/* dropout and what a row of the batch holds are the pass's; grad: (V,E) or NULL. */
struct embed embed_of(const struct pass *p, const nn_real *table, size_t width, nn_real *grad);

/* x (E,): the vector of one character; row: of the caller's batch. */
void embed_character(const struct embed *e, size_t row, size_t position, nn_real *x);
void embed_character_back(const struct embed *e, size_t row, size_t position, const nn_real *dx);

/* x: the vectors of step `step` of the first n rows, x_stride apart; reverse counts steps from the end of each text. */
void embed_step(const struct embed *e, size_t n, size_t step, bool reverse, nn_real *x, size_t x_stride);

/* Adds the gradient of what embed_step() gave, to the rows it came from alone. */
void embed_step_back(const struct embed *e, size_t n, size_t step, bool reverse, const nn_real *dx, size_t dx_stride);

#endif
