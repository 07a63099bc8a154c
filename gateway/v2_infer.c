/* v2_infer.c - see v2_infer.h. */
#include "v2_infer.h"

#include "json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ID      1024
#define MAX_NAME    256
#define LENGTH_SIZE 4 /* of the little-endian number before an element of BYTES */

typedef Inference__ModelInferRequest__InferInputTensor input_tensor;
typedef Inference__ModelInferRequest__InferRequestedOutputTensor wanted_tensor;
typedef Inference__ModelInferResponse__InferOutputTensor output_tensor;

/* What lies behind the JSON, handed out in the order of the inputs. */
struct tail {
    const uint8_t *at;
    size_t left;
};

static struct status no_room(void)
{
    return status_errorf(ST_EXHAUSTED, "the request is too large: send fewer texts at a time");
}

/* ---- parameters ---- */

/* Sets the member of the oneof with this name; false: the type has none. */
static bool choose(ProtobufCMessage *value, const char *name, const void *data, size_t size)
{
    const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(value->descriptor, name);

    if (!f)
        return false;
    memcpy((char *)value + f->quantifier_offset, &f->id, sizeof f->id);
    memcpy((char *)value + f->offset, data, size);
    return true;
}

static bool value_set(ProtobufCMessage *value, const json_t *json)
{
    protobuf_c_boolean truth = json_is_true(json);
    int64_t whole = json_integer_value(json);
    double real = json_real_value(json);
    const char *text = json_string_value(json);

    switch (json_typeof(json)) {
    case JSON_TRUE:
    case JSON_FALSE:
        return choose(value, "bool_param", &truth, sizeof truth);
    case JSON_INTEGER:
        return choose(value, "int64_param", &whole, sizeof whole);
    case JSON_REAL:
        return choose(value, "double_param", &real, sizeof real);
    case JSON_STRING:
        return choose(value, "string_param", &text, sizeof text);
    default:
        return false;
    }
}

static bool listed(const char *const *names, const char *name)
{
    for (; *names; names++)
        if (!strcmp(*names, name))
            return true;
    return false;
}

/* One entry with an empty value; NULL: no room. */
static ProtobufCMessage *entry_new(const ProtobufCMessageDescriptor *type, const char *key, struct arena *arena,
                                   ProtobufCMessage **value)
{
    const ProtobufCFieldDescriptor *fields = type->fields; /* of a map: key, value */
    const ProtobufCMessageDescriptor *value_type = fields[1].descriptor;
    ProtobufCMessage *entry = arena_alloc(arena, type->sizeof_message);

    *value = arena_alloc(arena, value_type->sizeof_message);
    if (!entry || !*value)
        return NULL;
    protobuf_c_message_init(type, entry);
    protobuf_c_message_init(value_type, *value);
    memcpy((char *)entry + fields[0].offset, &key, sizeof key);
    memcpy((char *)entry + fields[1].offset, value, sizeof *value);
    return entry;
}

struct status v2_parameters(void *entries, size_t *n, const ProtobufCMessageDescriptor *entry, const json_t *params,
                            const char *const *skip, struct arena *arena)
{
    ProtobufCMessage **all = arena_alloc(arena, json_object_size(params) * sizeof *all), *value;
    const char *key;
    json_t *json;

    *n = 0;
    if (params && !json_is_object(params))
        return status_errorf(ST_INVALID, "\"parameters\" has to be an object");
    if (!all)
        return no_room();
    json_object_foreach((json_t *)params, key, json)
    {
        if (listed(skip, key))
            continue;
        if (!(all[*n] = entry_new(entry, key, arena, &value)))
            return no_room();
        if (!value_set(value, json))
            return status_errorf(ST_INVALID, "the parameter has a value of a type that is not taken: \"%s\"", key);
        ++*n;
    }
    memcpy(entries, &all, sizeof all);
    return status_ok();
}

/* ---- inputs ---- */

