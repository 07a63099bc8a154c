/* nn.h - text classifiers: families, shapes, initial parameters, loss and gradient, probabilities.
 *
 * A model is an encoder that turns a text into features (n,F), and a head that is the same for all families: dropout,
 * a linear layer (F,C), plus, where there are buckets, a linear part on hashed n-grams:
 * logits += 5/sqrt(#g) * sum of table rows (G,C).
 *
 *     lstm        character embedding (V,E) -> bidirectional LSTM of H units a direction -> max over time (2H); n-grams
 *     lstm-plain  embedding -> LSTM of H units -> its last state (H)
 *     textcnn     embedding -> convolutions of H filters over 2, 3 and 4 characters -> ReLU -> max over time (3H);
 *                 n-grams
 *     linear      n-grams alone: logistic regression, or a linear SVM with the hinge loss
 *     bag         mean over a text's n-grams of an embedding (G,E), as in fastText -> (E); no linear part on n-grams
 *
 * All parameters are views into one block of floats, in the order of nn_tensors(): saving, averaging and sending a
 * model is one loop over it. A gradient has the same layout.
 * Formulas: LSTM: Hochreiter and Schmidhuber 1997 with forget gates (Gers 2000), gate order i f g o; TextCNN: Kim 2014;
 * bag: Joulin et al. 2016. */
#ifndef NN_NN_H
#define NN_NN_H

#include "base/base.h"
#include "base/isa.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef NN_DOUBLE /* the build of the gradient check: the same code, exact enough for finite differences */
typedef double nn_real;
#else
typedef float nn_real;
#endif

enum nn_family { NN_LSTM = 1, NN_LSTM_PLAIN, NN_TEXTCNN, NN_LINEAR, NN_BAG };
#define NN_N_FAMILIES 5

/* "lstm", "lstm-plain", "textcnn", "linear", "bag". */
const char *nn_family_name(enum nn_family family);
struct status nn_family_parse(const char *name, enum nn_family *family); /* ST_INVALID names them all */

/* Members that a family has no use for are 0. */
struct nn_shape {
    enum nn_family family;
    uint32_t vocab;      /* V: rows of the character embedding; row 0 is padding and stays 0 */
    uint32_t embed;      /* E; bag: of the n-gram embedding */
    uint32_t hidden;     /* H: LSTM units a direction; textcnn: filters of a width */
    uint32_t buckets;    /* G: rows of the n-gram table; 0, but for linear and bag: no linear part */
    uint32_t classes;    /* C, at least 2 */
    uint32_t max_tokens; /* L: longer texts are clipped before they come here */
};

#define NN_MAX_VOCAB   65536
#define NN_MAX_UNITS   512 /* E and H */
#define NN_MAX_BUCKETS (1u << 22)
#define NN_MAX_CLASSES 16
#define NN_MAX_TOKENS  1024
#define NN_MAX_BATCH   4096

/* What each family is trained with unless told otherwise: two classes, V of text.h; lstm: E 64, H 64, G 131,072, L
 * 200. Fewer buckets cost accuracy where texts are many: docs/models.md. */
const struct nn_shape *nn_shape_preset(enum nn_family family);

/* ST_INVALID names the member that does not fit the family or its range. */
struct status nn_shape_check(const struct nn_shape *s);

struct nn_tensor {
    const char *name; /* "embedding", "lstm.fw.wx", ... static */
    uint32_t dims[2]; /* rows, columns; a vector has columns 1 */
    bool sparse;      /* a table: the gradient of a batch is 0 but for the few rows that its texts hold */
    size_t offset;    /* in floats from the start of the block */
    size_t n;         /* floats */
};
#define NN_MAX_TENSORS 16

/* The tensors in their order:
 *     embedding (V,E) sparse                                           lstm, lstm-plain, textcnn
 *     lstm.fw.wx (E,4H), lstm.fw.wh (H,4H), lstm.fw.b (4H,)            lstm, lstm-plain
 *     lstm.bw.wx, lstm.bw.wh, lstm.bw.b                                lstm
 *     conv2.w (2E,H), conv2.b (H,), conv3.w (3E,H), ... conv4.b        textcnn
 *     bag (G,E) sparse                                                 bag
 *     out.w (F,C)                                                      all but linear
 *     out.b (C,)                                                       all
 *     ngram (G,C) sparse                                               where there are buckets, but for bag
 * Returns their number. */
