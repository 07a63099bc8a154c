/* multipart_fuzz.c - parts lie within the body, one behind the other, and come to an end. */
#include "multipart.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first line is the Content-Type, the rest the body. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *line = memchr(data, '\n', size);
    size_t n = line ? (size_t)(line - data) : size;
    size_t left = line ? size - n - 1 : 0;
    char *type = xmalloc(n + 1), *body = xmalloc(left + 1), *behind = body;
    struct multipart_part part;
    struct multipart m;

    memcpy(type, data, n);
    type[n] = '\0';
    if (left)
        memcpy(body, line + 1, left);
    if (!multipart_init(&m, type, body, left).code)
        while (!multipart_next(&m, &part).code && part.data) {
            assert(part.data >= behind && part.data + part.size <= body + left);
            assert(strlen(part.name) <= MULTIPART_MAX_NAME);
            behind = part.data + part.size;
        }
    free(body);
    free(type);
    return 0;
}