/* Adds up the elements below json: *n of them, of *size bytes as raw BYTES. False: one is no string. */
static bool count_strings(const json_t *json, size_t *n, size_t *size)
{
    size_t i;
    json_t *one;

    if (json_is_string(json)) {
        ++*n;
        *size += LENGTH_SIZE + json_string_length(json);
        return true;
    }
    if (!json_is_array(json))
        return false;
    json_array_foreach(json, i, one) if (!count_strings(one, n, size)) return false;
    return true;
}

/* Writes them in the same order; returns where it ends. */
static uint8_t *write_strings(const json_t *json, uint8_t *at)
{
    size_t i;
    json_t *one;

    if (json_is_string(json)) {
        size_t size = json_string_length(json);

        for (int k = 0; k < LENGTH_SIZE; k++)
            at[k] = (uint8_t)(size >> 8 * k);
        memcpy(at + LENGTH_SIZE, json_string_value(json), size);
        return at + LENGTH_SIZE + size;
    }
    json_array_foreach(json, i, one) at = write_strings(one, at);
    return at;
}

/* A tensor of another type goes without its elements: no model takes one, and the service says so. */
static struct status data_from_json(ProtobufCBinaryData *raw, const input_tensor *t, const json_t *data,
                                    struct arena *arena)
{
    size_t n = 0, size = 0;

    *raw = (ProtobufCBinaryData){0, NULL};
    if (!json_is_array(data))
        return status_errorf(ST_INVALID, "\"data\" is missing or no array, in input \"%s\"", t->name);
    if (strcmp(t->datatype, "BYTES") != 0)
        return status_ok();
    if (!count_strings(data, &n, &size))
        return status_errorf(ST_INVALID, "BYTES in \"data\" have to be strings, in input \"%s\"", t->name);
    if (size > V2_MAX_TENSORS || !(raw->data = arena_alloc(arena, size)))
        return no_room();
    raw->len = size;
    write_strings(data, raw->data);
    return status_ok();
}

static struct status data_from_tail(ProtobufCBinaryData *raw, const input_tensor *t, const json_t *size,
                                    const json_t *data, struct tail *tail)
{
    json_int_t n = json_is_integer(size) ? json_integer_value(size) : -1;

    if (data)
        return status_errorf(ST_INVALID, "both \"data\" and \"binary_data_size\", in input \"%s\"", t->name);
    if (n < 0 || (uint64_t)n > tail->left)
        return status_errorf(ST_INVALID, "\"binary_data_size\" has to be a number up to the %zu bytes left, in \"%s\"",
                             tail->left, t->name);
    *raw = (ProtobufCBinaryData){(size_t)n, (uint8_t *)tail->at};
    tail->at += n;
    tail->left -= (size_t)n;
    return status_ok();
}

static struct status shape_decode(input_tensor *t, const json_t *shape, struct arena *arena)
{
    size_t i;
    json_t *one;

    if (!json_is_array(shape))
        return status_errorf(ST_INVALID, "\"shape\" is missing or no array, in input \"%s\"", t->name);
    if (!(t->shape = arena_alloc(arena, json_array_size(shape) * sizeof *t->shape)))
        return no_room();
    json_array_foreach(shape, i, one)
    {
        if (!json_is_integer(one))
            return status_errorf(ST_INVALID, "\"shape\" has to hold whole numbers, in input \"%s\"", t->name);
        t->shape[t->n_shape++] = json_integer_value(one);
    }
    return status_ok();
}

static struct status input_decode(input_tensor *t, ProtobufCBinaryData *raw, const json_t *json, struct tail *tail,
                                  struct arena *arena)
{
    static const char *const ours[] = {"binary_data_size", NULL};
    const json_t *params = json_object_get(json, "parameters"), *size = json_object_get(params, ours[0]);
    const json_t *data = json_object_get(json, "data");
    const char *name = NULL, *datatype = NULL;

