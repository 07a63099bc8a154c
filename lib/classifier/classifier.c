/* classifier.c - see classifier.h. */
#include "classifier/classifier.h"

#include "text/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *labels;
} tasks[] = {{"sentiment", "negative,positive"}, {"troll", "normal,troll"}};

const char *classifier_task(size_t i)
{
    return i < COUNT_OF(tasks) ? tasks[i].name : NULL;
}

const char *classifier_task_labels(const char *task)
{
    for (size_t i = 0; i < COUNT_OF(tasks); i++)
        if (strcmp(task, tasks[i].name) == 0)
            return tasks[i].labels;
    return NULL;
}

struct status classifier_check_labels(const struct classifier *c)
{
    const char *at = classifier_task_labels(c->task);

    if (!at)
        return status_errorf(ST_DATA_LOSS, "task %s is not known here", c->task);
    for (uint32_t i = 0; i < c->shape.classes; i++) {
        size_t size = strcspn(at, ",");

        if (strlen(c->labels[i]) != size || memcmp(c->labels[i], at, size) != 0)
            return status_errorf(ST_DATA_LOSS, "label %u of %s is %s", i, c->task, c->labels[i]);
        at += size + (at[size] == ',');
    }
    return *at ? status_errorf(ST_DATA_LOSS, "%s has more than %u labels", c->task, c->shape.classes) : status_ok();
}

/* ---- making one ---- */

static bool label_ok(const struct classifier *c, uint32_t n, const char *label, size_t size)
{
    if (size == 0 || size > CLASSIFIER_LABEL_MAX)
        return false;
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)label[i] < ' ' || label[i] == 0x7f)
            return false;
    for (uint32_t i = 0; i < n; i++)
        if (strlen(c->labels[i]) == size && memcmp(c->labels[i], label, size) == 0)
            return false;
    return true;
}

static struct status labels_parse(struct classifier *c, const char *labels)
{
    const char *p = labels;

    for (uint32_t i = 0; i < c->shape.classes; i++) {
        size_t size = strcspn(p, ",");
        bool last = i + 1 == c->shape.classes;
        if (!label_ok(c, i, p, size) || (p[size] == '\0') != last)
            return status_errorf(ST_INVALID, "labels %.80s: not %u different ones", labels, c->shape.classes);
        memcpy(c->labels[i], p, size);
        p += size + !last;
    }
    return status_ok();
}

struct status classifier_new(struct classifier **out, const char *task, const char *labels,
                             const struct nn_shape *shape)
{
    struct status st = store_task_check(task);

    if (!st.code)
        st = nn_shape_check(shape);
    if (!st.code && shape->vocab && shape->vocab != TEXT_N_IDS)
        st = status_errorf(ST_INVALID, "vocab %u: %s has %d ids", shape->vocab, TEXT_RULE, TEXT_N_IDS);
    if (st.code)
        return st;
    struct classifier *c = xcalloc(1, sizeof *c);
    memcpy(c->task, task, strlen(task));
    c->shape = *shape;
    st = labels_parse(c, labels);
    if (st.code) {
        free(c);
        return st;
    }
    c->n_params = nn_n_params(shape);
    c->params = xaligned(c->n_params, sizeof *c->params);
    c->eval_accuracy = c->eval_loss = NAN;
    *out = c;
    return st;
}

void classifier_free(struct classifier *c)
{
    if (!c)
        return;
    free(c->params);
    free(c);
}

/* ---- the whole numbers of the metadata, by key ---- */

struct number {
    const char *key;
    uint32_t *u32;
    uint64_t *u64;
};

#define N_SHAPE   6
#define N_NUMBERS 10

/* The first N_SHAPE are the shape. */
static void numbers_of(struct number numbers[N_NUMBERS], struct nn_shape *shape, struct classifier *origin)
{
    const struct number all[N_NUMBERS] = {
        {.key = "vocab", .u32 = &shape->vocab},      {.key = "embed", .u32 = &shape->embed},
        {.key = "hidden", .u32 = &shape->hidden},    {.key = "buckets", .u32 = &shape->buckets},
        {.key = "classes", .u32 = &shape->classes},  {.key = "max_tokens", .u32 = &shape->max_tokens},
        {.key = "rounds", .u32 = &origin->rounds},   {.key = "workers", .u32 = &origin->workers},
        {.key = "samples", .u64 = &origin->samples}, {.key = "eval_rows", .u64 = &origin->eval_rows},
    };

    memcpy(numbers, all, sizeof all);
}

