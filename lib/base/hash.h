/* hash.h - checksums and digests. SHA comes from libcrypto; CRC-32C (Castagnoli, RFC 3720 appendix B.4) is ours,
 * by the SSE4.2 instruction where the CPU has it. Thread-safe. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* Continues crc (0 at the start) over size bytes. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

#define SHA1_SIZE   20
#define SHA256_SIZE 32
void sha1(const void *data, size_t size, uint8_t digest[SHA1_SIZE]);
void sha256(const void *data, size_t size, uint8_t digest[SHA256_SIZE]);
struct status sha256_file(const char *path, uint8_t digest[SHA256_SIZE]);

/* text: 2 * size + 1 bytes; lower case. Returns text. */
char *hex_encode(const uint8_t *data, size_t size, char *text);

#endif
