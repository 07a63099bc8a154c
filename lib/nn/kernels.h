/* kernels.h - the loops over elements, compiled once per instruction set from kernels.c and chosen at start.
 * Plain C that the compiler vectorises; nothing here allocates or fails. Private to lib/nn. */
#ifndef NN_KERNELS_H
#define NN_KERNELS_H

#include "nn/nn.h"

/* One time step of one direction, for the n rows that are still inside their text.
 *   a = gates + b; i f o = sigmoid(a), g = tanh(a); c = f c_prev + i g; tc = tanh(c); h = o tc */
struct nn_cell {
    size_t n, hidden;
    nn_real *gates;        /* (n,4H), order i f g o: in pre-activations, out activations */
    const nn_real *b;      /* (4H,) */
    const nn_real *c_prev; /* rows c_prev_stride apart: 0 for the first step, one row of zeros */
    size_t c_prev_stride;
    nn_real *c, *tc; /* (n,H) */
    nn_real *h;      /* the next step's input: the first n_next rows, h_stride apart */
    size_t n_next, h_stride;
    nn_real *h_end; /* h of the rows that end here, by row, h_end_stride apart: 0 for one scratch row */
    size_t h_end_stride;
    nn_real *pool;        /* running maximum over time, rows pool_stride apart; NULL: none */
    int32_t *step_of_max; /* like pool: the step it came from */
    size_t pool_stride;
    int32_t step;
};

/* The same step backwards: gates become the gradient of the pre-activations. */
struct nn_cell_back {
    size_t n, hidden;
    nn_real *gates; /* (n,4H) in activations, out their gradient before activation */
    const nn_real *c_prev;
    size_t c_prev_stride;
    const nn_real *tc; /* (n,H) */
    const nn_real *dh; /* from the next step: the first n_next rows, dh_stride apart */
    size_t n_next, dh_stride;
    const nn_real *dh_end; /* dh of the rows that end here, by row, dh_end_stride apart: 0 for one row of zeros */
    size_t dh_end_stride;
    nn_real *dc;          /* (n,H) in from the next step (rows from n_next on are 0), out for the step before */
    const nn_real *dpool; /* gradient of the maximum, and where it came from; rows pool_stride apart; NULL: none */
    const int32_t *step_of_max;
    size_t pool_stride;
    int32_t step;
    nn_real *db; /* (4H,), added to */
};

/* What Adam and Yogi share; m and v are scaled by the bias corrections on use. */
struct nn_moments {
    nn_real beta1, beta2, epsilon;
    nn_real rate;    /* learning rate / (1 - beta1^t) */
    nn_real v_scale; /* 1 / (1 - beta2^t) */
};

/* What a row of a table missed in the steps without a gradient: powers of the betas, and the sum of its moves in units of
 * m / sqrt(v). */
struct nn_decay {
    nn_real beta1, beta2, drift, epsilon;
};

/* Products with a matrix that is used many times, packed once: c (m,n) = a (m,k) b (k,n); and sums of outer products. */
struct nn_matmul {
    /* b[i * row_stride + j * column_stride]; to: nn_packed_size(k, n), aligned to 64 bytes */
    void (*pack)(nn_real *to, const nn_real *b, size_t row_stride, size_t column_stride, size_t k, size_t n);
    void (*multiply)(nn_real *c, size_t ldc, const nn_real *a, size_t lda, const nn_real *packed, size_t m, size_t n,
                     size_t k);
    /* c (m,n) += a^T b; a (k,m), b (k,n), neither packed */
    void (*add_outer)(nn_real *c, size_t ldc, const nn_real *a, size_t lda, const nn_real *b, size_t ldb, size_t m,
                      size_t n, size_t k);
};

#define NN_OUTER_DEPTH 192 /* rows that add_outer() takes at once: a packed panel of b, 24 KB at most, stays near */
#define NN_MAX_COLUMNS 32  /* a packed panel's, in the widest variant */

static inline size_t nn_packed_size(size_t k, size_t n)
{
    return (n + NN_MAX_COLUMNS - 1) / NN_MAX_COLUMNS * NN_MAX_COLUMNS * k;
}

struct nn_kernels {
    const char *isa;
    const struct nn_matmul *matmul;
    void (*cell)(const struct nn_cell *s);
    void (*cell_back)(const struct nn_cell_back *s);
    /* best (n,) and at (n,): the maximum of each column of x (rows,n) and the first row it stands in. */
    void (*column_max)(const nn_real *x, size_t rows, size_t n, nn_real *best, int32_t *at);
    /* to = from or to += from, each element kept (times scale) where a hash of key and its index is at least drop;
     * the same key and drop keep the same elements. */
    void (*dropout)(nn_real *to, const nn_real *from, size_t n, uint32_t key, uint32_t drop, nn_real scale);
    void (*dropout_add)(nn_real *to, const nn_real *from, size_t n, uint32_t key, uint32_t drop, nn_real scale);
    void (*add_scaled)(nn_real *to, const nn_real *from, size_t n, nn_real scale); /* to += scale * from */
    double (*sum_squares)(const nn_real *x, size_t n);
    void (*scale)(nn_real *x, size_t n, nn_real scale);
    void (*momentum)(nn_real *p, const nn_real *g, nn_real *m, size_t n, nn_real beta, nn_real rate);
    void (*adam)(nn_real *p, const nn_real *g, nn_real *m, nn_real *v, size_t n, struct nn_moments k);
    void (*adam_decay)(nn_real *p, nn_real *m, nn_real *v, size_t n, const struct nn_decay *d);
    /* adam() with gradient scale * g for some rows of a table; moments (rows,2,width): m, then v. Their g become 0. */
    void (*adam_rows)(nn_real *p, nn_real *g, nn_real *moments, size_t width, const uint32_t *rows, size_t n,
                      nn_real scale, struct nn_moments k);
    double (*sum_squares_rows)(const nn_real *x, size_t width, const uint32_t *rows, size_t n);
    void (*yogi)(nn_real *p, const nn_real *g, nn_real *m, nn_real *v, size_t n, struct nn_moments k);
};

extern const struct nn_matmul nn_matmul_portable, nn_matmul_avx2, nn_matmul_avx512;
extern const struct nn_kernels nn_kernels_portable, nn_kernels_avx2, nn_kernels_avx512;

/* Those of nn_isa(). */
const struct nn_kernels *nn_kernels(void);

/* Those of an instruction set, or NULL when this CPU lacks it. */
const struct nn_kernels *nn_kernels_find(enum isa isa);

#endif
