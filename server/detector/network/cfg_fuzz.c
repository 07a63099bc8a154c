/* cfg_fuzz.c - any bytes as a cfg file; what is taken prints as a file that is taken, too, as the same network. */
#include "cfg.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf text = BUF_INIT((size_t)1 << 20);
    struct cfg *c, *again;

    if (cfg_parse(&c, (const char *)data, size).code)
        return 0;
    cfg_print(c, &text);
    if (cfg_parse(&again, text.data, text.size).code || again->n_params != c->n_params ||
        memcmp(again->layers, c->layers, sizeof c->layers) != 0 || memcmp(again->heads, c->heads, sizeof c->heads) != 0)
        abort();
    buf_fini(&text);
    free(again);
    free(c);
    return 0;
}
