/* model.c - safetensors in memory, to bytes and back. The header's JSON is parsed by jansson after its length is
 * bounded; nothing of the data is touched before every tensor is known to lie inside it. */
#include "model/model.h"

#include <assert.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are copied as they lie");

#define LENGTH_SIZE 8
#define METADATA    "__metadata__"

/* ---- building ---- */

struct model *model_new(void)
{
    return xcalloc(1, sizeof(struct model));
}

void model_free(struct model *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n_tensors; i++)
        free(m->tensors[i].name);
    for (size_t i = 0; i < m->n_meta; i++) {
        free(m->meta[i].key);
        free(m->meta[i].value);
    }
    free(m->tensors);
    free(m->meta);
    free(m->block);
    free(m);
}

static struct model_meta *meta_find(const struct model *m, const char *key)
{
    for (size_t i = 0; i < m->n_meta; i++)
        if (strcmp(m->meta[i].key, key) == 0)
            return &m->meta[i];
    return NULL;
}

static void meta_add(struct model *m, const char *key, const char *value)
{
    m->meta = xrealloc(m->meta, m->n_meta + 1, sizeof *m->meta);
    m->meta[m->n_meta++] = (struct model_meta){xstrdup(key), xstrdup(value)};
}

void model_set(struct model *m, const char *key, const char *value)
{
    struct model_meta *old = meta_find(m, key);

    if (!old) {
        meta_add(m, key, value);
        return;
    }
    char *copy = xstrdup(value);
    free(old->value);
    old->value = copy;
}

const char *model_get(const struct model *m, const char *key)
{
    const struct model_meta *meta = meta_find(m, key);

    return meta ? meta->value : NULL;
}

void model_reserve(struct model *m, size_t n_floats)
{
    assert(!m->block);
    m->block = xaligned(n_floats, sizeof(float));
    m->block_cap = n_floats;
}

static struct model_tensor *tensor_add(struct model *m, const char *name)
{
    m->tensors = xrealloc(m->tensors, m->n_tensors + 1, sizeof *m->tensors);
    struct model_tensor *t = &m->tensors[m->n_tensors++];
    *t = (struct model_tensor){.name = xstrdup(name)};
    return t;
}

void model_add(struct model *m, const char *name, const uint64_t *dims, uint32_t n_dims, const float *data)
{
    assert(n_dims <= MODEL_MAX_DIMS && m->n_tensors < MODEL_MAX_TENSORS);
    assert(strcmp(name, METADATA) != 0 && !model_find(m, name));
    struct model_tensor *t = tensor_add(m, name);

    t->n_dims = n_dims;
    t->n = 1;
    for (uint32_t i = 0; i < n_dims; i++) {
        t->dims[i] = dims[i];
        t->n *= dims[i];
    }
    assert(t->n && t->n <= m->block_cap - m->block_n);
    t->data = m->block + m->block_n;
    memcpy(t->data, data, t->n * sizeof *data);
    m->block_n += t->n;
}

const struct model_tensor *model_find(const struct model *m, const char *name)
{
    for (size_t i = 0; i < m->n_tensors; i++)
        if (strcmp(m->tensors[i].name, name) == 0)
            return &m->tensors[i];
    return NULL;
}

/* ---- to bytes ---- */

static int meta_compare(const void *a, const void *b)
{
    return strcmp(((const struct model_meta *)a)->key, ((const struct model_meta *)b)->key);
}

/* json_object_set_new() refuses what is not UTF-8, json_string() gives NULL for it; both end in -1 here. */
static struct status meta_encode(json_t *root, const struct model *m)
{
    struct status st = status_ok();
    struct model_meta *sorted = xcalloc(m->n_meta + 1, sizeof *sorted);
    json_t *object = json_object();

