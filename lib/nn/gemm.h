/* gemm.h - the one BLAS call of lib/nn, in the precision of the build. Row-major. Private to lib/nn. */
#ifndef NN_GEMM_H
#define NN_GEMM_H

#include "nn/nn.h"

#include <cblas.h>

/* c (m,n) = a (m,k) b (k,n) + beta c; with a_transposed, a is stored (k,m). ld: floats from row to row. */
static inline void gemm(bool a_transposed, size_t m, size_t n, size_t k, const nn_real *a, size_t lda, const nn_real *b,
                        size_t ldb, nn_real beta, nn_real *c, size_t ldc)
{
    CBLAS_TRANSPOSE ta = a_transposed ? CblasTrans : CblasNoTrans;

#ifdef NN_DOUBLE
    cblas_dgemm(CblasRowMajor, ta, CblasNoTrans, (int)m, (int)n, (int)k, 1, a, (int)lda, b, (int)ldb, beta, c,
                (int)ldc);
#else
    cblas_sgemm(CblasRowMajor, ta, CblasNoTrans, (int)m, (int)n, (int)k, 1, a, (int)lda, b, (int)ldb, beta, c,
                (int)ldc);
#endif
}

#endif
