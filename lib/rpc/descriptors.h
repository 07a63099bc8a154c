/* descriptors.h - what the build's descriptor set says: which file defines a symbol, which files it imports, and
 * which methods stream (protobuf-c's own descriptors do not know). Immutable after its making, so any thread reads. */
#ifndef RPC_DESCRIPTORS_H
#define RPC_DESCRIPTORS_H

#include "base/base.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct descriptors;

struct descriptor_file {
    char *name;          /* "bloginfer/v1/classify.proto" */
    const uint8_t *data; /* its FileDescriptorProto, inside the set */
    size_t size;
    struct vec imports; /* of char * */
};

enum symbol_kind { SYMBOL_MESSAGE, SYMBOL_FIELD, SYMBOL_ENUM, SYMBOL_VALUE, SYMBOL_SERVICE, SYMBOL_METHOD };

struct symbol {
    char *name;  /* in full, without a leading dot */
    size_t file; /* index, for descriptors_file() */
    enum symbol_kind kind;
    bool client_streams, server_streams; /* of a method */
};

/* set: a serialized FileDescriptorSet, borrowed for the index's life. ST_INVALID when it is not one. */
struct status descriptors_new(struct descriptors **out, const uint8_t *set, size_t size);
void descriptors_free(struct descriptors *d);

/* The set that the build embeds. */
const uint8_t *descriptors_embedded(size_t *size);

const struct symbol *descriptors_symbol(const struct descriptors *d, const char *name); /* NULL: unknown */
const struct descriptor_file *descriptors_file(const struct descriptors *d, size_t index);
bool descriptors_find_file(const struct descriptors *d, const char *name, size_t *index);

/* The file and all that it imports, directly or not, each once; returns the count, at most descriptors_n_files().
 * indexes has room for that many. */
size_t descriptors_closure(const struct descriptors *d, size_t index, size_t *indexes);
size_t descriptors_n_files(const struct descriptors *d);

#endif
