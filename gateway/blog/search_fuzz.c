/* search_fuzz.c - any bytes as a document and as a query. */
#include "search.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf out = BUF_INIT(12 * (SEARCH_MAX_INDEXED + 1)), query = BUF_INIT(64 << 10);
    struct search_part part = {(const char *)data, size, 'B'};

    (void)search_document(&out, &part, 1);
    (void)search_query(&query, (const char *)data, size);
    buf_fini(&out);
    buf_fini(&query);
    return 0;
}
