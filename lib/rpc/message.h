/* message.h - protobuf-c messages to and from gRPC's byte buffers. */
#ifndef RPC_MESSAGE_H
#define RPC_MESSAGE_H

#include "base/base.h"

#include <grpc/byte_buffer.h>
#include <protobuf-c/protobuf-c.h>

/* Packs into *out, the caller's, to grpc_byte_buffer_destroy(). ST_INTERNAL: a string of it is not UTF-8. */
struct status message_pack(grpc_byte_buffer **out, const ProtobufCMessage *message);

/* Unpacks into the arena. ST_INVALID: not a message of this type, or a string that is not UTF-8 or holds a NUL;
 * ST_EXHAUSTED: over the arena's ceiling. in is only read. */
struct status message_unpack(const void **out, const ProtobufCMessageDescriptor *type, grpc_byte_buffer *in,
                             struct arena *arena);

/* The same from plain bytes; what the above does once it has them in one piece. */
struct status message_parse(const void **out, const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t size,
                            struct arena *arena);

#endif
