/* conv_methods.c - the list of methods. */
#include "conv.h"

#include <stddef.h>

extern const struct conv_method conv_direct, conv_depthwise, conv_stem, conv_plain;

const struct conv_method *const conv_methods[] = {&conv_stem, &conv_depthwise, &conv_direct, &conv_plain, NULL};
