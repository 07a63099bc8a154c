/* embed.c - see embed.h. Dropout belongs to a position in a text, so both directions of the LSTM see the same one. */
#include "nn/embed.h"
#include "nn/dropout.h"

#include <string.h>

/* The position that row r reads at a step. */
static inline size_t position_of(const struct embed *e, size_t r, size_t step, bool reverse)
{
    return reverse ? e->batch[e->order[r]].n_ids - 1 - step : step;
}

static inline bool token_dropped(const struct embed *e, size_t row, size_t position)
{
    return e->drop_token && dropout_key(e->seed, DROPOUT_TOKEN, row, position) < e->drop_token;
}

struct embed embed_of(const struct pass *p, const nn_real *table, size_t width, nn_real *grad)
{
    return (struct embed){
        .kernels = p->kernels,
        .table = table,
        .grad = grad,
        .width = width,
        .batch = p->batch,
        .order = p->order,
        .seed = p->seed,
        .drop_token = dropout_limit(p->objective->token_dropout),
        .drop_element = dropout_limit(p->objective->embed_dropout),
        .scale = 1 / (1 - (nn_real)p->objective->embed_dropout),
    };
}

void embed_character(const struct embed *e, size_t row, size_t position, nn_real *x)
{
    const nn_real *from = e->table + e->batch[row].ids[position] * e->width;

    if (token_dropped(e, row, position))
        memset(x, 0, e->width * sizeof *x);
    else if (e->drop_element)
        e->kernels->dropout(x, from, e->width, dropout_key(e->seed, DROPOUT_EMBED, row, position), e->drop_element,
                            e->scale);
    else
        memcpy(x, from, e->width * sizeof *x);
}

void embed_character_back(const struct embed *e, size_t row, size_t position, const nn_real *dx)
{
    nn_real *to = e->grad + e->batch[row].ids[position] * e->width;

    if (token_dropped(e, row, position))
        return;
    if (e->drop_element)
        e->kernels->dropout_add(to, dx, e->width, dropout_key(e->seed, DROPOUT_EMBED, row, position), e->drop_element,
                                e->scale);
    else
        e->kernels->add_scaled(to, dx, e->width, 1);
}

void embed_step(const struct embed *e, size_t n, size_t step, bool reverse, nn_real *x, size_t x_stride)
{
    for (size_t r = 0; r < n; r++, x += x_stride)
        embed_character(e, e->order[r], position_of(e, r, step, reverse), x);
}

void embed_step_back(const struct embed *e, size_t n, size_t step, bool reverse, const nn_real *dx, size_t dx_stride)
{
    for (size_t r = 0; r < n; r++, dx += dx_stride)
        embed_character_back(e, e->order[r], position_of(e, r, step, reverse), dx);
}
