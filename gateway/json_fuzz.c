/* json_fuzz.c - any body: an object comes out, or an error that says something. */
#include "json.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *out;
    struct status st = json_parse((const char *)data, size, &out);
    const char *text;
    double number;

    assert(st.code ? !out && st.msg[0] : json_is_object(out));
    if (st.code)
        return 0;
    if (!json_text(out, "a", 8, true, &text).code)
        assert(json_string_length(json_object_get(out, "a")) <= 8);
    if (!json_number(out, "a", 0, 1, 0, &number).code)
        assert(number >= 0 && number <= 1);
    json_decref(out);
    return 0;
}
