/* predictor.c - see predictor.h. */
#include "nn/predictor.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct nn_predictor {
    struct nn_shape shape;
    size_t bytes;
    float params[];
};

struct nn_scratch {
    struct nn_workspace *ws;
    uint32_t max_batch;
};

static struct status finite_check(const struct nn_shape *s, const float *params)
{
    size_t n = nn_n_params(s);

    for (size_t i = 0; i < n; i++)
        if (!isfinite(params[i]))
            return status_errorf(ST_INVALID, "parameter %zu of %zu is not finite", i, n);
    return status_ok();
}

struct status nn_predictor_new(struct nn_predictor **out, const struct nn_shape *s, const float *params,
                               enum nn_precision precision)
{
    struct status st = finite_check(s, params);
    size_t bytes = sizeof **out + nn_n_params(s) * sizeof *params;

    if (!st.code && precision != NN_FP32)
        st = status_errorf(ST_UNIMPLEMENTED, "int8 of family %s", nn_family_name(s->family));
    if (st.code)
        return st;
    struct nn_predictor *p = xmalloc(bytes);
    p->shape = *s;
    p->bytes = bytes;
    memcpy(p->params, params, nn_n_params(s) * sizeof *params);
    *out = p;
    return st;
}

void nn_predictor_free(struct nn_predictor *p)
{
    free(p);
}

size_t nn_predictor_bytes(const struct nn_predictor *p)
{
    return p->bytes;
}

struct nn_scratch *nn_scratch_new(const struct nn_shape *s, uint32_t max_batch)
{
    struct nn_scratch *scratch = xmalloc(sizeof *scratch);

    scratch->ws = nn_workspace_new(s, max_batch);
    scratch->max_batch = max_batch;
    return scratch;
}

void nn_scratch_free(struct nn_scratch *scratch)
{
    if (!scratch)
        return;
    nn_workspace_free(scratch->ws);
    free(scratch);
}

bool nn_predictor_run(const struct nn_predictor *p, struct nn_scratch *scratch, const struct nn_example *batch,
                      uint32_t n, float *probs, bool (*cancelled)(void *arg), void *arg)
{
    assert(n > 0 && n <= scratch->max_batch);
    if (cancelled && cancelled(arg))
        return false;
    nn_predict(scratch->ws, p->params, batch, n, probs);
    return true;
}
