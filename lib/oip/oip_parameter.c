/* oip_parameter.c - see oip_parameter.h. */
#include "oip_parameter.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef Inference__ModelInferRequest__InferRequestedOutputTensor wanted_tensor;

/* NULL: absent, or without a value. */
static const Inference__InferParameter *parameter(const Inference__ModelInferRequest *req, const char *name)
{
    for (size_t i = 0; i < req->n_parameters; i++)
        if (strcmp(req->parameters[i]->key, name) == 0)
            return req->parameters[i]->value;
    return NULL;
}

/* Clients send the same number signed or unsigned. */
struct status oip_number_read(const Inference__ModelInferRequest *req, const char *name, uint64_t *out)
{
    const Inference__InferParameter *p = parameter(req, name);

    *out = 0;
    if (!p)
        return status_ok();
    switch (p->parameter_choice_case) {
    case INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_UINT64_PARAM:
        *out = p->uint64_param;
        return status_ok();
    case INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_INT64_PARAM:
        if (p->int64_param < 0)
            return status_errorf(ST_INVALID, "parameter %s: %" PRId64 ", must not be negative", name, p->int64_param);
        *out = (uint64_t)p->int64_param;
        return status_ok();
    default:
        return status_errorf(ST_INVALID, "parameter %s: must be an int64 or a uint64", name);
    }
}

/* Clients without doubles send text. */
struct status oip_fraction_read(const Inference__ModelInferRequest *req, const char *name, double *out)
{
    const Inference__InferParameter *p = parameter(req, name);
    char *end;

    if (!p)
        return status_ok();
    switch (p->parameter_choice_case) {
    case INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_DOUBLE_PARAM:
        *out = p->double_param;
        return status_ok();
    case INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_INT64_PARAM:
        *out = (double)p->int64_param;
        return status_ok();
    case INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_UINT64_PARAM:
        *out = (double)p->uint64_param;
        return status_ok();
    case INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_STRING_PARAM:
        *out = strtod(p->string_param, &end);
        if (end != p->string_param && !*end)
            return status_ok();
        break;
    default:
        break;
    }
    return status_errorf(ST_INVALID, "parameter %s: must be a number", name);
}

struct status oip_form_read(const Inference__ModelInferRequest *req, bool raw_input, bool *out)
{
    const Inference__InferParameter *p = parameter(req, "binary_data_output");

    *out = raw_input;
    if (!p)
        return status_ok();
    if (p->parameter_choice_case != INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_BOOL_PARAM)
        return status_errorf(ST_INVALID, "parameter binary_data_output: must be a bool");
    *out = p->bool_param;
    return status_ok();
}

struct status oip_deadline_read(const Inference__ModelInferRequest *req, int64_t *deadline)
{
    int64_t now = clock_now();
    uint64_t us;
    struct status st = oip_number_read(req, "timeout", &us);

    if (!st.code && us && us < (uint64_t)(CLOCK_NEVER - now) / 1000 && now + (int64_t)us * 1000 < *deadline)
        *deadline = now + (int64_t)us * 1000;
    return st;
}

/* ---- outputs ---- */

static struct status output_find(const wanted_tensor *t, const char *const *names, size_t n, size_t *out)
{
    char list[STATUS_MSG_SIZE / 2] = "";
    size_t used = 0;

    for (size_t i = 0; i < n; i++)
        if (strcmp(t->name, names[i]) == 0) {
            *out = i;
            return status_ok();
        }
    for (size_t i = 0; i < n && used < sizeof list; i++)
        used +=
            (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? i + 1 < n ? ", " : " and " : "", names[i]);
    return status_errorf(ST_INVALID, "the model has the outputs %s, and none of the name \"%s\"", list, t->name);
}

static struct status output_check(const wanted_tensor *t)
{
    for (size_t i = 0; i < t->n_parameters; i++) {
        const char *key = t->parameters[i]->key;
        if (strcmp(key, "classification") == 0)
            return status_errorf(ST_UNIMPLEMENTED, "%s: no extension \"classification\" here; ask for the labels",
                                 t->name);
        if (strncmp(key, "shared_memory", 13) == 0)
            return status_errorf(ST_UNIMPLEMENTED, "%s: this server gives no tensors in shared memory", t->name);
    }
    return status_ok();
}

struct status oip_outputs_read(const Inference__ModelInferRequest *req, const char *const *names, size_t n,
                               size_t *wanted, size_t *n_wanted)
{
    unsigned seen = 0;

    assert(n <= 32);
    *n_wanted = 0;
    for (size_t i = 0; i < req->n_outputs; i++) {
        size_t o = 0;
        struct status st = output_find(req->outputs[i], names, n, &o);
        if (!st.code)
            st = output_check(req->outputs[i]);
        if (!st.code && (seen & 1u << o))
            st = status_errorf(ST_INVALID, "%s: the output is asked for twice", names[o]);
        if (st.code)
            return st;
        seen |= 1u << o;
        wanted[(*n_wanted)++] = o;
    }
    for (size_t o = 0; o < n && !req->n_outputs; o++)
        wanted[(*n_wanted)++] = o;
    return status_ok();
}
