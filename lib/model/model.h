/* model.h - a model file: named tensors and text metadata, in the safetensors format
 * (https://huggingface.co/docs/safetensors: u64 little-endian header length, JSON header, raw little-endian tensors).
 *
 * A file is checked whole before it is used: header within bounds, offsets contiguous and inside the file, sizes equal
 * to shape times type, every float finite. Not thread-safe while written, free to share once read. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "base/base.h"

#include <stddef.h>
#include <stdint.h>

#define MODEL_MAX_BYTES (1u << 30)
#define MODEL_MAX_HEADER (4u << 20)
#define MODEL_MAX_TENSORS 4096
#define MODEL_MAX_DIMS 4

struct model_tensor {
    char *name;
    uint32_t n_dims;
    uint64_t dims[MODEL_MAX_DIMS];
    float *data;               /* (n,), inside the model's block */
    size_t n;                  /* product of dims */
};

struct model_meta {
    char *key, *value;         /* UTF-8 */
};

struct model {
    struct model_tensor *tensors;    /* in file order */
    size_t n_tensors;
    struct model_meta *meta;         /* the __metadata__ of the header */
    size_t n_meta;
    float *block;                    /* all tensors, one after the other, 64-byte aligned */
    size_t block_n;                  /* floats */
};

/* An empty model to fill and write. */
struct model *model_new(void);
void model_free(struct model *m);
void model_set(struct model *m, const char *key, const char *value);          /* replaces */
const char *model_get(const struct model *m, const char *key);                /* NULL: absent */

/* Adds a float tensor, copied into the file order. Call model_reserve() once before the first. */
void model_reserve(struct model *m, size_t n_floats);
void model_add(struct model *m, const char *name, const uint64_t *dims, uint32_t n_dims, const float *data);
const struct model_tensor *model_find(const struct model *m, const char *name);    /* NULL: absent */

/* The file's bytes into *data, to free(). Deterministic: equal models give equal bytes. */
struct status model_encode(const struct model *m, char **data, size_t *size);

/* ST_DATA_LOSS names what does not hold. F32, F16 and BF16 tensors are read (as float), others refused. */
struct status model_decode(struct model **out, const void *data, size_t size);
struct status model_read(struct model **out, const char *path);

#endif
