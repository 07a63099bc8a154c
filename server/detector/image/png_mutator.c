/* png_mutator.c - libFuzzer's own mutations, but most of the time with the checksums of the chunks put right behind them:
 * libpng would look no further than the first that is wrong. */
#include <stdint.h>
#include <stdlib.h>

#include <arpa/inet.h>
#include <string.h>
#include <zlib.h>

#define SIGNATURE 8
#define FRAME     12 /* of a chunk: length, type, checksum */

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint32_t length;

    size = LLVMFuzzerMutate(data, size, max_size);
    if (seed % 16 == 0)
        return size;
    for (size_t at = SIGNATURE; at + FRAME <= size; at += FRAME + length) {
        memcpy(&length, data + at, sizeof length);
        length = ntohl(length);
        if (length > size - at - FRAME)
            break;
        uint32_t crc = htonl((uint32_t)crc32(0, data + at + 4, length + 4));
        memcpy(data + at + 8 + length, &crc, sizeof crc);
    }
    return size;
}