    struct status st = json_text(json, "name", MAX_NAME, true, &name);
    if (!st.code)
        st = json_text(json, "datatype", MAX_NAME, true, &datatype);
    if (st.code)
        return status_prefix(st, "in \"inputs\"");
    t->name = (char *)name;
    t->datatype = (char *)datatype;
    st = shape_decode(t, json_object_get(json, "shape"), arena);
    if (!st.code)
        st = v2_parameters(&t->parameters, &t->n_parameters,
                           &inference__model_infer_request__infer_input_tensor__parameters_entry__descriptor, params,
                           ours, arena);
    if (st.code)
        return st;
    return size ? data_from_tail(raw, t, size, data, tail) : data_from_json(raw, t, data, arena);
}

static struct status inputs_decode(struct v2_infer *out, struct tail *tail, struct arena *arena)
{
    const json_t *inputs = json_object_get(out->root, "inputs");
    size_t n = json_array_size(inputs), total = 0;
    Inference__ModelInferRequest *req = &out->req;
    input_tensor *tensors = arena_alloc(arena, n * sizeof *tensors);

    if (!json_is_array(inputs))
        return status_errorf(ST_INVALID, "\"inputs\" is missing or no array");
    req->inputs = arena_alloc(arena, n * sizeof *req->inputs);
    req->raw_input_contents = arena_alloc(arena, n * sizeof *req->raw_input_contents);
    if (!tensors || !req->inputs || !req->raw_input_contents)
        return no_room();
    for (size_t i = 0; i < n; i++) {
        inference__model_infer_request__infer_input_tensor__init(&tensors[i]);
        req->inputs[i] = &tensors[i];
        struct status st =
            input_decode(&tensors[i], &req->raw_input_contents[i], json_array_get(inputs, i), tail, arena);
        if (st.code)
            return st;
        total += req->raw_input_contents[i].len;
    }
    req->n_inputs = req->n_raw_input_contents = n;
    if (tail->left)
        return status_errorf(ST_INVALID, "%zu bytes of binary data belong to no input", tail->left);
    return total > V2_MAX_TENSORS ? no_room() : status_ok();
}

/* ---- outputs wanted, and the request as a whole ---- */

/* The boolean parameter; NULL: absent. */
static struct status flag_decode(const json_t *params, const char *name, const bool **out)
{
    static const bool values[] = {false, true};
    const json_t *json = json_object_get(params, name);

    *out = NULL;
    if (json && !json_is_boolean(json))
        return status_errorf(ST_INVALID, "the parameter \"%s\" has to be true or false", name);
    if (json)
        *out = &values[json_is_true(json)];
    return status_ok();
}

static struct status output_decode(wanted_tensor *t, const bool **binary, const json_t *json, struct arena *arena)
{
    static const char *const ours[] = {"binary_data", NULL};
    const json_t *params = json_object_get(json, "parameters");
    const char *name = NULL;

    struct status st = status_prefix(json_text(json, "name", MAX_NAME, true, &name), "in \"outputs\"");
    if (!st.code)
        st = flag_decode(params, ours[0], binary);
    if (!st.code)
        st = v2_parameters(&t->parameters, &t->n_parameters,
                           &inference__model_infer_request__infer_requested_output_tensor__parameters_entry__descriptor,
                           params, ours, arena);
    t->name = (char *)name;
    return st;
}

static struct status outputs_decode(struct v2_infer *out, struct arena *arena)
{
    const json_t *outputs = json_object_get(out->root, "outputs");
    size_t n = json_array_size(outputs);
    Inference__ModelInferRequest *req = &out->req;
    wanted_tensor *tensors = arena_alloc(arena, n * sizeof *tensors);

    if (outputs && !json_is_array(outputs))
        return status_errorf(ST_INVALID, "\"outputs\" has to be an array");
    req->outputs = arena_alloc(arena, n * sizeof *req->outputs);
    out->output_binary = arena_alloc(arena, n * sizeof *out->output_binary);
    if (!tensors || !req->outputs || !out->output_binary)
        return no_room();
    for (size_t i = 0; i < n; i++) {
        inference__model_infer_request__infer_requested_output_tensor__init(&tensors[i]);
        req->outputs[i] = &tensors[i];
        struct status st = output_decode(&tensors[i], &out->output_binary[i], json_array_get(outputs, i), arena);
        if (st.code)
            return st;
    }
    req->n_outputs = n;
    return status_ok();
}

