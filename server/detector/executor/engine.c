/* engine.c - the list of engines. */
#include "engine.h"

#include <string.h>

const struct engine_kind *engine_kind_find(const char *name)
{
    static const struct engine_kind *const kinds[] = {&engine_fp32, &engine_openblas, &engine_darknet, NULL};
    const struct engine_kind *const *kind = kinds;

    while (*kind && strcmp((*kind)->name, name) != 0)
        kind++;
    return *kind;
}

void engine_forward(struct engine *e, const float *input)
{
    e->kind->forward(e, input);
}

void engine_free(struct engine *e)
{
    if (e)
        e->kind->destroy(e);
}
