/* oip_tensor.h - tensors of the Open Inference Protocol: from a request to the texts or pictures in it, and from labels and
 * numbers to an answer. Everything of a request is checked here before it is used: names, datatypes, shapes, and that the data
 * is exactly as large as the shape says. Knows no models. Thread-safe. */
#ifndef OIP_OIP_TENSOR_H
#define OIP_OIP_TENSOR_H

#include "base/base.h"

#include "inference/grpc_service.pb-c.h"

#include <stdbool.h>

/* The element of a BYTES tensor; not terminated, any bytes. */
struct oip_bytes {
    const char *data;
    size_t size;
};

/* The one input of a model, of BYTES. */
struct oip_input {
    const char *name;   /* "text" */
    const char *things; /* what its elements are, "texts" */
    size_t max;         /* elements in a call */
};

struct oip_elements {
    struct oip_bytes *rows; /* (n,), in the arena; what they point to is the request's */
    size_t n;
    bool raw; /* they came as raw_input_contents */
};

/* The input's elements of a request, 1 to max. Neither their size nor their UTF-8 is looked at. ST_INVALID names the tensor and
 * what is wrong; ST_UNIMPLEMENTED: shared memory; ST_EXHAUSTED: the arena is full. */
struct status oip_elements_read(struct oip_elements *out, const Inference__ModelInferRequest *req,
                                const struct oip_input *input, struct arena *arena);

/* The elements of raw BYTES, n of them and nothing behind: rows (n,). name: of the tensor, for the message. */
struct status oip_bytes_split(struct oip_bytes *rows, size_t n, const uint8_t *data, size_t size, const char *name);

/* ---- answers ---- */

enum { OIP_MAX_OUTPUTS = 4 };

/* An answer under construction; its first output allocates for OIP_MAX_OUTPUTS of them. */
struct oip_writer {
    Inference__ModelInferResponse *rep;
    struct arena *arena;
    bool raw;  /* raw_output_contents, else typed contents */
    bool full; /* the arena has no more room: check once at the end */
};

/* Adds an output BYTES [n]. name and elements: borrowed until the answer is packed. */
void oip_write_bytes(struct oip_writer *w, const char *name, const struct oip_bytes *elements, size_t n);

/* Adds an output INT32 [n]. name and data: borrowed until the answer is packed. */
void oip_write_int32(struct oip_writer *w, const char *name, const int32_t *data, size_t n);

/* Adds an output FP32 [n], or [n,columns] when columns is not 0. name and data: borrowed until the answer is packed. */
void oip_write_fp32(struct oip_writer *w, const char *name, const float *data, size_t n, size_t columns);

#endif
