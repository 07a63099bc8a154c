/* model_fuzz.c - whatever bytes come, model_decode() refuses them or gives a model that survives the way to bytes and
 * back unchanged. */
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model *m = NULL, *again = NULL;
    char *first = NULL, *second = NULL;
    size_t n_first = 0, n_second = 0;

    if (model_decode(&m, data, size).code)
        return 0;
    if (model_encode(m, &first, &n_first).code || model_decode(&again, first, n_first).code ||
        model_encode(again, &second, &n_second).code || n_first != n_second || memcmp(first, second, n_first) != 0)
        abort();
    free(first);
    free(second);
    model_free(m);
    model_free(again);
    return 0;
}