static void number_set(struct model *m, const struct number *n)
{
    char text[32];

    snprintf(text, sizeof text, "%" PRIu64, n->u32 ? *n->u32 : *n->u64);
    model_set(m, n->key, text);
}

static struct status number_get(const struct model *m, const struct number *n)
{
    const char *text = model_get(m, n->key);
    char *end;

    errno = 0;
    unsigned long long value = text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    if (!text || *text < '0' || *text > '9' || *end || errno || (n->u32 && value > UINT32_MAX))
        return status_errorf(ST_DATA_LOSS, "metadata %s is %.40s, must be a whole number", n->key,
                             text ? text : "absent");
    if (n->u32)
        *n->u32 = (uint32_t)value;
    else
        *n->u64 = value;
    return status_ok();
}

/* ---- to a model file ---- */

static void real_set(struct model *m, const char *key, double value)
{
    char text[64];

    snprintf(text, sizeof text, "%.6f", value);
    model_set(m, key, text);
}

static void labels_set(struct model *m, const struct classifier *c)
{
    struct buf text = BUF_INIT(NN_MAX_CLASSES * (CLASSIFIER_LABEL_MAX + 1));

    for (uint32_t i = 0; i < c->shape.classes; i++)
        buf_printf(&text, "%s%s", i ? "," : "", c->labels[i]);
    model_set(m, "labels", text.data);
    buf_fini(&text);
}

static void tensors_add(struct model *m, const struct classifier *c)
{
    struct nn_tensor tensors[NN_MAX_TENSORS];
    size_t n = nn_tensors(&c->shape, tensors);

    model_reserve(m, c->n_params);
    for (size_t i = 0; i < n; i++) {
        const uint64_t dims[2] = {tensors[i].dims[0], tensors[i].dims[1]};
        model_add(m, tensors[i].name, dims, dims[1] == 1 ? 1 : 2, c->params + tensors[i].offset);
    }
}

struct model *classifier_to_model(const struct classifier *c)
{
    struct model *m = model_new();
    struct classifier origin = *c; /* numbers_of() wants them writable */
    struct number numbers[N_NUMBERS];

    model_set(m, "format", CLASSIFIER_FORMAT);
    model_set(m, "task", c->task);
    model_set(m, "architecture", nn_family_name(c->shape.family));
    model_set(m, "loss", nn_loss_name(c->loss));
    model_set(m, "vocabulary", TEXT_RULE);
    labels_set(m, c);
    numbers_of(numbers, &origin.shape, &origin);
    for (size_t i = 0; i < N_NUMBERS; i++)
        number_set(m, &numbers[i]);
    model_set(m, "run", c->run);
    model_set(m, "source", c->source);
    model_set(m, "created", c->created);
    if (c->eval_rows) {
        real_set(m, "eval_accuracy", c->eval_accuracy);
        real_set(m, "eval_loss", c->eval_loss);
    }
    tensors_add(m, c);
    return m;
}

/* ---- from a model file ---- */

static struct status word_check(const struct model *m, const char *key, const char *expected)
{
    const char *value = model_get(m, key);

    if (!value || strcmp(value, expected) != 0)
        return status_errorf(ST_DATA_LOSS, "metadata %s is %.40s, must be %s", key, value ? value : "absent", expected);
    return status_ok();
}

static struct status text_get(const struct model *m, const char *key, char *out)
{
    const char *value = model_get(m, key);

    if (!value || strlen(value) > CLASSIFIER_TEXT_MAX)
        return status_errorf(ST_DATA_LOSS, "metadata %s is %s", key, value ? "too long" : "absent");
    memcpy(out, value, strlen(value) + 1);
    return status_ok();
}

static struct status real_get(const struct model *m, const char *key, double *out)
{
    const char *value = model_get(m, key);
    char *end;