    if (m->n_meta)
        memcpy(sorted, m->meta, m->n_meta * sizeof *sorted);
    qsort(sorted, m->n_meta, sizeof *sorted, meta_compare);
    for (size_t i = 0; i < m->n_meta && !st.code; i++)
        if (json_object_set_new(object, sorted[i].key, json_string(sorted[i].value)))
            st = status_errorf(ST_INVALID, "metadata %zu of the model is not UTF-8", i);
    json_object_set_new(root, METADATA, object);
    free(sorted);
    return st;
}

static size_t tensor_bytes(const struct model_tensor *t)
{
    return t->n * (t->f16 ? sizeof(uint16_t) : sizeof(float));
}

static struct status tensor_encode(json_t *root, const struct model_tensor *t, size_t offset)
{
    json_t *shape = json_array();

    for (uint32_t i = 0; i < t->n_dims; i++)
        json_array_append_new(shape, json_integer((json_int_t)t->dims[i]));
    json_t *info = json_pack("{s:s, s:o, s:[I, I]}", "dtype", t->f16 ? "F16" : "F32", "shape", shape, "data_offsets",
                             (json_int_t)offset, (json_int_t)(offset + tensor_bytes(t)));
    if (!info || json_object_set_new(root, t->name, info))
        return status_errorf(ST_INVALID, "a tensor's name is not UTF-8");
    return status_ok();
}

/* *text: the JSON, to free(). */
static struct status header_encode(const struct model *m, char **text)
{
    json_t *root = json_object();
    struct status st = meta_encode(root, m);
    size_t offset = 0;

    for (size_t i = 0; i < m->n_tensors && !st.code; i++) {
        st = tensor_encode(root, &m->tensors[i], offset);
        offset += tensor_bytes(&m->tensors[i]);
    }
    if (!st.code) {
        *text = json_dumps(root, JSON_COMPACT);
        if (!*text)
            st = status_errorf(ST_INTERNAL, "the model's header cannot be written as JSON");
        else if (strlen(*text) > MODEL_MAX_HEADER - LENGTH_SIZE)
            st = status_errorf(ST_INVALID, "the model's header has over %u bytes", MODEL_MAX_HEADER);
    }
    json_decref(root);
    return st;
}

static struct status finite_check(const struct model_tensor *t, enum code code)
{
    for (size_t i = 0; i < t->n; i++)
        if (!isfinite(t->data[i]))
            return status_errorf(code, "tensor %s: value %zu is not finite", t->name, i);
    return status_ok();
}

#define F16_INFINITY      0x7c00u
#define F16_LEAST_NORMAL  0x38800000u /* 2^-14, as a float's bits */
#define F16_BIAS_DISTANCE (112u << 23)
#define F16_CUT           13 /* bits of the mantissa that go */

/* Of a finite value, rounded to the nearest, to even in the middle. What rounds beyond the range becomes infinite. */
static uint16_t float_to_half(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude < F16_LEAST_NORMAL) /* a multiple of 2^-24; 1,024 of them are the least normal one */
        return (uint16_t)(sign | (uint32_t)lrintf(ldexpf(fabsf(f), 24)));
    uint32_t odd = magnitude >> F16_CUT & 1;
    uint32_t half = (magnitude - F16_BIAS_DISTANCE + (1u << (F16_CUT - 1)) - 1 + odd) >> F16_CUT;
    return (uint16_t)(sign | (half < F16_INFINITY ? half : F16_INFINITY));
}

static struct status values_check(const struct model_tensor *t)
{
    struct status st = finite_check(t, ST_INVALID);

    for (size_t i = 0; i < t->n && t->f16 && !st.code; i++)
        if ((float_to_half(t->data[i]) & F16_INFINITY) == F16_INFINITY)
            st = status_errorf(ST_INVALID, "tensor %s: value %zu, %g, is beyond the range of F16", t->name, i,
                               (double)t->data[i]);
    return st;
}

/* Returns where the next tensor goes. */
static char *values_write(char *out, const struct model_tensor *t)
{
    if (!t->f16)
        return mempcpy(out, t->data, tensor_bytes(t));
    for (size_t i = 0; i < t->n; i++, out += sizeof(uint16_t)) {
        uint16_t half = float_to_half(t->data[i]);
        memcpy(out, &half, sizeof half);
    }
    return out;
}

