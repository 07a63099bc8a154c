/* dispatch.c - which of the compiled kernels this CPU gets. */
#include "nn/kernels.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const struct nn_kernels *const kernels[ISA_N] = {
    [ISA_PORTABLE] = &nn_kernels_portable,
#ifdef __x86_64__
    [ISA_AVX2] = &nn_kernels_avx2,         [ISA_AVX2VNNI] = &nn_kernels_avx2,
    [ISA_AVX512] = &nn_kernels_avx512,     [ISA_AVX512VNNI] = &nn_kernels_avx512,
#endif
};

static enum isa chosen;

static void choose(void)
{
    const char *forced = getenv("BLOGINFER_NN_ISA");
    enum isa best = ISA_PORTABLE;

    for (enum isa isa = 0; isa < ISA_N; isa++) {
        if (!isa_supported(isa))
            continue;
        best = isa;
        if (forced && strcmp(forced, isa_name(isa)) == 0)
            break;
    }
    if (forced && *forced && strcmp(forced, isa_name(best)) != 0)
        log_warn("nn_isa_unknown", log_s("isa", forced));
    chosen = best;
}

enum isa nn_isa(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, choose);
    return chosen;
}

const struct nn_kernels *nn_kernels_find(enum isa isa)
{
    return isa_supported(isa) ? kernels[isa] : NULL;
}

const struct nn_kernels *nn_kernels(void)
{
    return kernels[nn_isa()];
}

const char *nn_kernel_isa(void)
{
    return nn_kernels()->isa;
}
