/* json_cut_fuzz.c - what is cut out lay in the text, and an object from which it was taken is an object still. */
#include "json.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = xmalloc(size + 1);
    struct json_span text = {copy, size}, value;
    json_t *whole = NULL, *rest = NULL;
    struct arena arena;

    memcpy(copy, data, size);
    copy[size] = '\0';
    arena_init(&arena, (size_t)1 << 20);
    bool valid = !json_parse(copy, size, &whole).code;
    if (!json_cut(&text, "a", &arena, &value).code && value.at) {
        assert(value.at > copy && value.at + value.size < copy + size);
        assert(text.at[text.size] == '\0');
        if (valid) {
            assert(!json_parse(text.at, text.size, &rest).code);
            assert(json_is_string(json_object_get(whole, "a")));
            assert(json_string_length(json_object_get(rest, "a")) == 0);
        }
    }
    json_decref(whole);
    json_decref(rest);
    arena_fini(&arena);
    free(copy);
    return 0;
}
