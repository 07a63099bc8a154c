/* nn.h - text classifiers: shapes, initial parameters, loss and gradient, probabilities.
 *
 * The family "lstm": character embedding (V,E) -> bidirectional LSTM of H units a direction -> max over time (2H)
 * -> linear (2H,C), plus a linear part on hashed n-grams: logits += 5/sqrt(#g) * sum of table rows (G,C).
 * All parameters are views into one block of floats, in the order of nn_tensors(): saving, averaging and sending a
 * model is one loop over it. A gradient has the same layout.
 * Formulas: Hochreiter and Schmidhuber 1997 with forget gates (Gers 2000); gate order i f g o. */
#ifndef NN_NN_H
#define NN_NN_H

#include "base/base.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef NN_DOUBLE /* the build of the gradient check: the same code, exact enough for finite differences */
typedef double nn_real;
#else
typedef float nn_real;
#endif

struct nn_shape {
    uint32_t vocab;      /* V: rows of the embedding; row 0 is padding and stays 0 */
    uint32_t embed;      /* E */
    uint32_t hidden;     /* H, a direction */
    uint32_t buckets;    /* G: rows of the n-gram table */
    uint32_t classes;    /* C, at least 2 */
    uint32_t max_tokens; /* L: longer texts are clipped before they come here */
};

#define NN_MAX_VOCAB   65536
#define NN_MAX_UNITS   512 /* E and H */
#define NN_MAX_BUCKETS (1u << 22)
#define NN_MAX_CLASSES 16
#define NN_MAX_TOKENS  1024
#define NN_MAX_BATCH   4096
extern const struct nn_shape nn_shape_default; /* E 64, H 64, G 65,536, C 2, L 200, V of text.h */

/* ST_INVALID names the member outside its range. */
struct status nn_shape_check(const struct nn_shape *s);

struct nn_tensor {
    const char *name; /* "embedding", "lstm.fw.wx", ... static */
    uint32_t dims[2]; /* rows, columns; a vector has columns 1 */
    size_t offset;    /* in floats from the start of the block */
    size_t n;         /* floats */
};

/* The tensors in their order. wx and wh of a direction are neighbours, so together they are one (E+H,4H) matrix. */
enum nn_tensor_index {
    NN_EMBEDDING, /* (V,E) */
    NN_FW_WX,     /* (E,4H) */
    NN_FW_WH,     /* (H,4H) */
    NN_FW_B,      /* (4H,) */
    NN_BW_WX,
    NN_BW_WH,
    NN_BW_B,
    NN_OUT_W, /* (2H,C) */
    NN_OUT_B, /* (C,) */
    NN_NGRAM, /* (G,C) */
    NN_N_TENSORS
};

/* Fills tensors[NN_N_TENSORS]; returns the number of floats in the block. */
size_t nn_tensors(const struct nn_shape *s, struct nn_tensor *tensors);
size_t nn_n_params(const struct nn_shape *s);

/* The starting point for a seed: embedding N(0, 0.1), input weights uniform +-sqrt(6/(E+H)), recurrent weights four
 * orthogonal blocks, forget bias 1, output N(0, 0.05), n-gram table 0. The same on every machine with the same C
 * library, but for a last bit where its cosine takes another path. */
void nn_init(nn_real *params, const struct nn_shape *s, uint64_t seed);

/* One row of a batch; arrays are borrowed. */
struct nn_example {
    const uint16_t *ids;    /* (n_ids,), 1..V-1 */
    uint32_t n_ids;         /* 1..L */
    const uint32_t *ngrams; /* (n_ngrams,), below G */
    uint32_t n_ngrams;
    uint32_t label; /* below C; only read by nn_loss() */
};

/* Dropout and smoothing of training; all zero in evaluation and in gradient checks. */
struct nn_regularisation {
    float token_dropout;  /* a character's whole row, without rescaling */
    float embed_dropout;  /* elements of the embedding */
    float output_dropout; /* elements after max over time */
    float ngram_dropout;  /* n-gram features */
    float label_smoothing;
};

struct nn_workspace; /* all memory of a forward and backward pass; one thread at a time */

/* Room for batches of at most max_batch rows (up to NN_MAX_BATCH). Reserves max_batch * L * (E + 7 H) * 8 bytes, 52 MB
 * for 64 rows of the default shape; only what batches reach becomes resident, and nn_predict() reaches little. */
struct nn_workspace *nn_workspace_new(const struct nn_shape *s, uint32_t max_batch);
void nn_workspace_free(struct nn_workspace *ws);

/* Mean cross-entropy of the batch (1 <= n <= max_batch) into *loss and its gradient ADDED to grad, which the caller has
 * cleared. Deterministic for the same seed; seed only feeds dropout. n_correct (may be NULL): rows whose argmax is
 * their label, with dropout as it was. Examples are checked by their maker: out of range is undefined. */
void nn_loss(struct nn_workspace *ws, const nn_real *params, const struct nn_example *batch, uint32_t n,
             const struct nn_regularisation *reg, uint64_t seed, nn_real *grad, double *loss, uint32_t *n_correct);

/* probs (n,C): softmax of the logits. */
void nn_predict(struct nn_workspace *ws, const nn_real *params, const struct nn_example *batch, uint32_t n,
                nn_real *probs);

/* ---- optimizers: turn a mean gradient into a step, in place ---- */

enum nn_optimizer_kind { NN_SGD, NN_MOMENTUM, NN_ADAM, NN_YOGI };

struct nn_optimizer {
    enum nn_optimizer_kind kind;
    double beta1, beta2, epsilon; /* momentum uses beta1 alone */
    double clip_norm;             /* global L2 norm; 0: no clipping */
    size_t n;                     /* parameters */
    uint64_t step;                /* steps taken */
    nn_real *m, *v;               /* (n,) each, owned; NULL where the kind needs none */
};

/* "sgd", "momentum", "adam", "yogi". */
struct status nn_optimizer_kind_parse(const char *name, enum nn_optimizer_kind *kind);
void nn_optimizer_init(struct nn_optimizer *o, enum nn_optimizer_kind kind, size_t n);
void nn_optimizer_fini(struct nn_optimizer *o);

/* Clips grad (changed in place), then params -= step of the given learning rate. Returns the norm before clipping. */
double nn_optimizer_step(struct nn_optimizer *o, nn_real *params, nn_real *grad, double learning_rate);

/* ---- the CPU: chosen at start, printed with every measurement ---- */

/* Makes OpenBLAS use the kernels this CPU has: when it misread the CPU, sets OPENBLAS_CORETYPE and executes the program
 * again (once). Sets one BLAS thread. Call first in main(). */
void nn_setup_blas(char **argv);
const char *nn_blas_core(void);  /* "Haswell", "SkylakeX", ... */
const char *nn_kernel_isa(void); /* "avx512", "avx2" or "portable": what our own kernels run with */

#endif