size_t nn_tensors(const struct nn_shape *s, struct nn_tensor tensors[NN_MAX_TENSORS]);
const struct nn_tensor *nn_tensor_find(const struct nn_tensor *tensors, size_t n, const char *name); /* NULL: absent */
size_t nn_n_params(const struct nn_shape *s);

/* The starting point for a seed: embedding N(0, 0.1), input weights uniform +-sqrt(6/(E+H)), recurrent weights four
 * orthogonal blocks, forget bias 1, filters uniform +-sqrt(6/(k E+H)), bag uniform +-1/E, output N(0, 0.05), all else 0,
 * the n-gram table too. The same on every machine with the same C
 * library, but for a last bit where its cosine takes another path. */
void nn_init(nn_real *params, const struct nn_shape *s, uint64_t seed);

/* One row of a batch; arrays are borrowed. */
struct nn_example {
    const uint16_t *ids;    /* (n_ids,), 1..V-1; linear and bag read neither them nor their number */
    uint32_t n_ids;         /* 1..L */
    const uint32_t *ngrams; /* (n_ngrams,), below G; not read without buckets */
    uint32_t n_ngrams;
    uint32_t label;        /* below C; only read by nn_loss() */
    const nn_real *target; /* (C,), sum 1: what cross-entropy trains towards instead of the label; NULL: the label */
};

enum nn_loss_kind {
    NN_CROSS_ENTROPY, /* against (1 - s) one-hot + s / C, s being the label smoothing */
    NN_HINGE,         /* squared hinge of Crammer and Singer 2001: max(0, 1 - z_label + max of the other z)^2 */
};

/* "cross-entropy", "hinge". */
const char *nn_loss_name(enum nn_loss_kind loss);
struct status nn_loss_parse(const char *name, enum nn_loss_kind *loss); /* ST_INVALID names them all */

/* What training minimises; zeroed: plain cross-entropy, as in gradient checks. */
struct nn_objective {
    enum nn_loss_kind loss;
    float token_dropout;  /* a character's whole row, without rescaling */
    float embed_dropout;  /* elements of the embedding */
    float output_dropout; /* features */
    float ngram_dropout;  /* n-gram features */
    float label_smoothing;
};

struct nn_workspace; /* all memory of a forward and backward pass; one thread at a time */

/* Room for batches of at most max_batch rows (up to NN_MAX_BATCH). lstm reserves max_batch * L * (E + 7 H) * 8 bytes,
 * 52 MB for 64 rows of the default shape, lstm-plain half of that, the others little; only what batches reach becomes
 * resident, in pages of up to 2 MB, and nn_predict() reaches little. */
struct nn_workspace *nn_workspace_new(const struct nn_shape *s, uint32_t max_batch);
void nn_workspace_free(struct nn_workspace *ws);

/* Mean loss of the batch (1 <= n <= max_batch) into *loss and its gradient ADDED to grad, which the caller has
 * cleared. Deterministic for the same seed; seed only feeds dropout. n_correct (may be NULL): rows whose argmax is
 * their label, with dropout as it was. Examples are checked by their maker: out of range is undefined. */
void nn_loss(struct nn_workspace *ws, const nn_real *params, const struct nn_example *batch, uint32_t n,
             const struct nn_objective *objective, uint64_t seed, nn_real *grad, double *loss, uint32_t *n_correct);

/* probs (n,C): softmax of the logits. */
void nn_predict(struct nn_workspace *ws, const nn_real *params, const struct nn_example *batch, uint32_t n,
                nn_real *probs);

/* Returns the score of a class for one text, its logit minus the mean of the others', and what the parts of the text
 * add to it: chars (n_ids,) by gradient times input, right to the first order; ngrams (n_ngrams,) exactly. What a family
 * does not read is 0. For linear and bag: score = that of out.b + sum of ngrams.
 * Allocates what it needs: for one text now and then. */
double nn_explain(const struct nn_shape *s, const nn_real *params, const struct nn_example *x, uint32_t class,
                  nn_real *chars, nn_real *ngrams);

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
const char *nn_blas_core(void); /* "Haswell", "SkylakeX", ... */

/* The best that this CPU has, or what BLOGINFER_NN_ISA names ("avx2vnni" ...) if the CPU has that. */
enum isa nn_isa(void);
const char *nn_kernel_isa(void); /* "avx512", "avx2" or "portable": the kernels of training that go with it */

#endif