struct status model_encode(const struct model *m, char **data, size_t *size)
{
    char *text = NULL;
    size_t data_size = 0;
    struct status st = status_ok();

    for (size_t i = 0; i < m->n_tensors && !st.code; i++) {
        st = values_check(&m->tensors[i]);
        data_size += tensor_bytes(&m->tensors[i]);
    }
    if (!st.code && data_size > MODEL_MAX_BYTES - MODEL_MAX_HEADER)
        st = status_errorf(ST_INVALID, "the model has over %u bytes", MODEL_MAX_BYTES);
    if (!st.code)
        st = header_encode(m, &text);
    if (st.code)
        goto out;

    /* Padded with spaces so that the tensors start at a multiple of 8, as the format's own writer does. */
    uint64_t length = (strlen(text) + 7) / 8 * 8;
    *size = LENGTH_SIZE + length + data_size;
    *data = xmalloc(*size);
    memcpy(*data, &length, LENGTH_SIZE);
    memset(*data + LENGTH_SIZE, ' ', length);
    memcpy(*data + LENGTH_SIZE, text, strlen(text));
    char *at = *data + LENGTH_SIZE + length;
    for (size_t i = 0; i < m->n_tensors; i++)
        at = values_write(at, &m->tensors[i]);
out:
    free(text);
    return st;
}

/* ---- from bytes ---- */

enum dtype { F32, F16, BF16 };

/* Where a tensor lies in the file, until its values are in the block. */
struct span {
    enum dtype dtype;
    uint64_t begin, end; /* bytes from the start of the data */
    size_t index;        /* in the model's tensors */
};

