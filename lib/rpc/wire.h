/* wire.h - walks over protobuf's wire format (https://protobuf.dev/programming-guides/encoding/) without allocating
 * and without trusting a byte of it. The descriptor index and the check of incoming messages stand on it. */
#ifndef RPC_WIRE_H
#define RPC_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wire_type { WIRE_VARINT = 0, WIRE_64BIT = 1, WIRE_BYTES = 2, WIRE_32BIT = 5 };

struct wire {
    const uint8_t *at, *end;
};

struct wire_field {
    uint32_t number;
    enum wire_type type;
    uint64_t value;    /* of a WIRE_VARINT */
    struct wire bytes; /* of a WIRE_BYTES, within the walked ones */
};

static inline struct wire wire_of(const void *data, size_t size)
{
    return (struct wire){data, (const uint8_t *)data + size};
}

static inline size_t wire_size(const struct wire *w)
{
    return (size_t)(w->end - w->at);
}

/* The next field. False at the end, or where the bytes are not protobuf: then w->at is not w->end. */
bool wire_next(struct wire *w, struct wire_field *f);

/* Whether the bytes are UTF-8 (no surrogates, no overlong forms, at most U+10FFFF). */
bool utf8_valid(const uint8_t *data, size_t size);

#endif
