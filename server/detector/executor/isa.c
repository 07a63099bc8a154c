/* isa.c - which of the tables that are built once for each instruction set this CPU gets: the choice of lib/nn, so that
 * one option forces all. */
#include "base/isa.h"
#include "depthwise.h"
#include "direct.h"
#include "kernels.h"
#include "layers.h"
#include "nn/nn.h"
#include "stem.h"

#ifdef __x86_64__
#define CHOOSE(table)                                                                                                  \
    (strcmp(nn_kernel_isa(), "avx512") == 0 ? &table##_avx512                                                          \
     : strcmp(nn_kernel_isa(), "avx2") == 0 ? &table##_avx2                                                            \
                                            : &table##_portable)
#else
#define CHOOSE(table) (&table##_portable)
#endif

const struct kernels *kernels_get(void)
{
    return CHOOSE(kernels);
}

const struct direct_tiles *direct_tiles_get(void)
{
    return CHOOSE(direct_tiles);
}

const struct direct_tiles *direct_tiles_get_bf16(void)
{
#ifdef __x86_64__
    if (strcmp(nn_kernel_isa(), "avx512") == 0 && isa_has_bf16())
        return &direct_tiles_avx512bf16;
#endif
    return NULL;
}

const struct stem_tiles *stem_tiles_get(void)
{
    return CHOOSE(stem_tiles);
}

const struct depthwise_rows *depthwise_rows_get(void)
{
    return CHOOSE(depthwise_rows);
}

const struct layers *layers_get(void)
{
    return CHOOSE(layers);
}
