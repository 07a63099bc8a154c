/* ranges_fuzz.c - any bytes as a file of ranges; what is taken prints as the same ranges. */
#include "ranges.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf text = BUF_INIT(RANGES_MAX_BYTES);
    struct ranges *r, *again;

    if (ranges_parse(&r, (const char *)data, size).code)
        return 0;
    ranges_print(r, &text);
    if (ranges_parse(&again, text.data, text.size).code || again->n_layers != r->n_layers)
        abort();
    for (size_t i = 0; i < r->n_layers; i++)
        if (again->layers[i].min != r->layers[i].min || again->layers[i].high != r->layers[i].high)
            abort();
    buf_fini(&text);
    free(again);
    free(r);
    return 0;
}
