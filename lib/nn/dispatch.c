/* dispatch.c - which of the compiled kernels this CPU gets. */
#include "nn/kernels.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const struct nn_kernels *best;

const struct nn_kernels *nn_kernels_find(const char *isa)
{
#ifdef __x86_64__
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");

    if (avx512 && strcmp(isa, nn_kernels_avx512.isa) == 0)
        return &nn_kernels_avx512;
    if (avx2 && strcmp(isa, nn_kernels_avx2.isa) == 0)
        return &nn_kernels_avx2;
#endif
    return strcmp(isa, nn_kernels_portable.isa) == 0 ? &nn_kernels_portable : NULL;
}

static void choose(void)
{
    static const char *const order[] = {"avx512", "avx2", "portable"};
    const char *forced = getenv("BLOGINFER_NN_ISA");

    if (forced && *forced && !(best = nn_kernels_find(forced)))
        log_warn("nn_isa_unknown", log_s("isa", forced));
    for (size_t i = 0; i < COUNT_OF(order) && !best; i++)
        best = nn_kernels_find(order[i]);
}

const struct nn_kernels *nn_kernels(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, choose);
    return best;
}

const char *nn_kernel_isa(void)
{
    return nn_kernels()->isa;
}
