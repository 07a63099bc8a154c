/* base64_fuzz.c - what decodes encodes to the same text again. */
#include "base64.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *out = xmalloc(BASE64_DECODED_MAX(size) + 1);
    unsigned char *again = xmalloc(size + 8);
    size_t n;

    if (!base64_decode((const char *)data, size, out, &n).code) {
        assert(n <= BASE64_DECODED_MAX(size));
        assert((size_t)EVP_EncodeBlock(again, out, (int)n) == size);
        assert(!memcmp(again, data, size));
    }
    free(again);
    free(out);
    return 0;
}
