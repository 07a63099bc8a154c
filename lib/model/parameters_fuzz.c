/* parameters_fuzz.c - whatever bytes come, the parser refuses them or gives parameters that are within their ranges and
 * survive the way to the file and back unchanged. */
#include "model/parameters.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model_parameters p, again;

    if (model_parameters_parse(&p, (const char *)data, size).code)
        return 0;
    char *text = model_parameters_format(&p);
    if (model_parameters_check(&p).code || model_parameters_parse(&again, text, strlen(text)).code ||
        !model_parameters_equal(&p, &again))
        abort();
    free(text);
    return 0;
}
