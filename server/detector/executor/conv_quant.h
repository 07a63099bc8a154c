/* conv_quant.h - inside of the quantised convolutions: what conv_quant.c prepares and the kernels of each instruction
 * set compute.
 *
 * A band of input rows is first staged: copied with its padding into a dense buffer (rows, columns, channels), so that
 * the taps of one row of the window lie side by side, whatever the number of channels. A tile is then some pixels times
 * a block of filters, held in registers: for each pixel the run of values under a row of the window is taken in
 * steps of 32 bits - two 16-bit or four 8-bit values -, spread over a register and multiplied with the weights of the
 * block's filters, which are packed in this very order. Sums are exact in 32 bits. */
#ifndef DETECTOR_CONV_QUANT_H
#define DETECTOR_CONV_QUANT_H

#include "executor/conv.h"

extern const struct conv_method conv_s16, conv_s16_depthwise;
extern const struct conv_method conv_u8_avx512vnni, conv_u8_avx2vnni; /* vpdpbusd: AVX512_VNNI, AVX_VNNI */
extern const struct conv_method conv_u8_widened, conv_u8_depthwise;   /* the same sums by 16 bits, AVX2 */

/* What happens to a sum s of filter f: v = s * factors[f] + biases[f] and so on as conv.h says, all in units of the
 * output's scale. Arrays are in the order of the kernel's lanes. */
struct quant_finish {
    const float *factors, *biases;
    float slope, add_slope;
    enum tensor_type out_type, add_type;
    float add_factor, add_shift; /* residual q counts q * add_factor + add_shift */
    float out_zero;
};

/* Some rows of output pixels times a block of filters. Steps are in bytes. */
struct quant_block {
    const char *pixels;     /* where the first pixel's window starts in the band */
    size_t pixel_step;      /* to the next pixel's */
    size_t line_step;       /* from a row's first pixel to the next row's */
    size_t width;           /* pixels in a row */
    size_t n_pixels;        /* in all */
    size_t row_step;        /* from a row of the window to the next */
    size_t n_rows, n_steps; /* rows of the window; 32-bit steps in each */
    const void *weights;    /* (rows, steps, filters of the block) times 32 bits */
    const int32_t *starts;  /* what each filter's sum starts from; NULL: 0 */
    size_t n_registers;     /* filters of the block, in registers: 1 to max_registers */
    size_t filter;          /* the block's first, in the arrays of finish */
    const struct quant_finish *finish;
    char *out;       /* of the first pixel and filter */
    const char *add; /* as out; NULL without a residual */
    size_t out_step, add_step;
};

struct quant_kernels {
    size_t lanes; /* filters in a register */
    size_t max_registers;
    bool quads; /* blocks of 16 filters keep them in the order 0-3 8-11 4-7 12-15, in which AVX2 packs integers */
    void (*run)(const struct quant_block *b);
};

extern const struct quant_kernels quant_kernels_s16_avx2, quant_kernels_u8_avx2vnni, quant_kernels_u8_avx512vnni;

/* ---- depthwise, 16 channels at a time, always in quads ---- */

#define QUANT_DEPTHWISE_LANES 16

struct quant_depthwise {
    const int16_t *pairs;   /* the band: rows y and y + 1 interleaved by quant_interleave_avx2(), (rows, columns,
                               channels / 16, 32) */
    size_t row, column;     /* steps in values */
    size_t size, stride;    /* of the window */
    const int16_t *weights; /* (size + 1 over 2, size, 32): of the 16 channels */
    const struct quant_finish *finish;
    size_t filter;
    char *out; /* of the first pixel */
    const char *add;
    size_t out_step, add_step; /* bytes to the next pixel */
};

/* One row of n_pixels outputs, 16 channels. */
void quant_depthwise_avx2(const struct quant_depthwise *d, size_t n_pixels);

/* to (2 n,) from two rows of n values, a multiple of 16: for each 16, pairs of the quads 0 and 2, then of 1 and 3. */
void quant_interleave_avx2(int16_t *to, const int16_t *upper, const int16_t *lower, size_t n);

#endif
