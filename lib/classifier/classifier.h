/* classifier.h - a text classifier as it stands in a model file: shape, parameters, labels and where they come from.
 * The one place that knows the metadata keys, so that what the aggregator writes is what inference reads:
 *
 *     format        "bloginfer.model.v1"
 *     task          "sentiment", "troll", ... (a name of model/store.h)
 *     architecture  "lstm" and so on: nn_family_name()
 *     loss          what it was trained with: nn_loss_name(); absent in files of before there were two: cross-entropy
 *     vocabulary    TEXT_RULE (text/text.h); a file with another rule is refused, its ids would mean something else
 *     labels        in the order of the outputs, separated by commas
 *     vocab, embed, hidden, buckets, classes, max_tokens    struct nn_shape
 *     run, rounds, samples, workers, source, created        of the training
 *     eval_rows, eval_accuracy, eval_loss                   on rows that were not trained on; absent when there were none
 *
 * Tensors have the names, order and shapes of nn_tensors(). Free to share between threads once made. */
#ifndef CLASSIFIER_CLASSIFIER_H
#define CLASSIFIER_CLASSIFIER_H

#include "base/base.h"
#include "model/model.h"
#include "model/store.h"
#include "nn/nn.h"

#define CLASSIFIER_FORMAT    "bloginfer.model.v1"
#define CLASSIFIER_LABEL_MAX 64  /* bytes of a label */
#define CLASSIFIER_TEXT_MAX  256 /* bytes of run, source and created */
#define CLASSIFIER_THRESHOLD 0.5

struct classifier {
    char task[STORE_TASK_MAX + 1];
    struct nn_shape shape;
    enum nn_loss_kind loss;
    char labels[NN_MAX_CLASSES][CLASSIFIER_LABEL_MAX + 1]; /* shape.classes of them */
    float *params; /* (n_params,), in the order of nn_tensors(), aligned to 64 */
    size_t n_params;

    char run[CLASSIFIER_TEXT_MAX + 1];
    char source[CLASSIFIER_TEXT_MAX + 1];  /* what the training data is, for a person */
    char created[CLASSIFIER_TEXT_MAX + 1]; /* clock_stamp() */
    uint32_t rounds, workers;
    uint64_t samples; /* training rows that were seen, over all rounds */
    uint64_t eval_rows;
    double eval_accuracy, eval_loss; /* 0..1 and nats; NaN without rows */
};

/* The names of the tasks that this product trains, from 0; NULL behind the last. */
const char *classifier_task(size_t i);

/* The labels of a task that this product trains, as they stand in the metadata; NULL: unknown. */
const char *classifier_task_labels(const char *task);

/* Whether its outputs mean what the task's labels do, in their order. ST_DATA_LOSS: not, or the task is unknown. */
struct status classifier_check_labels(const struct classifier *c);

/* Parameters and origin are zero, for the caller to fill. ST_INVALID: the task's name, the labels or the shape. */
struct status classifier_new(struct classifier **out, const char *task, const char *labels,
                             const struct nn_shape *shape);
void classifier_free(struct classifier *c); /* NULL is fine */

/* A model to model_encode() and model_free(). */
struct model *classifier_to_model(const struct classifier *c);

/* Checks everything above. ST_DATA_LOSS names what does not fit. */
struct status classifier_from_model(struct classifier **out, const struct model *m);

/* The answer for one text; probs (classes,). With two labels *prob is P(second), and the second is the answer when
 * *prob >= threshold; with more, the most probable and its probability. Returns the label's index. */
uint32_t classifier_label(const struct classifier *c, const float *probs, double threshold, float *prob);

#endif
