/* matmul.c - products of a few rows with one matrix, again and again: what an LSTM does at every step. Compiled once
 * per instruction set, like kernels.c.
 *
 * A BLAS copies the matrix into its own layout at each call, which for the 1 to 64 rows of a step takes a sixth of the
 * time and more; here it is packed once per batch. The inner tile is the usual one (Goto and van de Geijn 2008): ROWS
 * rows by two vectors of columns, all sums in registers. */
#include "base/simd.h"
#include "nn/kernels.h"

#include <assert.h>
#include <string.h>

#define LANES   (SIMD_BYTES / sizeof(nn_real))
#define COLUMNS (2 * LANES)
#define ROWS    6 /* 12 sums, 2 of b and one of a fit the 16 registers of SSE and AVX */

static_assert(COLUMNS <= NN_MAX_COLUMNS, "nn_packed_size() is too small");

typedef nn_real vector __attribute__((vector_size(SIMD_BYTES)));

static void pack(nn_real *restrict to, const nn_real *restrict b, size_t row_stride, size_t column_stride, size_t k,
                 size_t n)
{
    for (size_t j = 0; j < n; j += COLUMNS) {
        size_t width = n - j < COLUMNS ? n - j : COLUMNS;
        for (size_t i = 0; i < k; i++, to += COLUMNS) {
            for (size_t l = 0; l < COLUMNS; l++)
                to[l] = l < width ? b[i * row_stride + (j + l) * column_stride] : 0;
        }
    }
}

static inline void store(nn_real *c, vector left, vector right, size_t width)
{
    if (width == COLUMNS) {
        memcpy(c, &left, sizeof left);
        memcpy(c + LANES, &right, sizeof right);
    } else {
        const vector both[] = {left, right};
        memcpy(c, both, width * sizeof *c);
    }
}

/* c = a (rows,k) times `panels` packed panels (k,COLUMNS) that lie k * COLUMNS apart; width: columns to store of
 * the last. rows and panels, at most ROWS together, are constants wherever this is inlined. */
static inline __attribute__((always_inline)) void tile(nn_real *c, size_t ldc, const nn_real *a, size_t lda,
                                                       const nn_real *packed, size_t rows, size_t panels, size_t width,
                                                       size_t k)
{
    vector sums[ROWS][2];

#pragma GCC unroll 12
    for (size_t s = 0; s < rows * panels; s++)
        sums[s][0] = sums[s][1] = (vector){0};
    for (size_t i = 0; i < k; i++) {
#pragma GCC unroll 12
        for (size_t s = 0; s < rows * panels; s++) {
            size_t p = s / rows, r = s % rows;
            const vector *b = __builtin_assume_aligned(packed + (p * k + i) * COLUMNS, SIMD_BYTES);
            sums[s][0] += a[r * lda + i] * b[0];
            sums[s][1] += a[r * lda + i] * b[1];
        }
    }
#pragma GCC unroll 12
    for (size_t s = 0; s < rows * panels; s++)
        store(c + s % rows * ldc + s / rows * COLUMNS, sums[s][0], sums[s][1], s / rows + 1 < panels ? COLUMNS : width);
}

/* All columns of a few rows. Few rows take several panels at once: each sum waits for itself, so there must be many. */
static inline __attribute__((always_inline)) void strip(nn_real *c, size_t ldc, const nn_real *a, size_t lda,
                                                        const nn_real *packed, size_t rows, size_t panels, size_t n,
                                                        size_t k)
{
    size_t j = 0;

    for (; j + panels * COLUMNS <= n; j += panels * COLUMNS)
        tile(c + j, ldc, a, lda, packed + j * k, rows, panels, COLUMNS, k);
    for (; j < n; j += COLUMNS)
        tile(c + j, ldc, a, lda, packed + j * k, rows, 1, n - j < COLUMNS ? n - j : COLUMNS, k);
}

