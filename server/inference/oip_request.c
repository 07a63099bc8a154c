/* oip_request.c - see oip_request.h. */
#include "oip_request.h"

#include <inttypes.h>
#include <string.h>

typedef Inference__ModelInferRequest__InferRequestedOutputTensor wanted_tensor;

const char *oip_output_name(enum oip_output output)
{
    static const char *const names[] = {"label", "score", "prob"};

    return names[output];
}

/* ---- parameters ---- */

/* NULL: absent, or without a value. */
static const Inference__InferParameter *parameter(const Inference__ModelInferRequest *req, const char *name)
{
    for (size_t i = 0; i < req->n_parameters; i++)
        if (strcmp(req->parameters[i]->key, name) == 0)
            return req->parameters[i]->value;
    return NULL;
}

/* Clients send the same number signed or unsigned. */
static struct status number_read(const Inference__ModelInferRequest *req, const char *name, uint64_t *out)
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

static struct status form_read(struct oip_request *out, const Inference__ModelInferRequest *req)
{
    const Inference__InferParameter *p = parameter(req, "binary_data_output");

    out->raw = out->texts.raw;
    if (!p)
        return status_ok();
    if (p->parameter_choice_case != INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_BOOL_PARAM)
        return status_errorf(ST_INVALID, "parameter binary_data_output: must be a bool");
    out->raw = p->bool_param;
    return status_ok();
}

/* ---- outputs ---- */

static struct status output_find(const wanted_tensor *t, enum oip_output *out)
{
    for (enum oip_output o = OIP_LABEL; o <= OIP_PROB; o++)
        if (strcmp(t->name, oip_output_name(o)) == 0) {
            *out = o;
            return status_ok();
        }
    return status_errorf(ST_INVALID, "the model has the outputs label, score and prob, and none of the name \"%s\"",
                         t->name);
}

static struct status output_check(const wanted_tensor *t)
{
    for (size_t i = 0; i < t->n_parameters; i++) {
        const char *key = t->parameters[i]->key;
        if (strcmp(key, "classification") == 0)
            return status_errorf(ST_UNIMPLEMENTED, "%s: no extension \"classification\" here; label says the class",
                                 t->name);
        if (strncmp(key, "shared_memory", 13) == 0)
            return status_errorf(ST_UNIMPLEMENTED, "%s: this server gives no tensors in shared memory", t->name);
    }
    return status_ok();
}

static struct status outputs_read(struct oip_request *out, const Inference__ModelInferRequest *req)
{
    unsigned seen = 0;

    for (size_t i = 0; i < req->n_outputs; i++) {
        enum oip_output o = OIP_LABEL;
        struct status st = output_find(req->outputs[i], &o);
        if (!st.code)
            st = output_check(req->outputs[i]);
        if (!st.code && (seen & 1u << o))
            st = status_errorf(ST_INVALID, "%s: the output is asked for twice", oip_output_name(o));
        if (st.code)
            return st;
        seen |= 1u << o;
        out->outputs[out->n_outputs++] = o;
    }
    for (enum oip_output o = OIP_LABEL; o <= OIP_PROB && !req->n_outputs; o++)
        out->outputs[out->n_outputs++] = o;
    return status_ok();
}

struct status oip_request_read(struct oip_request *out, const Inference__ModelInferRequest *req, size_t max,
                               struct arena *arena)
{
    *out = (struct oip_request){.n_outputs = 0};
    struct status st = oip_texts_read(&out->texts, req, max, arena);

    if (!st.code)
        st = outputs_read(out, req);
    if (!st.code)
        st = number_read(req, "priority", &out->priority);
    if (!st.code)
        st = number_read(req, "timeout", &out->timeout_us);
    if (!st.code)
        st = form_read(out, req);
    return st;
}
