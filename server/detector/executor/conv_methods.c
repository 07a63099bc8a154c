/* conv_methods.c - the list of methods. */
#include "winograd.h"

#include <stddef.h>

extern const struct conv_method conv_direct, conv_direct_bf16, conv_depthwise, conv_stem, conv_plain;

#ifdef __x86_64__
#include "conv_quant.h"
#define QUANTISED                                                                                                      \
    &conv_s16, &conv_s16_depthwise, &conv_u8_avx512vnni, &conv_u8_avx2vnni, &conv_u8_widened, &conv_u8_depthwise,
#else
#define QUANTISED
#endif

const struct conv_method *const conv_methods[] = {
    &conv_stem,      QUANTISED &conv_depthwise, &conv_direct,        &conv_direct_bf16, &conv_winograd2,
    &conv_winograd4, &conv_winograd2_s16,       &conv_winograd4_s16, &conv_plain,       NULL,
};