static void multiply(nn_real *c, size_t ldc, const nn_real *a, size_t lda, const nn_real *packed, size_t m, size_t n,
                     size_t k)
{
    size_t full = m / ROWS * ROWS;

    for (size_t j = 0; j < n; j += COLUMNS) {
        size_t width = n - j < COLUMNS ? n - j : COLUMNS;
        for (size_t r = 0; r < full; r += ROWS)
            tile(c + r * ldc + j, ldc, a + r * lda, lda, packed + j * k, ROWS, 1, width, k);
    }
    c += full * ldc;
    a += full * lda;
    switch (m - full) {
    case 5:
        strip(c, ldc, a, lda, packed, 5, 1, n, k);
        break;
    case 4:
        strip(c, ldc, a, lda, packed, 4, 1, n, k);
        break;
    case 3:
        strip(c, ldc, a, lda, packed, 3, 2, n, k);
        break;
    case 2:
        strip(c, ldc, a, lda, packed, 2, 2, n, k);
        break;
    case 1:
        strip(c, ldc, a, lda, packed, 1, 4, n, k);
        break;
    }
}

/* ---- sums of outer products: what the gradient of a weight matrix is ---- */

static inline void add(nn_real *c, vector sum)
{
    vector old;

    memcpy(&old, c, sizeof old);
    old += sum;
    memcpy(c, &old, sizeof old);
}

static inline void add_some(nn_real *c, const vector sums[2], size_t width)
{
    for (size_t j = 0; j < width; j++)
        c[j] += sums[j / LANES][j % LANES];
}

/* depth rows of b side by side; columns from width on are 0. */
static void copy_panel(nn_real *restrict to, const nn_real *restrict b, size_t ldb, size_t depth, size_t width)
{
    if (width < COLUMNS) {
        memset(to, 0, depth * COLUMNS * sizeof *to);
        for (size_t i = 0; i < depth; i++, to += COLUMNS, b += ldb)
            memcpy(to, b, width * sizeof *to);
        return;
    }
    for (size_t i = 0; i < depth; i++, to += COLUMNS, b += ldb) {
        vector both[2];
        memcpy(both, b, sizeof both);
        memcpy(to, both, sizeof both);
    }
}

/* c (rows,width) += a^T panel; a (k,rows), panel (k,COLUMNS). rows is a constant wherever this is inlined. */
static inline __attribute__((always_inline)) void outer_tile(nn_real *c, size_t ldc, const nn_real *a, size_t lda,
                                                             const nn_real *panel, size_t rows, size_t width, size_t k)
{
    vector sums[ROWS][2];

#pragma GCC unroll 6
    for (size_t r = 0; r < rows; r++)
        sums[r][0] = sums[r][1] = (vector){0};
    for (size_t i = 0; i < k; i++) {
        const vector *b = __builtin_assume_aligned(panel + i * COLUMNS, SIMD_BYTES);
#pragma GCC unroll 6
        for (size_t r = 0; r < rows; r++) {
            sums[r][0] += a[i * lda + r] * b[0];
            sums[r][1] += a[i * lda + r] * b[1];
        }
    }
#pragma GCC unroll 6
    for (size_t r = 0; r < rows; r++) {
        if (width < COLUMNS) {
            add_some(c + r * ldc, sums[r], width);
        } else {
            add(c + r * ldc, sums[r][0]);
            add(c + r * ldc + LANES, sums[r][1]);
        }
    }
}

static void outer_panel(nn_real *c, size_t ldc, const nn_real *a, size_t lda, const nn_real *panel, size_t m,
                        size_t width, size_t k)
{
    size_t r = 0;

    for (; r + ROWS <= m; r += ROWS)
        outer_tile(c + r * ldc, ldc, a + r, lda, panel, ROWS, width, k);
    for (; r + 2 <= m; r += 2)
        outer_tile(c + r * ldc, ldc, a + r, lda, panel, 2, width, k);
    if (r < m)
        outer_tile(c + r * ldc, ldc, a + r, lda, panel, 1, width, k);
}

static void add_outer(nn_real *c, size_t ldc, const nn_real *a, size_t lda, const nn_real *b, size_t ldb, size_t m,
                      size_t n, size_t k)
{
    nn_real panel[NN_OUTER_DEPTH * COLUMNS] __attribute__((aligned(SIMD_BYTES)));

    for (size_t i = 0; i < k; i += NN_OUTER_DEPTH) {
        size_t depth = k - i < NN_OUTER_DEPTH ? k - i : NN_OUTER_DEPTH;
        for (size_t j = 0; j < n; j += COLUMNS) {
            size_t width = n - j < COLUMNS ? n - j : COLUMNS;
            copy_panel(panel, b + i * ldb + j, ldb, depth, width);
            outer_panel(c + j, ldc, a + i * lda, lda, panel, m, width, depth);
        }
    }
}

const struct nn_matmul SIMD_VARIANT(nn_matmul) = {pack, multiply, add_outer};
