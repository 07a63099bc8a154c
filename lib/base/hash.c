/* hash.c - see hash.h. */
#include "base/hash.h"

#include <assert.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

#define CRC32C_POLYNOMIAL 0x82F63B78u /* reflected */

static uint32_t crc_table[256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void crc_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;

        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ CRC32C_POLYNOMIAL : c >> 1;
        crc_table[i] = c;
    }
}

static uint32_t crc_portable(uint32_t crc, const unsigned char *p, size_t size)
{
    pthread_once(&crc_once, crc_init);
    while (size--)
        crc = crc_table[(crc ^ *p++) & 0xFF] ^ crc >> 8;
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t crc, const unsigned char *p, size_t size)
{
    uint64_t c = crc, word;

    for (; size >= 8; size -= 8, p += 8) {
        memcpy(&word, p, 8);
        c = _mm_crc32_u64(c, word);
    }
    while (size--)
        c = _mm_crc32_u8((uint32_t)c, *p++);
    return (uint32_t)c;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_sse42(~crc, data, size);
#endif
    return ~crc_portable(~crc, data, size);
}

static void digest_of(const EVP_MD *md, const void *data, size_t size, uint8_t *digest)
{
    int ok = EVP_Digest(data, size, digest, NULL, md, NULL);

    assert(ok);
    (void)ok;
}

void sha1(const void *data, size_t size, uint8_t digest[SHA1_SIZE])
{
    digest_of(EVP_sha1(), data, size, digest);
}

void sha256(const void *data, size_t size, uint8_t digest[SHA256_SIZE])
{
    digest_of(EVP_sha256(), data, size, digest);
}

struct status sha256_file(const char *path, uint8_t digest[SHA256_SIZE])
{
    struct status st = status_ok();
    char chunk[65536];
    size_t n;
    FILE *f = fopen(path, "rbe");

    if (!f)
        return status_errno("open %s", path);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        EVP_DigestUpdate(ctx, chunk, n);
    if (ferror(f))
        st = status_errno("read %s", path);
    EVP_DigestFinal_ex(ctx, digest, NULL);
    EVP_MD_CTX_free(ctx);
    fclose(f);
    return st;
}

char *hex_encode(const uint8_t *data, size_t size, char *text)
{
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = "0123456789abcdef"[data[i] >> 4];
        text[2 * i + 1] = "0123456789abcdef"[data[i] & 15];
    }
    text[2 * size] = '\0';
    return text;
}
