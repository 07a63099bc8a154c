/* infer.h - the forward pass of an LSTM on prepared weights, compiled once per instruction set from infer.c and chosen
 * at start. Private to lib/nn.
 *
 * Units are padded to Hp, a multiple of 16, and dealt into panels of L units, L being a vector's floats: a panel holds
 * all four gates of its units, so that a step computes the gates of a panel and at once its c and h. Padded units have
 * weights and table entries 0 and stay at h = 0. A gate's pre-activation a is kept as the power of two that the
 * activation wants: -a log2 e for i, f and o, -2 a log2 e for g. */
#ifndef NN_INFER_H
#define NN_INFER_H

#include "base/isa.h"

#include <stddef.h>
#include <stdint.h>

#define INFER_UNITS      16 /* H is padded to a multiple of this */
#define INFER_DIRECTIONS 2
#define INFER_MAX_ROWS   3 /* texts that fp32 takes through a step together: its weights come from L2 */

/* int8: h in [-1,1] is the byte 64 + 63 h. Two products of neighbours are added in 16 bits without saturation, and two
 * such sums again, as the maker keeps the absolute sum of any four weights that meet at INFER_INT8_SUM: 127 * 258 is
 * below 2^15. */
#define INFER_INT8_ZERO  64
#define INFER_INT8_RANGE 63
#define INFER_INT8_MAX   127
#define INFER_INT8_SUM   258
#define INFER_INT8_GROUP 8 /* weights of a column that lie together: 4, then 4 more a vector further */

/* One direction. Columns are ordered panel, gate, unit: 4Hp of them. */
struct infer_direction {
    const void *wh;        /* fp32: float (Hp/L, H, 4, L); int8: int8_t (Hp/L, Hp/8, 4, 2, L, 4) */
    const float *scale;    /* (4Hp,); fp32: of a table entry; int8: of the integer sum */
    const int32_t *offset; /* (4Hp,), int8: where sums start, -64 times the sum of a column's weights */
    const char *table;     /* x Wx + b: a row a character, infer_net.row apart; fp32: int16_t (4Hp,) in units of scale;
                            * int8: float (4,), a scale for each gate of this row, then int8_t (4Hp,) */
};

#define INFER_ROW_SCALES (4 * sizeof(float)) /* bytes before the entries of an int8 row */

struct infer_net {
    size_t n_directions, hidden, padded; /* H, Hp */
    size_t row;                          /* bytes from character to character, both directions */
    bool last;                           /* the feature is the last h, not the maximum over time */
    struct infer_direction directions[INFER_DIRECTIONS];
};

/* One text on its way; state is zeroed but for h, which infer_start() sets. */
struct infer_text {
    const uint16_t *ids;
    size_t n_ids;
    float *pool; /* (n_directions,Hp): features */
    float *c;    /* (n_directions,Hp) */
    void *h;     /* (n_directions,2,Hp) float or uint8_t: of the step before and of this one, in turns */
};

struct infer_kernels {
    const char *isa; /* "avx2", "avx2vnni" ... */
    size_t lanes;    /* L */
    /* Steps from..to-1 of n texts, all of them at least `to` long. */
    void (*fp32)(const struct infer_net *net, const struct infer_text *texts, size_t n, size_t from, size_t to);
    void (*int8)(const struct infer_net *net, const struct infer_text *texts, size_t n, size_t from, size_t to);
    float (*dot)(const float *a, const float *b, size_t n); /* n a multiple of INFER_UNITS */
    void (*widen)(float *range, const float *x, size_t n);  /* range = max(range, |x|) */
    /* The fp32 table: to = round(x * inverse). */
    void (*quantise)(int16_t *to, const float *x, const float *inverse, size_t n);
    /* The int8 table's row: x (4Hp,) in the order of the panels. */
    void (*quantise_row)(char *to, const float *x, size_t padded);
};

extern const struct infer_kernels infer_kernels_portable, infer_kernels_avx2, infer_kernels_avx512;
extern const struct infer_kernels infer_kernels_avx2vnni, infer_kernels_avx512vnni;

/* Those of an instruction set, or NULL when this CPU lacks it. */
const struct infer_kernels *infer_kernels_find(enum isa isa);

#endif