    *out = value ? strtod(value, &end) : NAN;
    if (!value || end == value || *end || !isfinite(*out))
        return status_errorf(ST_DATA_LOSS, "metadata %s is %.40s, must be a number", key, value ? value : "absent");
    return status_ok();
}

static struct status tensors_get(struct classifier *c, const struct model *m)
{
    struct nn_tensor tensors[NN_MAX_TENSORS];
    size_t n = nn_tensors(&c->shape, tensors);

    if (m->n_tensors != n)
        return status_errorf(ST_DATA_LOSS, "%zu tensors, architecture %s has %zu", m->n_tensors,
                             nn_family_name(c->shape.family), n);
    for (size_t i = 0; i < n; i++) {
        const struct model_tensor *t = model_find(m, tensors[i].name);
        uint32_t n_dims = tensors[i].dims[1] == 1 ? 1 : 2;
        if (!t || t->n_dims != n_dims || t->dims[0] != tensors[i].dims[0] ||
            (n_dims == 2 && t->dims[1] != tensors[i].dims[1]))
            return status_errorf(ST_DATA_LOSS, "tensor %s is %s", tensors[i].name, t ? "of another shape" : "absent");
        memcpy(c->params + tensors[i].offset, t->data, t->n * sizeof *t->data);
    }
    return status_ok();
}

static struct status loss_get(const struct model *m, enum nn_loss_kind *loss)
{
    const char *name = model_get(m, "loss");

    *loss = NN_CROSS_ENTROPY;
    return name ? nn_loss_parse(name, loss) : status_ok();
}

static struct status origin_get(struct classifier *c, const struct model *m)
{
    struct number numbers[N_NUMBERS];
    struct status st = loss_get(m, &c->loss);

    if (!st.code)
        st = text_get(m, "run", c->run);
    if (!st.code)
        st = text_get(m, "source", c->source);
    if (!st.code)
        st = text_get(m, "created", c->created);
    numbers_of(numbers, &c->shape, c);
    for (size_t i = N_SHAPE; i < N_NUMBERS && !st.code; i++)
        st = number_get(m, &numbers[i]);
    if (!st.code && c->eval_rows)
        st = real_get(m, "eval_accuracy", &c->eval_accuracy);
    if (!st.code && c->eval_rows)
        st = real_get(m, "eval_loss", &c->eval_loss);
    return st;
}

static struct status family_get(const struct model *m, enum nn_family *family)
{
    const char *name = model_get(m, "architecture");

    return name ? nn_family_parse(name, family) : status_errorf(ST_DATA_LOSS, "metadata architecture is absent");
}

static struct status shape_get(const struct model *m, struct nn_shape *shape)
{
    struct classifier unused;
    struct number numbers[N_NUMBERS];
    struct status st = word_check(m, "format", CLASSIFIER_FORMAT);

    if (!st.code)
        st = family_get(m, &shape->family);
    if (!st.code)
        st = word_check(m, "vocabulary", TEXT_RULE);
    numbers_of(numbers, shape, &unused);
    for (size_t i = 0; i < N_SHAPE && !st.code; i++)
        st = number_get(m, &numbers[i]);
    return st;
}

struct status classifier_from_model(struct classifier **out, const struct model *m)
{
    struct classifier *c = NULL;
    struct nn_shape shape = {0};
    const char *task = model_get(m, "task"), *labels = model_get(m, "labels");
    struct status st = shape_get(m, &shape);

    if (!st.code)
        st = classifier_new(&c, task ? task : "", labels ? labels : "", &shape);
    if (!st.code)
        st = tensors_get(c, m);
    if (!st.code)
        st = origin_get(c, m);
    if (st.code == ST_INVALID)
        st.code = ST_DATA_LOSS; /* it is the file that is wrong, not the caller */
    if (!st.code) {
        *out = c;
        c = NULL;
    }
    classifier_free(c);
    return st;
}

uint32_t classifier_label(const struct classifier *c, const float *probs, double threshold, float *prob)
{
    uint32_t best = 0;

    if (c->shape.classes == 2) {
        *prob = probs[1];
        return (double)probs[1] >= threshold;
    }
    for (uint32_t i = 1; i < c->shape.classes; i++)
        if (probs[i] > probs[best])
            best = i;
    *prob = probs[best];
    return best;
}
