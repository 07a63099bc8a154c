/* message_fuzz.c - bytes as messages of every service, under a small arena; what is taken must pack and be taken
 * again. The first byte picks the type, the second the arena's ceiling. */
#include "rpc/message.h"
#include "rpc/testing.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCServiceDescriptor *const services[] = {
    &bloginfer__v1__classify_service__descriptor, &bloginfer__v1__detect_service__descriptor,
    &bloginfer__v1__federation_service__descriptor, &grpc__health__v1__health__descriptor,
    &grpc__reflection__v1__server_reflection__descriptor};

static const ProtobufCMessageDescriptor *type_of(uint8_t n)
{
    const ProtobufCServiceDescriptor *s = services[n % COUNT_OF(services)];
    const ProtobufCMethodDescriptor *m = &s->methods[n / COUNT_OF(services) % s->n_methods];

    return n & 0x80 ? m->output : m->input;
}

/* Merged and repeated fields pack to fewer or other bytes, but to a message. */
static void again(const ProtobufCMessage *message)
{
    grpc_byte_buffer *packed;
    struct arena arena;
    const void *out;

    arena_init(&arena, 64 << 20);
    if (message_pack(&packed, message).code)
        abort();
    if (message_unpack(&out, message->descriptor, packed, &arena).code)
        abort();
    grpc_byte_buffer_destroy(packed);
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    const void *out;

    if (size < 2)
        return 0;
    arena_init(&arena, (size_t)data[1] << 8);
    if (!message_parse(&out, type_of(data[0]), data + 2, size - 2, &arena).code)
        again(out);
    arena_fini(&arena);
    return 0;
}
