/* exif.c - walks the first directory of the TIFF structure inside EXIF; every offset is checked against the block. */
#include "exif.h"

#include <stdbool.h>
#include <string.h>

#define TAG_ORIENTATION 0x0112
#define TYPE_SHORT      3
#define ENTRY_SIZE      12

struct tiff {
    const uint8_t *data;
    size_t size;
    bool big_endian;
};

static uint32_t tiff_u16(const struct tiff *t, size_t at)
{
    const uint8_t *p = t->data + at;
    return t->big_endian ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static uint32_t tiff_u32(const struct tiff *t, size_t at)
{
    uint32_t first = tiff_u16(t, at), second = tiff_u16(t, at + 2);
    return t->big_endian ? first << 16 | second : second << 16 | first;
}

static int directory_orientation(const struct tiff *t, size_t at)
{
    if (at > t->size || t->size - at < 2)
        return 1;
    size_t n = tiff_u16(t, at);
    at += 2;
    for (; n > 0 && t->size - at >= ENTRY_SIZE; n--, at += ENTRY_SIZE) {
        if (tiff_u16(t, at) != TAG_ORIENTATION)
            continue;
        uint32_t value = tiff_u16(t, at + 8);
        bool valid = tiff_u16(t, at + 2) == TYPE_SHORT && tiff_u32(t, at + 4) == 1 && value >= 1 && value <= 8;
        return valid ? (int)value : 1;
    }
    return 1;
}

int exif_orientation(const uint8_t *data, size_t size)
{
    if (size < 6 + 8 || memcmp(data, "Exif\0\0", 6) != 0)
        return 1;
    struct tiff t = {data + 6, size - 6, data[6] == 'M'};
    if (memcmp(t.data, t.big_endian ? "MM" : "II", 2) != 0 || tiff_u16(&t, 2) != 42)
        return 1;
    return directory_orientation(&t, tiff_u32(&t, 4));
}