/* What of the body is JSON; the rest is the tail. */
static struct status split(const char *body, size_t size, const char *header, size_t *json_size, struct tail *tail)
{
    *json_size = size;
    if (header) {
        size_t digits = strspn(header, "0123456789");

        *json_size = digits && digits < 10 && !header[digits] ? (size_t)strtoul(header, NULL, 10) : SIZE_MAX;
    }
    if (*json_size > size)
        return status_errorf(ST_INVALID, V2_HEADER " has to be a number up to the %zu bytes of the body", size);
    *tail = (struct tail){(const uint8_t *)body + *json_size, size - *json_size};
    return status_ok();
}

static struct status request_decode(struct v2_infer *out, struct tail *tail, struct arena *arena)
{
    static const char *const ours[] = {"binary_data_output", NULL};
    const json_t *params = json_object_get(out->root, "parameters");
    const bool *binary = NULL;
    const char *id = NULL;

    struct status st = json_text(out->root, "id", MAX_ID, false, &id);
    if (!st.code)
        st = flag_decode(params, ours[0], &binary);
    if (!st.code)
        st = v2_parameters(&out->req.parameters, &out->req.n_parameters,
                           &inference__model_infer_request__parameters_entry__descriptor, params, ours, arena);
    if (!st.code)
        st = inputs_decode(out, tail, arena);
    if (!st.code)
        st = outputs_decode(out, arena);
    out->binary = binary && *binary;
    if (id)
        out->req.id = (char *)id;
    return st;
}

struct status v2_infer_decode(struct v2_infer *out, const char *body, size_t size, const char *header,
                              struct arena *arena)
{
    struct tail tail = {NULL, 0};
    size_t json_size;

    *out = (struct v2_infer){.req = INFERENCE__MODEL_INFER_REQUEST__INIT};
    struct status st = split(body, size, header, &json_size, &tail);
    if (!st.code)
        st = json_parse(body, json_size, &out->root);
    return st.code ? st : request_decode(out, &tail, arena);
}

void v2_infer_fini(struct v2_infer *in)
{
    json_decref(in->root);
}

/* ---- the answer ---- */

static struct status broken(const output_tensor *t)
{
    return status_errorf(ST_INTERNAL, "output %s, %s: its data is not what its shape says", t->name, t->datatype);
}

static json_t *floats_encode(const ProtobufCBinaryData *raw)
{
    json_t *all = json_array();

    for (size_t i = 0; i + sizeof(float) <= raw->len; i += sizeof(float)) {
        float f;

        memcpy(&f, raw->data + i, sizeof f);
        json_array_append_new(all, isfinite(f) ? json_real((double)f) : json_null());
    }
    return all;
}

static json_t *integers_encode(const ProtobufCBinaryData *raw)
{
    json_t *all = json_array();

    for (size_t i = 0; i + sizeof(int32_t) <= raw->len; i += sizeof(int32_t)) {
        int32_t n;

        memcpy(&n, raw->data + i, sizeof n);
        json_array_append_new(all, json_integer(n));
    }
    return all;
}

