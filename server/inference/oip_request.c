/* oip_request.c - see oip_request.h. */
#include "oip_request.h"

#include "oip/oip_parameter.h"

static const char *const output_names[OIP_N_OUTPUTS] = {"label", "score", "prob"};

const char *oip_output_name(enum oip_output output)
{
    return output_names[output];
}

struct status oip_request_read(struct oip_request *out, const Inference__ModelInferRequest *req, size_t max,
                               struct arena *arena)
{
    const struct oip_input input = {OIP_TENSOR_TEXT, "texts", max};

    *out = (struct oip_request){.deadline = CLOCK_NEVER};
    struct status st = oip_elements_read(&out->texts, req, &input, arena);
    if (!st.code)
        st = oip_outputs_read(req, output_names, OIP_N_OUTPUTS, out->outputs, &out->n_outputs);
    if (!st.code)
        st = oip_number_read(req, "priority", &out->priority);
    if (!st.code)
        st = oip_deadline_read(req, &out->deadline);
    if (!st.code)
        st = oip_form_read(req, out->texts.raw, &out->raw);
    return st;
}
