/* oip_parameter.h - parameters of a ModelInferRequest that mean something to every model of ours, and the refusal of what no
 * server of ours does. Thread-safe. */
#ifndef OIP_OIP_PARAMETER_H
#define OIP_OIP_PARAMETER_H

#include "base/base.h"

#include "inference/grpc_service.pb-c.h"

#include <stdbool.h>

/* *out: 0 when it is absent. ST_INVALID: not a whole number, or negative. */
struct status oip_number_read(const Inference__ModelInferRequest *req, const char *name, uint64_t *out);

/* *out is left alone when it is absent. ST_INVALID: neither a number nor the text of one. */
struct status oip_fraction_read(const Inference__ModelInferRequest *req, const char *name, double *out);

/* Whether the answer is raw_output_contents: by the parameter "binary_data_output", else as the input came. */
struct status oip_form_read(const Inference__ModelInferRequest *req, bool raw_input, bool *out);

/* The sooner of the deadline and the parameter "timeout", microseconds from now; clock_now() scale. */
struct status oip_deadline_read(const Inference__ModelInferRequest *req, int64_t *deadline);

/* Which of the names (n,) the request wants, in its order, each once; all when it names none. wanted: (n,) indices.
 * ST_INVALID: unknown or twice; ST_UNIMPLEMENTED: as classes, or in shared memory. */
struct status oip_outputs_read(const Inference__ModelInferRequest *req, const char *const *names, size_t n,
                               size_t *wanted, size_t *n_wanted);

#endif
