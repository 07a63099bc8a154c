/* engine.c - the list of engines. */
#include "engine.h"

#include <string.h>

static const struct engine_kind *const kinds[] = {&engine_fp32, &engine_int16, &engine_int8, &engine_openblas,
                                                  &engine_darknet};

const struct engine_kind *engine_kind_at(size_t i)
{
    return i < COUNT_OF(kinds) ? kinds[i] : NULL;
}

const struct engine_kind *engine_kind_find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    return NULL;
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
