/* predictor.h - answers of one text classifier, fast: its weights prepared once for the forward pass alone.
 *
 * The input half of an LSTM step, x_t Wx + b, depends on the character alone, so it is computed once per character and
 * kept as a table; a step is then a table row, the recurrent product and the gates.
 *
 *     NN_FP32   a table of 16-bit integers with a scale for each column, the rest in single precision: probabilities are
 *               those of nn_predict() to 1e-4 (a trained model on 1,200 texts: 2e-5)
 *     NN_INT8   a table of bytes with a scale for each row and gate, recurrent weights as bytes with a scale for each
 *               output, h in 7 bits; half the memory
 *
 * A predictor does not change once made and needs neither the shape nor the parameters it was made from; any number of
 * threads may run it at once, each with a scratch of its own. The NN_DOUBLE build has none. */
#ifndef NN_PREDICTOR_H
#define NN_PREDICTOR_H

#include "nn/nn.h"

enum nn_precision { NN_FP32, NN_INT8 };

struct nn_predictor;
struct nn_scratch; /* the memory of a run; one thread at a time */

/* params as of nn_tensors(), only read during the call. ST_UNIMPLEMENTED: NN_INT8 of a family without a recurrent part.
 * ST_INVALID: a parameter is not finite. ST_EXHAUSTED: no memory. The shape has been checked. */
struct status nn_predictor_new(struct nn_predictor **out, const struct nn_shape *s, const float *params,
                               enum nn_precision precision);
void nn_predictor_free(struct nn_predictor *p);          /* NULL is fine */
size_t nn_predictor_bytes(const struct nn_predictor *p); /* all of its memory, one block */

/* For predictors of exactly this shape, both precisions, and batches of at most max_batch rows (NN_MAX_BATCH). */
struct nn_scratch *nn_scratch_new(const struct nn_shape *s, uint32_t max_batch);
void nn_scratch_free(struct nn_scratch *scratch); /* NULL is fine */

/* probs (n,C): softmax of the logits, 1 <= n <= max_batch; examples as for nn_predict(). cancelled (may be NULL) is
 * asked every few time steps; once it says true the run ends, returns false and probs are undefined. */
bool nn_predictor_run(const struct nn_predictor *p, struct nn_scratch *scratch, const struct nn_example *batch,
                      uint32_t n, float *probs, bool (*cancelled)(void *arg), void *arg);

/* "avx2", "avx512vnni", ... "portable": what predictors run with, nn_isa(). */
const char *nn_predictor_isa(void);

#endif
