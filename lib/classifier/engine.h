/* engine.h - a classifier made ready to answer. Builds the engines the model's family has, checks int8 against fp32 on
 * the texts of probe_texts.h, measures what is left for a few milliseconds and keeps the faster one: which is faster
 * depends on the CPU, and whether int8 is good enough on the model.
 *
 * An engine does not change once made and does not need the classifier any more; threads share it, each with a scratch
 * of its own. All its memory goes with engine_free(). */
#ifndef CLASSIFIER_ENGINE_H
#define CLASSIFIER_ENGINE_H

#include "classifier/classifier.h"
#include "nn/predictor.h"

enum engine_kind { ENGINE_AUTO, ENGINE_FP32, ENGINE_INT8 };

/* "auto", "fp32", "int8". */
const char *engine_kind_name(enum engine_kind kind);
struct status engine_kind_parse(const char *name, enum engine_kind *kind); /* ST_INVALID names them all */

/* int8 is refused when a probability of a probe text differs by more than this from fp32, or a label does. */
#define ENGINE_MAX_DIFFERENCE 0.02

struct engine_report {
    enum engine_kind chosen;   /* ENGINE_FP32 or ENGINE_INT8 */
    char why[160];             /* for the log: "int8 is faster", "int8 refused: 2 of 40 labels change" ... */
    double fp32_us, int8_us;   /* of a probe text, mean over some of them; 0: not measured */
    uint32_t n_texts;          /* that were compared; 0: int8 was not built */
    uint32_t n_changed;        /* of them, labels that int8 changes */
    double largest_difference; /* of a probability, int8 against fp32 */
};

struct engine;

/* wanted: ENGINE_INT8 skips the measurement but not the check: a model that int8 would change, or whose family has no
 * int8, gets fp32 and the report says why. report may be NULL. ST_INVALID: a parameter is not finite. Takes some
 * 50 ms of CPU time for an LSTM of the default shape. */
struct status engine_new(struct engine **out, const struct classifier *c, enum engine_kind wanted,
                         struct engine_report *report);
void engine_free(struct engine *e); /* NULL is fine */

const char *engine_name(const struct engine *e); /* "fp32" or "int8" */
size_t engine_bytes(const struct engine *e);
const struct nn_shape *engine_shape(const struct engine *e);

/* For engines of the same shape and batches of at most max_batch rows; to nn_scratch_free(). */
struct nn_scratch *engine_scratch_new(const struct engine *e, uint32_t max_batch);

/* As nn_predictor_run(): probs (n,C); false: cancelled. */
bool engine_run(const struct engine *e, struct nn_scratch *scratch, const struct nn_example *batch, uint32_t n,
                float *probs, bool (*cancelled)(void *arg), void *arg);

#endif
