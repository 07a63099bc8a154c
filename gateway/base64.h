/* base64.h - base64 of RFC 4648 section 4, strictly: the standard alphabet, whole groups with their padding, zero
 * bits behind the last byte, nothing else. */
#ifndef GATEWAY_BASE64_H
#define GATEWAY_BASE64_H

#include "base/base.h"

#include <stdint.h>

/* Bytes that this text decodes to at most. */
#define BASE64_DECODED_MAX(size) ((size) / 4 * 3)

/* out: BASE64_DECODED_MAX(size) bytes, at least 1; it may be where the text is. ST_INVALID tells where the text is wrong;
 * out is undefined then. */
struct status base64_decode(const char *text, size_t size, uint8_t *out, size_t *out_size);

#endif
