/* matmul.c - products of a few rows with one matrix, again and again: what an LSTM does at every step. Compiled once
 * per instruction set, like kernels.c.
 *
 * A BLAS copies the matrix into its own layout at each call, which for the 1 to 64 rows of a step takes a sixth of the
 * time and more; here it is packed once per batch. The inner tile is the usual one (Goto and van de Geijn 2008): ROWS
 * rows by two vectors of columns, all sums in registers. */
#include "nn/kernels.h"
#include "nn/variant.h"

#include <assert.h>
#include <string.h>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#define LANES   (VECTOR_BYTES / sizeof(nn_real))
#define COLUMNS (2 * LANES)
#define ROWS    6 /* 12 sums, 2 of b and one of a fit the 16 registers of SSE and AVX */

static_assert(COLUMNS <= NN_MAX_COLUMNS, "nn_packed_size() is too small");

typedef nn_real vector __attribute__((vector_size(VECTOR_BYTES)));

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

/* c (rows,width) = a (rows,k) times one packed panel (k,COLUMNS); rows is a constant wherever this is inlined. */
static inline __attribute__((always_inline)) void tile(nn_real *c, size_t ldc, const nn_real *a, size_t lda,
                                                       const nn_real *panel, size_t rows, size_t width, size_t k)
{
    vector sums[ROWS][2];

#pragma GCC unroll 6
    for (size_t r = 0; r < rows; r++)
        sums[r][0] = sums[r][1] = (vector){0};
    for (size_t i = 0; i < k; i++, panel += COLUMNS) {
        const vector *b = __builtin_assume_aligned(panel, VECTOR_BYTES);
#pragma GCC unroll 6
        for (size_t r = 0; r < rows; r++) {
            sums[r][0] += a[r * lda + i] * b[0];
            sums[r][1] += a[r * lda + i] * b[1];
        }
    }
#pragma GCC unroll 6
    for (size_t r = 0; r < rows; r++)
        store(c + r * ldc, sums[r][0], sums[r][1], width);
}

static void multiply(nn_real *c, size_t ldc, const nn_real *a, size_t lda, const nn_real *packed, size_t m, size_t n,
                     size_t k)
{
    for (size_t j = 0; j < n; j += COLUMNS, c += COLUMNS, packed += k * COLUMNS) {
        size_t width = n - j < COLUMNS ? n - j : COLUMNS, r = 0;
        for (; r + ROWS <= m; r += ROWS)
            tile(c + r * ldc, ldc, a + r * lda, lda, packed, ROWS, width, k);
        switch (m - r) {
        case 5:
            tile(c + r * ldc, ldc, a + r * lda, lda, packed, 5, width, k);
            break;
        case 4:
            tile(c + r * ldc, ldc, a + r * lda, lda, packed, 4, width, k);
            break;
        case 3:
            tile(c + r * ldc, ldc, a + r * lda, lda, packed, 3, width, k);
            break;
        case 2:
            tile(c + r * ldc, ldc, a + r * lda, lda, packed, 2, width, k);
            break;
        case 1:
            tile(c + r * ldc, ldc, a + r * lda, lda, packed, 1, width, k);
            break;
        }
    }
}

const struct nn_matmul NN_VARIANT(nn_matmul) = {pack, multiply};
