/* descriptors_fuzz.c - bytes as a descriptor set. */
#include "rpc/descriptors.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct descriptors *d;

    if (descriptors_new(&d, data, size).code)
        return 0;
    size_t n = descriptors_n_files(d), *indexes = xcalloc(n + 1, sizeof *indexes);
    for (size_t i = 0; i < n; i++)
        if (descriptors_closure(d, i, indexes) > n)
            abort();
    descriptors_symbol(d, "a.b");
    free(indexes);
    descriptors_free(d);
    return 0;
}
