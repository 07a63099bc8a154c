/* kernels_get.c - which of the compiled kernels this CPU gets: the choice of lib/nn, so that one option forces both. */
#include "kernels.h"

#include "nn/nn.h"

#include <string.h>

const struct kernels *kernels_get(void)
{
#ifdef __x86_64__
    if (strcmp(nn_kernel_isa(), "avx512") == 0)
        return &kernels_avx512;
    if (strcmp(nn_kernel_isa(), "avx2") == 0)
        return &kernels_avx2;
#endif
    return &kernels_portable;
}
