/* model.h - a model file: named tensors and text metadata, in the safetensors format
 * (https://huggingface.co/docs/safetensors: u64 little-endian header length, JSON header, raw little-endian tensors).
 *
 * A file is checked whole before it is used: header within bounds, offsets contiguous and inside the file, sizes equal
 * to shape times type, every float finite. Not thread-safe while written, free to share once read. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "base/base.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_MAX_BYTES   (1u << 30)
#define MODEL_MAX_HEADER  (1u << 20) /* JSON trees take up to 50 times their text */
#define MODEL_MAX_TENSORS 4096
#define MODEL_MAX_DIMS    4

struct model_tensor {
    char *name;
    uint32_t n_dims; /* 0 for a scalar */
    uint64_t dims[MODEL_MAX_DIMS];
    float *data; /* (n,), inside the model's block; NULL after model_read_header() */
    size_t n;    /* product of dims, at least 1 */
    bool f16;    /* written as F16, in half the bytes; set by reading such a one */
};

struct model_meta {
    char *key, *value; /* UTF-8 */
};

struct model {
    struct model_tensor *tensors; /* in file order */
    size_t n_tensors;
    struct model_meta *meta; /* the __metadata__ of the header */
    size_t n_meta;
    float *block;     /* all tensors, one after the other, 64-byte aligned */
    size_t block_n;   /* floats in it */
    size_t block_cap; /* floats it has room for */
};

/* An empty model to fill and write: for each function below, what the header promises of a file is the caller's duty
 * (names once, no "__metadata__", at most MODEL_MAX_TENSORS). */
struct model *model_new(void);
void model_free(struct model *m);                                    /* NULL is fine */
void model_set(struct model *m, const char *key, const char *value); /* replaces */
const char *model_get(const struct model *m, const char *key);       /* NULL: absent */

/* Adds a float tensor, copied, after the ones before it. Call model_reserve() once before the first: the block never
 * moves. */
void model_reserve(struct model *m, size_t n_floats);
void model_add(struct model *m, const char *name, const uint64_t *dims, uint32_t n_dims, const float *data);
const struct model_tensor *model_find(const struct model *m, const char *name); /* NULL: absent */

/* The file's bytes into *data, to free(); tensors as F32, or as F16 where f16 says so, rounded to the nearest, to even in
 * the middle. Deterministic: equal models give equal bytes, whatever the order of model_set(). ST_INVALID: a value that
 * is not finite or beyond the range of F16 (65,504), a text that is not UTF-8, or over the limits above. */
struct status model_encode(const struct model *m, char **data, size_t *size);

/* ST_DATA_LOSS names what does not hold. F32, F16 and BF16 tensors are read (as float), others refused. */
struct status model_decode(struct model **out, const void *data, size_t size);
struct status model_read(struct model **out, const char *path);

/* Metadata, names and shapes alone: the header is checked in full against the file's size, the tensors are not read.
 * *size (may be NULL): of the file. */
struct status model_read_header(struct model **out, const char *path, uint64_t *size);

#endif
