/* wire.c - the wire format, field by field. Groups (wire types 3 and 4) count as malformed: proto3 has none and
 * protobuf-c cannot read them. */
#include "rpc/wire.h"

static bool varint(struct wire *w, uint64_t *value)
{
    uint64_t v = 0;

    for (int shift = 0; shift < 64 && w->at < w->end; shift += 7) {
        uint8_t b = *w->at++;

        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *value = v;
            return true;
        }
    }
    return false;
}

static bool skip(struct wire *w, uint64_t n)
{
    if (n > wire_size(w))
        return false;
    w->at += n;
    return true;
}

static bool payload(struct wire *w, struct wire_field *f)
{
    uint64_t n;

    switch (f->type) {
    case WIRE_VARINT:
        return varint(w, &f->value);
    case WIRE_64BIT:
        return skip(w, 8);
    case WIRE_32BIT:
        return skip(w, 4);
    case WIRE_BYTES:
        if (!varint(w, &n) || n > wire_size(w))
            return false;
        f->bytes = wire_of(w->at, n);
        w->at += n;
        return true;
    }
    return false;
}

bool wire_next(struct wire *w, struct wire_field *f)
{
    struct wire here = *w;
    uint64_t tag;

    if (w->at == w->end)
        return false;
    if (!varint(&here, &tag) || tag >> 3 == 0 || tag >> 32)
        return false;
    *f = (struct wire_field){.number = (uint32_t)(tag >> 3), .type = (enum wire_type)(tag & 7)};
    if (!payload(&here, f))
        return false;
    *w = here;
    return true;
}

/* Bytes after the first of a sequence, and the range of the second one (Unicode 15, table 3-7); 0: not a start. */
static size_t sequence(uint8_t first, uint8_t *low, uint8_t *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (first >= 0xc2 && first <= 0xdf)
        return 1;
    if (first >= 0xe0 && first <= 0xef) {
        *low = first == 0xe0 ? 0xa0 : 0x80;
        *high = first == 0xed ? 0x9f : 0xbf;
        return 2;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        *low = first == 0xf0 ? 0x90 : 0x80;
        *high = first == 0xf4 ? 0x8f : 0xbf;
        return 3;
    }
    return 0;
}

bool utf8_valid(const uint8_t *data, size_t size)
{
    const uint8_t *p = data, *end = data + size;

    while (p < end) {
        uint8_t low, high;
        size_t n;

        if (*p < 0x80) {
            p++;
            continue;
        }
        n = sequence(*p, &low, &high);
        if (!n || (size_t)(end - p) <= n || p[1] < low || p[1] > high)
            return false;
        for (size_t i = 2; i <= n; i++)
            if ((p[i] & 0xc0) != 0x80)
                return false;
        p += n + 1;
    }
    return true;
}