/* NULL: it does not add up. */
static json_t *strings_encode(const ProtobufCBinaryData *raw)
{
    json_t *all = json_array();
    size_t i = 0, size = 0;

    while (raw->len - i >= LENGTH_SIZE) {
        const uint8_t *p = raw->data + i;

        size = (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
        if (size > raw->len - i - LENGTH_SIZE ||
            json_array_append_new(all, json_stringn((const char *)p + LENGTH_SIZE, size)))
            break;
        i += LENGTH_SIZE + size;
    }
    if (i == raw->len)
        return all;
    json_decref(all);
    return NULL;
}

/* Elements of its shape; SIZE_MAX: there is no such tensor. */
static size_t n_elements(const output_tensor *t)
{
    size_t n = 1;

    for (size_t i = 0; i < t->n_shape; i++)
        if (t->shape[i] < 0 || __builtin_mul_overflow(n, (size_t)t->shape[i], &n))
            return SIZE_MAX;
    return n;
}

static json_t *data_encode(const output_tensor *t, const ProtobufCBinaryData *raw)
{
    size_t n = n_elements(t);
    json_t *data = NULL;

    if (!strcmp(t->datatype, "BYTES"))
        data = strings_encode(raw);
    else if (!strcmp(t->datatype, "FP32") && raw->len % sizeof(float) == 0)
        data = floats_encode(raw);
    else if (!strcmp(t->datatype, "INT32") && raw->len % sizeof(int32_t) == 0)
        data = integers_encode(raw);
    if (data && json_array_size(data) == n)
        return data;
    json_decref(data);
    return NULL;
}

static bool is_binary(const struct v2_infer *in, const char *name)
{
    for (size_t i = 0; i < in->req.n_outputs; i++)
        if (in->output_binary[i] && !strcmp(in->req.outputs[i]->name, name))
            return *in->output_binary[i];
    return in->binary;
}

static json_t *shape_encode(const output_tensor *t)
{
    json_t *shape = json_array();

    for (size_t i = 0; i < t->n_shape; i++)
        json_array_append_new(shape, json_integer(t->shape[i]));
    return shape;
}

/* One output; NULL: its data does not fit. Binary data goes behind what is in tail. */
static json_t *output_encode(const output_tensor *t, const ProtobufCBinaryData *raw, bool binary, struct buf *tail)
{
    json_t *one = json_pack("{s:s, s:s, s:o}", "name", t->name, "datatype", t->datatype, "shape", shape_encode(t));
    json_t *data = binary ? NULL : data_encode(t, raw);

    if (binary) {
        json_object_set_new(one, "parameters", json_pack("{s:I}", "binary_data_size", (json_int_t)raw->len));
        buf_add(tail, raw->data, raw->len);
    } else if (data) {
        json_object_set_new(one, "data", data);
    } else {
        json_decref(one);
        return NULL;
    }
    return one;
}

static struct status outputs_encode(json_t *outputs, const struct v2_infer *in,
                                    const Inference__ModelInferResponse *rep, struct buf *tail)
{
    if (rep->n_raw_output_contents != rep->n_outputs)
        return status_errorf(ST_INTERNAL, "%zu raw outputs of %zu", rep->n_raw_output_contents, rep->n_outputs);
    for (size_t i = 0; i < rep->n_outputs; i++) {
        const output_tensor *t = rep->outputs[i];
        json_t *one = output_encode(t, &rep->raw_output_contents[i], is_binary(in, t->name), tail);

        if (!one)
            return broken(t);
        json_array_append_new(outputs, one);
    }
    return status_ok();
}

/* JSON and tail in one piece. */
static struct status join(json_t *json, const struct buf *tail, struct arena *arena, char **body, size_t *size,
                          size_t *json_size)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(9));

    *json_size = text ? strlen(text) : 0;
    *size = *json_size + tail->size;
    *body = text && !tail->full ? arena_alloc(arena, *size) : NULL;
    if (*body) {
        memcpy(*body, text, *json_size);
        if (tail->size)
            memcpy(*body + *json_size, tail->data, tail->size);
    }
    free(text);
    return *body ? status_ok() : no_room();
}

struct status v2_infer_encode(const struct v2_infer *in, const Inference__ModelInferResponse *rep, struct arena *arena,
                              char **body, size_t *size, size_t *json_size)
{
    struct buf tail = BUF_INIT((size_t)16 << 20);
    json_t *json = json_pack("{s:s, s:s}", "model_name", rep->model_name, "model_version", rep->model_version);
    json_t *outputs = json_array();

    if (rep->id[0])
        json_object_set_new(json, "id", json_string(rep->id));
    struct status st = outputs_encode(outputs, in, rep, &tail);
    json_object_set_new(json, "outputs", outputs);
    if (!st.code)
        st = join(json, &tail, arena, body, size, json_size);
    json_decref(json);
    buf_fini(&tail);
    return st;
}
