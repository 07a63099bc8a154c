/* engine.c - the list of engines. */
#include "engine.h"

#include <string.h>

static const struct engine_kind *const kinds[] = {&engine_fp32, &engine_bf16,     &engine_int16,
                                                  &engine_int8, &engine_openblas, &engine_darknet};

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

struct status engine_clone(struct engine **out, const struct engine *e, const struct network *net)
{
    return e->kind->clone ? e->kind->clone(out, e) : e->kind->create(out, net);
}

void engine_release_parameters(const struct engine *e, struct network *net)
{
    if (e->kind != &engine_darknet)
        network_drop_file(net);
    if (e->kind->clone)
        network_drop_parameters(net);
}

void engine_forward(struct engine *e, const float *input)
{
    e->kind->forward(e, input);
}

/* An engine is for one thread at a time, so what a pass is to be asked is the thread's. */
static _Thread_local struct {
    bool (*stop)(void *ctx);
    void *ctx;
    bool asked;
} running;

bool engine_stop_asked(void)
{
    if (running.stop && !running.asked)
        running.asked = running.stop(running.ctx);
    return running.asked;
}

bool engine_forward_until(struct engine *e, const float *input, bool (*stop)(void *ctx), void *ctx)
{
    running.stop = stop;
    running.ctx = ctx;
    running.asked = false;
    engine_forward(e, input);
    bool whole = !running.asked;
    running.stop = NULL;
    running.asked = false;
    return whole;
}

void engine_free(struct engine *e)
{
    if (e)
        e->kind->destroy(e);
}
