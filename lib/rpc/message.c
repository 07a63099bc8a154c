/* message.c - packing and unpacking. protobuf-c checks neither UTF-8 nor NULs (it would cut the string there), and
 * other languages refuse what is not UTF-8, so the bytes are walked beside the type both ways; bytes fields, which
 * carry the bulk, are stepped over. Memory is safe by the arena's ceiling: 4 MiB on the wire can ask for 275 GB. */
#include "rpc/message.h"

#include "rpc/wire.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>
#include <string.h>

#define MAX_DEPTH 32 /* our types nest 4 deep and none is recursive */

static void *arena_pb_alloc(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void arena_pb_free(void *arena, void *p)
{
    (void)arena;
    (void)p;
}

static const char *check_string(const struct wire *s)
{
    if (wire_size(s) && memchr(s->at, 0, wire_size(s)))
        return "holds a NUL character";
    return utf8_valid(s->at, wire_size(s)) ? NULL : "is not UTF-8";
}

/* NULL when every string is fine; else what is wrong, and *where is the field's name. */
static const char *check(const ProtobufCMessageDescriptor *type, struct wire w, int depth, const char **where)
{
    struct wire_field f;
    const char *wrong = NULL;

    if (depth > MAX_DEPTH)
        return "nests too deep";
    while (!wrong && wire_next(&w, &f)) {
        const ProtobufCFieldDescriptor *d;

        if (f.type != WIRE_BYTES || !(d = protobuf_c_message_descriptor_get_field(type, f.number)))
            continue;
        *where = d->name;
        if (d->type == PROTOBUF_C_TYPE_STRING)
            wrong = check_string(&f.bytes);
        else if (d->type == PROTOBUF_C_TYPE_MESSAGE)
            wrong = check(d->descriptor, f.bytes, depth + 1, where);
    }
    if (!wrong && w.at != w.end)
        wrong = "is malformed";
    return wrong;
}

struct status message_pack(grpc_byte_buffer **out, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    grpc_slice slice = grpc_slice_malloc(size);
    uint8_t *data = GRPC_SLICE_START_PTR(slice);
    const char *where = "message", *wrong;

    protobuf_c_message_pack(message, data);
    wrong = check(message->descriptor, wire_of(data, size), 0, &where);
    *out = wrong ? NULL : grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    if (wrong)
        return status_errorf(ST_INTERNAL, "%s: %s %s", message->descriptor->name, where, wrong);
    return status_ok();
}

struct status message_parse(const void **out, const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t size,
                            struct arena *arena)
{
    ProtobufCAllocator memory = {arena_pb_alloc, arena_pb_free, arena};
    const char *where = "message";
    const char *wrong = check(type, wire_of(data, size), 0, &where);

    if (wrong)
        return status_errorf(ST_INVALID, "%s: %s %s", type->short_name, where, wrong);
    arena->refused = false;
    *out = protobuf_c_message_unpack(type, &memory, size, data);
    if (*out)
        return status_ok();
    if (arena->refused)
        return status_errorf(ST_EXHAUSTED, "%s: needs more than %zu bytes of memory", type->short_name, arena->limit);
    return status_errorf(ST_INVALID, "%s: is malformed", type->short_name);
}

struct status message_unpack(const void **out, const ProtobufCMessageDescriptor *type, grpc_byte_buffer *in,
                             struct arena *arena)
{
    grpc_byte_buffer_reader reader;
    struct status st;

    if (!grpc_byte_buffer_reader_init(&reader, in))
        return status_errorf(ST_INTERNAL, "%s: cannot be read", type->short_name);
    if (in->data.raw.slice_buffer.count == 1) { /* the usual case; reading all would copy even then */
        grpc_slice *slice;

        grpc_byte_buffer_reader_peek(&reader, &slice);
        st = message_parse(out, type, GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice), arena);
    } else {
        grpc_slice all = grpc_byte_buffer_reader_readall(&reader);

        st = message_parse(out, type, GRPC_SLICE_START_PTR(all), GRPC_SLICE_LENGTH(all), arena);
        grpc_slice_unref(all);
    }
    grpc_byte_buffer_reader_destroy(&reader);
    return st;
}
