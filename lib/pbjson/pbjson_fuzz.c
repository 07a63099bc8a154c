/* pbjson_fuzz.c - what a request body can be: any JSON into a message, and the message back. */
#include "bloginfer/v1/federation.pb-c.h"
#include "pbjson/pbjson.h"

#include <assert.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Bloginfer__V1__RunConfig config = BLOGINFER__V1__RUN_CONFIG__INIT, again = BLOGINFER__V1__RUN_CONFIG__INIT;
    json_t *object = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    struct arena arena;

    if (!object)
        return 0;
    arena_init(&arena, 1 << 16);
    if (!pbjson_decode(&config.base, object, &arena).code) {
        json_t *back = pbjson_encode(&config.base);

        assert(!pbjson_decode(&again.base, back, &arena).code || arena.refused);
        json_decref(back);
    }
    arena_fini(&arena);
    json_decref(object);
    return 0;
}
