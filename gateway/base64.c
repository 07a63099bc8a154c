/* base64.c - see base64.h. A pass of our own: libcrypto's takes white space and any bits behind the end, promises nothing
 * about decoding in place, and a second pass to check would cost as much again. */
#include "base64.h"

#include <pthread.h>

#define NONE 0x80 /* a bit that no value has */

static uint8_t values[256];

static void fill_values(void)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < sizeof values; i++)
        values[i] = NONE;
    for (uint8_t i = 0; i < 64; i++)
        values[(unsigned char)alphabet[i]] = i;
}

/* Four characters to three bytes, which may lie where the characters did; false: one of them is none of ours. */
static bool decode_group(const unsigned char *from, uint8_t *to)
{
    uint8_t a = values[from[0]], b = values[from[1]], c = values[from[2]], d = values[from[3]];

    if ((a | b | c | d) & NONE)
        return false;
    to[0] = (uint8_t)(a << 2 | b >> 4);
    to[1] = (uint8_t)(b << 4 | c >> 2);
    to[2] = (uint8_t)(c << 6 | d);
    return true;
}

static size_t count_padding(const char *text, size_t size)
{
    size_t n = 0;

    while (n < 2 && n < size && text[size - 1 - n] == '=')
        n++;
    return n;
}

/* The last group, its padding as zero bits; then the bits that stand for no byte have to be zero. */
static struct status decode_last(const char *text, size_t at, size_t padding, uint8_t *out, size_t *out_size)
{
    unsigned char last[4] = "AAAA";
    uint8_t bytes[3];

    for (size_t i = 0; i < 4 - padding; i++) {
        last[i] = (unsigned char)text[at + i];
        if (values[last[i]] & NONE)
            return status_errorf(ST_INVALID, "not base64: character %zu", at + i + 1);
    }
    decode_group(last, bytes);
    for (size_t i = 0; i < 3; i++)
        if (i < 3 - padding)
            out[(*out_size)++] = bytes[i];
        else if (bytes[i])
            return status_errorf(ST_INVALID, "not base64: bits behind the last byte");
    return status_ok();
}

struct status base64_decode(const char *text, size_t size, uint8_t *out, size_t *out_size)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    size_t padding = count_padding(text, size), n = 0;

    *out_size = 0;
    pthread_once(&once, fill_values);
    if (size % 4)
        return status_errorf(ST_INVALID, "not base64: %zu characters are not whole groups of four", size);
    if (!size)
        return status_ok();
    for (; n < size - 4; n += 4)
        if (!decode_group((const unsigned char *)text + n, out + n / 4 * 3))
            break;
    *out_size = n / 4 * 3;
    return decode_last(text, n, n == size - 4 ? padding : 0, out, out_size);
}
