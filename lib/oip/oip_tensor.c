/* oip_tensor.c - see oip_tensor.h. Our models take one kind of thing each, so there is one input to understand; the
 * shape is bounded dimension by dimension before anything is multiplied. */
#include "oip_tensor.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers go out as they stand in memory");

typedef Inference__ModelInferRequest__InferInputTensor input_tensor;

#define LENGTH_SIZE 4 /* of the number before an element of BYTES */

static struct status no_room(const struct oip_input *input)
{
    return status_errorf(ST_EXHAUSTED, "the %s are too many for one call: send fewer at a time", input->things);
}

/* ---- requests ---- */

static uint32_t length_get(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

struct status oip_bytes_split(struct oip_bytes *rows, size_t n, const uint8_t *data, size_t size, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (size < LENGTH_SIZE)
            return status_errorf(ST_INVALID, "%s: the data ends before the length of element %zu, of %zu", name, i, n);
        uint32_t length = length_get(data);
        data += LENGTH_SIZE;
        size -= LENGTH_SIZE;
        if (length > size)
            return status_errorf(ST_INVALID, "%s: element %zu has a length of %" PRIu32 " bytes, and %zu are left",
                                 name, i, length, size);
        rows[i] = (struct oip_bytes){(const char *)data, length};
        data += length;
        size -= length;
    }
    if (size)
        return status_errorf(ST_INVALID, "%s: %zu bytes behind the last of the %zu elements of its shape", name, size,
                             n);
    return status_ok();
}

static struct status shape_read(const input_tensor *in, const struct oip_input *input, size_t *n)
{
    if (in->n_shape < 1 || in->n_shape > 2)
        return status_errorf(ST_INVALID, "%s: its shape has %zu dimensions, must be [N] or [N,1]", input->name,
                             in->n_shape);
    if (in->shape[0] < 1 || (uint64_t)in->shape[0] > input->max)
        return status_errorf(ST_INVALID, "%s: dimension 0 of its shape is %" PRId64 ", must be 1 to %zu %s",
                             input->name, in->shape[0], input->max, input->things);
    if (in->n_shape == 2 && in->shape[1] != 1)
        return status_errorf(ST_INVALID, "%s: dimension 1 of its shape is %" PRId64 ", must be 1", input->name,
                             in->shape[1]);
    *n = (size_t)in->shape[0];
    return status_ok();
}

/* Elements in fields that are not for BYTES. */
static size_t n_foreign(const Inference__InferTensorContents *c)
{
    return c->n_bool_contents + c->n_int_contents + c->n_int64_contents + c->n_uint_contents + c->n_uint64_contents +
           c->n_fp32_contents + c->n_fp64_contents;
}

static struct status typed_read(struct oip_bytes *rows, size_t n, const Inference__InferTensorContents *c,
                                const char *name)
{
    if (n_foreign(c))
        return status_errorf(ST_INVALID, "%s: contents of another datatype; BYTES go into bytes_contents", name);
    if (c->n_bytes_contents != n)
        return status_errorf(ST_INVALID, "%s: %zu elements in bytes_contents, its shape says %zu", name,
                             c->n_bytes_contents, n);
    for (size_t i = 0; i < n; i++) {
        const ProtobufCBinaryData *b = &c->bytes_contents[i];
        rows[i] = (struct oip_bytes){b->len ? (const char *)b->data : "", b->len};
    }
    return status_ok();
}

static struct status data_read(struct oip_elements *out, const Inference__ModelInferRequest *req, const char *name)
{
    const Inference__InferTensorContents *c = req->inputs[0]->contents;

    out->raw = req->n_raw_input_contents > 0;
    if (!out->raw && !c)
        return status_errorf(ST_INVALID, "%s: it has no data: neither contents nor raw_input_contents", name);
    if (!out->raw)
        return typed_read(out->rows, out->n, c, name);
    if (req->n_raw_input_contents != req->n_inputs)
        return status_errorf(ST_INVALID, "raw_input_contents: %zu entries for %zu inputs", req->n_raw_input_contents,
                             req->n_inputs);
    if (c && c->n_bytes_contents + n_foreign(c))
        return status_errorf(ST_INVALID, "%s: it has contents and the request has raw_input_contents: send one", name);
    return oip_bytes_split(out->rows, out->n, req->raw_input_contents[0].data, req->raw_input_contents[0].len, name);
}

/* Exactly the one input, of BYTES, in memory that was sent. */
static struct status input_check(const Inference__ModelInferRequest *req, const char *name)
{
    for (size_t i = 0; i < req->n_inputs; i++)
        if (strcmp(req->inputs[i]->name, name) != 0)
            return status_errorf(ST_INVALID, "the model has the one input %s, and none of the name \"%s\"", name,
                                 req->inputs[i]->name);
    if (req->n_inputs != 1)
        return status_errorf(ST_INVALID, "%s: the input is there %zu times, must be there once", name, req->n_inputs);
    const input_tensor *in = req->inputs[0];
    for (size_t i = 0; i < in->n_parameters; i++)
        if (strncmp(in->parameters[i]->key, "shared_memory", 13) == 0)
            return status_errorf(ST_UNIMPLEMENTED, "%s: this server takes no tensors in shared memory", name);
    if (strcmp(in->datatype, "BYTES") != 0)
        return status_errorf(ST_INVALID, "%s: its datatype has to be BYTES, it is \"%s\"", name, in->datatype);
    return status_ok();
}

