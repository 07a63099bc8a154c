/* testing.h - for the tests of this folder: tiny models whose answer tells their version, in a store of their own. */
#ifndef INFERENCE_TESTING_H
#define INFERENCE_TESTING_H

#include "classifier/classifier.h"
#include "served.h"
#include "text/text.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_OK(call)                                                                                                 \
    do {                                                                                                               \
        struct status check_ = (call);                                                                                 \
        if (check_.code)                                                                                               \
            fail_msg("%s: %s", #call, check_.msg);                                                                     \
    } while (0)
#define CHECK_CODE(expected, call)                                                                                     \
    do {                                                                                                               \
        struct status check_ = (call);                                                                                 \
        if (check_.code != (expected))                                                                                 \
            fail_msg("%s: %s %s", #call, code_name(check_.code), check_.msg);                                          \
    } while (0)

static char testing_dir[PATH_MAX];

static inline int testing_setup(void **state)
{
    (void)state;
    strcpy(testing_dir, "/tmp/inference_test.XXXXXX");
    return mkdtemp(testing_dir) ? 0 : -1;
}

static inline int testing_teardown(void **state)
{
    (void)state;
    return (int)fs_remove_tree(testing_dir).code;
}

/* P(second label) of the version published with this mark, whatever the text: only the output's bias is not zero. */
static inline float testing_prob(uint64_t mark)
{
    return (float)(1 / (1 + exp(-0.125 * (double)mark)));
}

/* Publishes it into the store as a version of `folder` and frees it. */
static inline uint64_t testing_store(const char *folder, struct classifier *c)
{
    struct model *m = classifier_to_model(c);
    char *data = NULL;
    size_t size = 0;
    uint64_t version = 0;

    CHECK_OK(model_encode(m, &data, &size));
    const struct store_file file = {STORE_MODEL_FILE, data, size};
    CHECK_OK(store_publish(testing_dir, folder, &file, 1, &version));
    free(data);
    model_free(m);
    classifier_free(c);
    return version;
}

/* Publishes a model of `task`, marked, into the store as a version of `folder`. */
static inline uint64_t testing_publish(const char *folder, const char *task, const char *labels, uint32_t classes,
                                       uint64_t mark)
{
    const struct nn_shape shape = {.family = NN_LSTM,
                                   .vocab = TEXT_N_IDS,
                                   .embed = 4,
                                   .hidden = 4,
                                   .buckets = 64,
                                   .classes = classes,
                                   .max_tokens = 50};
    struct nn_tensor tensors[NN_MAX_TENSORS];
    struct classifier *c = NULL;

    CHECK_OK(classifier_new(&c, task, labels, &shape));
    size_t n = nn_tensors(&shape, tensors);
    c->params[nn_tensor_find(tensors, n, "out.b")->offset + 1] = 0.125f * (float)mark;
    return testing_store(folder, c);
}

/* Publishes a model of `task` whose answer depends on the text: every parameter is random. */
static inline uint64_t testing_publish_random(const char *task, uint32_t hidden, uint32_t max_tokens)
{
    const struct nn_shape shape = {.family = NN_LSTM,
                                   .vocab = TEXT_N_IDS,
                                   .embed = 8,
                                   .hidden = hidden,
                                   .buckets = 1024,
                                   .classes = 2,
                                   .max_tokens = max_tokens};
    struct classifier *c = NULL;
    struct rng rng;

    CHECK_OK(classifier_new(&c, task, "negative,positive", &shape));
    rng_init(&rng, 2);
    for (size_t i = 0; i < c->n_params; i++)
        c->params[i] = (float)rng_normal(&rng) * (i < c->n_params - (size_t)2 * 1024 ? 0.1f : 1);
    return testing_store(task, c);
}

static inline void testing_promote(const char *task, uint64_t version)
{
    CHECK_OK(store_set_pointer(testing_dir, task, STORE_PRODUCTION, version));
}

/* The task's model in production, to served_release(). */
static inline struct status testing_acquire(struct served *s, const char *task, struct served_model **m)
{
    return served_acquire(s, &(struct served_query){.task = task}, m);
}

#endif
