/* v2_infer_fuzz.c - bytes as the body of an inference request: the first two say how much of the rest is JSON. What is
 * taken has one raw entry for each input, inside of what was sent or made of it, and packs. */
#include "v2_infer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct v2_infer *in)
{
    size_t total = 0;

    if (in->req.n_raw_input_contents != in->req.n_inputs)
        abort();
    for (size_t i = 0; i < in->req.n_inputs; i++)
        total += in->req.raw_input_contents[i].len;
    if (total > V2_MAX_TENSORS)
        abort();
    size_t packed = protobuf_c_message_get_packed_size(&in->req.base);
    uint8_t *out = malloc(packed + 1);
    if (protobuf_c_message_pack(&in->req.base, out) != packed)
        abort();
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct v2_infer in;
    char header[16];

    if (size < 2)
        return 0;
    unsigned json = (unsigned)data[0] << 8 | data[1];
    snprintf(header, sizeof header, "%u", json);
    char *body = malloc(size - 1);
    memcpy(body, data + 2, size - 2);
    body[size - 2] = '\0';
    arena_init(&arena, 1 << 20);
    if (!v2_infer_decode(&in, body, size - 2, json == 0xffff ? NULL : header, &arena).code)
        check(&in);
    v2_infer_fini(&in);
    arena_fini(&arena);
    free(body);
    return 0;
}