static bool dtype_parse(const json_t *value, enum dtype *dtype)
{
    static const char *const names[] = {[F32] = "F32", [F16] = "F16", [BF16] = "BF16"};
    const char *name = json_string_value(value);

    for (size_t i = 0; name && i < COUNT_OF(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *dtype = (enum dtype)i;
            return true;
        }
    return false;
}

static bool unsigned_parse(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

/* Fills dims and n; empty tensors are refused: no model of ours has one, and nothing can be computed with it. */
static struct status shape_parse(struct model_tensor *t, const json_t *shape)
{
    if (!json_is_array(shape) || json_array_size(shape) > MODEL_MAX_DIMS)
        return status_errorf(ST_DATA_LOSS, "tensor %s: the shape is not a list of at most %d", t->name, MODEL_MAX_DIMS);
    t->n = 1;
    t->n_dims = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < t->n_dims; i++)
        if (!unsigned_parse(json_array_get(shape, i), &t->dims[i]) || t->dims[i] == 0 ||
            t->dims[i] > MODEL_MAX_BYTES / t->n)
            return status_errorf(ST_DATA_LOSS, "tensor %s: dimension %u is out of range", t->name, i);
        else
            t->n *= t->dims[i];
    return status_ok();
}

static struct status tensor_parse(struct model_tensor *t, struct span *s, const json_t *info, uint64_t data_size)
{
    const json_t *offsets = json_object_get(info, "data_offsets");
    struct status st = status_ok();

    if (!dtype_parse(json_object_get(info, "dtype"), &s->dtype))
        return status_errorf(ST_DATA_LOSS, "tensor %s: the type is none of F32, F16, BF16", t->name);
    st = shape_parse(t, json_object_get(info, "shape"));
    if (st.code)
        return st;
    if (json_array_size(offsets) != 2 || !unsigned_parse(json_array_get(offsets, 0), &s->begin) ||
        !unsigned_parse(json_array_get(offsets, 1), &s->end) || s->begin > s->end || s->end > data_size)
        return status_errorf(ST_DATA_LOSS, "tensor %s: the offsets leave the file", t->name);
    if (s->end - s->begin != t->n * (s->dtype == F32 ? 4 : 2))
        return status_errorf(ST_DATA_LOSS, "tensor %s: %llu bytes do not hold its %zu values", t->name,
                             (unsigned long long)(s->end - s->begin), t->n);
    return st;
}

static struct status meta_parse(struct model *m, json_t *object)
{
    const char *key;
    json_t *value;

    if (!json_is_object(object))
        return status_errorf(ST_DATA_LOSS, METADATA " is not an object");
    json_object_foreach(object, key, value)
    {
        if (!json_is_string(value))
            return status_errorf(ST_DATA_LOSS, "metadata %s is not a text", key);
        meta_add(m, key, json_string_value(value)); /* keys are unique: JSON_REJECT_DUPLICATES */
    }
    return status_ok();
}

static int span_compare(const void *a, const void *b)
{
    const struct span *x = a, *y = b;

    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* Sorts spans and tensors by their place; the data has to be covered without a hole or an overlap. */
static struct status spans_check(struct model *m, struct span *spans, uint64_t data_size)
{
    uint64_t end = 0;
    struct model_tensor *sorted = xcalloc(m->n_tensors + 1, sizeof *sorted);

    qsort(spans, m->n_tensors, sizeof *spans, span_compare);
    for (size_t i = 0; i < m->n_tensors; i++)
        sorted[i] = m->tensors[spans[i].index];
    free(m->tensors);
    m->tensors = sorted;
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (spans[i].begin != end)
            return status_errorf(ST_DATA_LOSS, "tensor %s: there is a gap or an overlap before it", sorted[i].name);
        end = spans[i].end;
    }
    if (end != data_size)
        return status_errorf(ST_DATA_LOSS, "%llu bytes after the last tensor", (unsigned long long)(data_size - end));
    return status_ok();
}

/* Fills m but for the values. spans: (MODEL_MAX_TENSORS,), in the order of m's tensors afterwards. */
static struct status root_parse(struct model *m, struct span *spans, json_t *root, uint64_t data_size)
{
    struct status st = status_ok();
    const char *key;
    json_t *value;

    json_object_foreach(root, key, value)
    {
        if (strcmp(key, METADATA) == 0) {
            st = meta_parse(m, value);
        } else if (m->n_tensors == MODEL_MAX_TENSORS) {
            st = status_errorf(ST_DATA_LOSS, "over %d tensors", MODEL_MAX_TENSORS);
        } else {
            struct span *s = &spans[m->n_tensors];
            s->index = m->n_tensors;
            st = tensor_parse(tensor_add(m, key), s, value, data_size);
        }
        if (st.code)
            return st;
    }
    return spans_check(m, spans, data_size);
}

static struct status header_parse(struct model *m, struct span *spans, const char *text, size_t size,
                                  uint64_t data_size)
{
    json_error_t error;

    if (size == 0 || text[0] != '{')
        return status_errorf(ST_DATA_LOSS, "the header does not start with {");
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return status_errorf(ST_DATA_LOSS, "the header is not JSON (byte %d)", error.position);
    struct status st = root_parse(m, spans, root, data_size);
    json_decref(root);
    return st;
}

static float half_to_float(uint16_t h)
{
    uint32_t exponent = (h >> 10) & 31, mantissa = h & 0x3ff;
    float sign = h & 0x8000 ? -1.0f : 1.0f;

    if (exponent == 31)
        return mantissa ? NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexpf((float)mantissa, -24);
    return sign * ldexpf((float)(mantissa | 0x400), (int)exponent - 25);
}

static float bfloat_to_float(uint16_t b)
{
    uint32_t bits = (uint32_t)b << 16;
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

static void values_read(float *out, const char *data, size_t n, enum dtype dtype)
{
    if (dtype == F32) {
        memcpy(out, data, n * sizeof *out);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t x;
        memcpy(&x, data + i * sizeof x, sizeof x);
        out[i] = dtype == F16 ? half_to_float(x) : bfloat_to_float(x);
    }
}

static struct status data_read(struct model *m, const struct span *spans, const char *data)
{
    size_t n = 0;

    for (size_t i = 0; i < m->n_tensors; i++)
        n += m->tensors[i].n;
    model_reserve(m, n);
    for (size_t i = 0; i < m->n_tensors; i++) {
        struct model_tensor *t = &m->tensors[i];
        t->data = m->block + m->block_n;
        m->block_n += t->n;
        t->f16 = spans[i].dtype == F16;
        values_read(t->data, data + spans[i].begin, t->n, spans[i].dtype);
        struct status st = finite_check(t, ST_DATA_LOSS);
        if (st.code)
            return st;
    }
    return status_ok();
}

/* The header's length out of the first eight bytes of a file of that size. */
static struct status length_parse(const void *data, uint64_t file_size, uint64_t *length)
{
    if (file_size < LENGTH_SIZE || file_size > MODEL_MAX_BYTES)
        return status_errorf(ST_DATA_LOSS, "%llu bytes are no model", (unsigned long long)file_size);
    memcpy(length, data, LENGTH_SIZE);
    if (*length > MODEL_MAX_HEADER || *length > file_size - LENGTH_SIZE)
        return status_errorf(ST_DATA_LOSS, "a header of %llu bytes does not fit", (unsigned long long)*length);
    return status_ok();
}

struct status model_decode(struct model **out, const void *data, size_t size)
{
    const char *bytes = data;
    uint64_t length = 0;
    struct status st = length_parse(data, size, &length);

    if (st.code)
        return st;
    struct model *m = model_new();
    struct span *spans = xcalloc(MODEL_MAX_TENSORS, sizeof *spans);
    st = header_parse(m, spans, bytes + LENGTH_SIZE, length, size - LENGTH_SIZE - length);
    if (!st.code)
        st = data_read(m, spans, bytes + LENGTH_SIZE + length);
    if (!st.code) {
        *out = m;
        m = NULL;
    }
    free(spans);
    model_free(m);
    return st;
}

struct status model_read(struct model **out, const char *path)
{
    char *data = NULL;
    size_t size = 0;
    struct status st = fs_read(path, MODEL_MAX_BYTES, &data, &size);

    if (st.code)
        return st;
    st = status_prefix(model_decode(out, data, size), "%s", path);
    free(data);
    return st;
}

/* text: the header, to free(). */
static struct status header_read(FILE *f, const char *path, char **text, uint64_t *length, uint64_t *file_size)
{
    char first[LENGTH_SIZE] = {0};
    struct stat info;
    size_t n = fread(first, 1, sizeof first, f);

    if (fstat(fileno(f), &info) || ferror(f))
        return status_errno("read %s", path);
    *file_size = n < sizeof first ? n : (uint64_t)info.st_size;
    struct status st = status_prefix(length_parse(first, *file_size, length), "%s", path);
    if (st.code)
        return st;
    *text = xmalloc(*length + 1);
    if (fread(*text, 1, *length, f) != *length)
        return status_errorf(ST_DATA_LOSS, "%s: truncated", path);
    return status_ok();
}

struct status model_read_header(struct model **out, const char *path, uint64_t *size)
{
    char *text = NULL;
    uint64_t length = 0, file_size = 0;
    FILE *f = fopen(path, "rbe");

    if (!f)
        return status_errno("open %s", path);
    struct model *m = model_new();
    struct span *spans = xcalloc(MODEL_MAX_TENSORS, sizeof *spans);
    struct status st = header_read(f, path, &text, &length, &file_size);
    if (st.code)
        goto out;
    st = status_prefix(header_parse(m, spans, text, length, file_size - LENGTH_SIZE - length), "%s", path);
    if (st.code)
        goto out;
    if (size)
        *size = file_size;
    *out = m;
    m = NULL;
out:
    free(text);
    free(spans);
    model_free(m);
    fclose(f);
    return st;
}
