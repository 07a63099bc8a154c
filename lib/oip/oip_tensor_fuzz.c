/* oip_tensor_fuzz.c - bytes as a ModelInferRequest, as they come from the network: whatever is taken lies within them
 * and fits its shape, and can be written out and read again. */
#include "oip_tensor.h"
#include "rpc/message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX 256

/* The texts as an answer's raw output, split again. */
static void again(const struct oip_elements *texts, struct arena *arena)
{
    Inference__ModelInferResponse rep = INFERENCE__MODEL_INFER_RESPONSE__INIT;
    struct oip_writer w = {&rep, arena, true, false};
    struct oip_bytes rows[MAX];

    oip_write_bytes(&w, "label", texts->rows, texts->n);
    if (w.full)
        return;
    const ProtobufCBinaryData *raw = &rep.raw_output_contents[0];
    if (oip_bytes_split(rows, texts->n, raw->data, raw->len, "label").code)
        abort();
    for (size_t i = 0; i < texts->n; i++)
        if (rows[i].size != texts->rows[i].size || memcmp(rows[i].data, texts->rows[i].data, rows[i].size) != 0)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct oip_input input = {"text", "texts", MAX};
    struct arena arena;
    struct oip_elements texts;
    const void *req;

    arena_init(&arena, 1 << 20);
    if (!message_parse(&req, &inference__model_infer_request__descriptor, data, size, &arena).code &&
        !oip_elements_read(&texts, req, &input, &arena).code) {
        if (texts.n < 1 || texts.n > MAX)
            abort();
        again(&texts, &arena);
    }
    arena_fini(&arena);
    return 0;
}
