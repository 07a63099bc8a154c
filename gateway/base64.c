/* base64.c - see base64.h. libcrypto decodes; it also skips white space and takes any bits behind the end, so that the
 * text is checked here first. */
#include "base64.h"

#include <limits.h>
#include <openssl/evp.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* The bits of the last character that stand for no byte have to be zero. */
static bool spare_bits_zero(char last, size_t padding)
{
    size_t value = (size_t)(strchr(alphabet, last) - alphabet);

    return !(value & (padding == 1 ? 3 : padding == 2 ? 15 : 0));
}

static size_t span(const char *text, size_t size)
{
    static const bool known[256] = {
        ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['0' ... '9'] = true, ['+'] = true, ['/'] = true,
    };
    size_t n = 0;

    while (n < size && known[(unsigned char)text[n]])
        n++;
    return n;
}

struct status base64_decode(const char *text, size_t size, uint8_t *out, size_t *out_size)
{
    size_t padding = 0, n;

    *out_size = 0;
    if (size > INT_MAX || size % 4)
        return status_errorf(ST_INVALID, "not base64: %zu characters are not whole groups of four", size);
    while (padding < 2 && padding < size && text[size - 1 - padding] == '=')
        padding++;
    n = span(text, size - padding);
    if (n != size - padding)
        return status_errorf(ST_INVALID, "not base64: character %zu", n + 1);
    if (padding && !spare_bits_zero(text[n - 1], padding))
        return status_errorf(ST_INVALID, "not base64: bits behind the last byte");
    if (EVP_DecodeBlock(out, (const unsigned char *)text, (int)size) < 0)
        return status_errorf(ST_INVALID, "not base64");
    *out_size = size / 4 * 3 - padding;
    return status_ok();
}