struct status oip_elements_read(struct oip_elements *out, const Inference__ModelInferRequest *req,
                                const struct oip_input *input, struct arena *arena)
{
    struct status st = input_check(req, input->name);

    if (!st.code)
        st = shape_read(req->inputs[0], input, &out->n);
    if (st.code)
        return st;
    out->rows = arena_alloc(arena, out->n * sizeof *out->rows);
    return out->rows ? data_read(out, req, input->name) : no_room(input);
}

/* ---- answers ---- */

/* The next output with its shape and no data; NULL: no room. */
static Inference__ModelInferResponse__InferOutputTensor *output_add(struct oip_writer *w, const char *name,
                                                                    const char *datatype, size_t n, size_t columns)
{
    Inference__ModelInferResponse *rep = w->rep;
    Inference__ModelInferResponse__InferOutputTensor *t = arena_alloc(w->arena, sizeof *t);

    if (!rep->outputs) {
        rep->outputs = arena_alloc(w->arena, OIP_MAX_OUTPUTS * sizeof *rep->outputs);
        rep->raw_output_contents = arena_alloc(w->arena, OIP_MAX_OUTPUTS * sizeof *rep->raw_output_contents);
    }
    int64_t *shape = arena_alloc(w->arena, 2 * sizeof *shape);
    if (!t || !shape || !rep->outputs || !rep->raw_output_contents) {
        w->full = true;
        return NULL;
    }
    assert(rep->n_outputs < OIP_MAX_OUTPUTS);
    inference__model_infer_response__infer_output_tensor__init(t);
    shape[0] = (int64_t)n;
    shape[1] = (int64_t)columns;
    t->name = (char *)name;
    t->datatype = (char *)datatype;
    t->shape = shape;
    t->n_shape = columns ? 2 : 1;
    rep->outputs[rep->n_outputs++] = t;
    return t;
}

static void raw_add(struct oip_writer *w, const void *data, size_t size)
{
    w->rep->raw_output_contents[w->rep->n_raw_output_contents++] = (ProtobufCBinaryData){size, (uint8_t *)data};
}

static Inference__InferTensorContents *contents_new(struct oip_writer *w)
{
    Inference__InferTensorContents *c = arena_alloc(w->arena, sizeof *c);

    if (c)
        inference__infer_tensor_contents__init(c);
    w->full |= !c;
    return c;
}

static void write_bytes_raw(struct oip_writer *w, const struct oip_bytes *elements, size_t n)
{
    size_t size = 0;

    for (size_t i = 0; i < n; i++)
        size += LENGTH_SIZE + elements[i].size;
    uint8_t *data = arena_alloc(w->arena, size), *at = data;
    if (!data) {
        w->full = true;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t length = (uint32_t)elements[i].size;
        memcpy(at, &length, LENGTH_SIZE);
        memcpy(at + LENGTH_SIZE, elements[i].data, length);
        at += LENGTH_SIZE + length;
    }
    raw_add(w, data, size);
}

void oip_write_bytes(struct oip_writer *w, const char *name, const struct oip_bytes *elements, size_t n)
{
    Inference__ModelInferResponse__InferOutputTensor *t = output_add(w, name, "BYTES", n, 0);

    if (t && w->raw)
        write_bytes_raw(w, elements, n);
    if (!t || w->raw || !(t->contents = contents_new(w)))
        return;
    Inference__InferTensorContents *c = t->contents;
    c->bytes_contents = arena_alloc(w->arena, n * sizeof *c->bytes_contents);
    for (size_t i = 0; c->bytes_contents && i < n; i++)
        c->bytes_contents[i] = (ProtobufCBinaryData){elements[i].size, (uint8_t *)elements[i].data};
    c->n_bytes_contents = c->bytes_contents ? n : 0;
    w->full |= !c->bytes_contents;
}

void oip_write_fp32(struct oip_writer *w, const char *name, const float *data, size_t n, size_t columns)
{
    Inference__ModelInferResponse__InferOutputTensor *t = output_add(w, name, "FP32", n, columns);
    size_t count = columns ? n * columns : n;

    if (t && w->raw)
        raw_add(w, data, count * sizeof *data);
    if (!t || w->raw || !(t->contents = contents_new(w)))
        return;
    t->contents->fp32_contents = (float *)data;
    t->contents->n_fp32_contents = count;
}

void oip_write_int32(struct oip_writer *w, const char *name, const int32_t *data, size_t n)
{
    Inference__ModelInferResponse__InferOutputTensor *t = output_add(w, name, "INT32", n, 0);

    if (t && w->raw)
        raw_add(w, data, n * sizeof *data);
    if (!t || w->raw || !(t->contents = contents_new(w)))
        return;
    t->contents->int_contents = (int32_t *)data;
    t->contents->n_int_contents = n;
}
