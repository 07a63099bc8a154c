/* family.c - the families and the sizes each may have. */
#include "nn/encoder.h"
#include "text/text.h"

#include <assert.h>
#include <string.h>

static const struct family families[NN_N_FAMILIES] = {
    {.name = "lstm",
     .preset = {.family = NN_LSTM,
                .vocab = TEXT_N_IDS,
                .embed = 64,
                .hidden = 64,
                .buckets = 1u << 17,
                .classes = 2,
                .max_tokens = 200},
     .characters = NEEDED,
     .units = NEEDED,
     .buckets = OPTIONAL,
     .encoder = &encoder_lstm,
     .ngrams_in_head = true},
    {.name = "lstm-plain",
     .preset =
         {.family = NN_LSTM_PLAIN, .vocab = TEXT_N_IDS, .embed = 128, .hidden = 128, .classes = 2, .max_tokens = 200},
     .characters = NEEDED,
     .units = NEEDED,
     .buckets = OPTIONAL,
     .encoder = &encoder_lstm_plain,
     .ngrams_in_head = true},
    {.name = "textcnn",
     .preset = {.family = NN_TEXTCNN,
                .vocab = TEXT_N_IDS,
                .embed = 64,
                .hidden = 100,
                .buckets = 1u << 17,
                .classes = 2,
                .max_tokens = 200},
     .characters = NEEDED,
     .units = NEEDED,
     .buckets = OPTIONAL,
     .encoder = &encoder_textcnn,
     .ngrams_in_head = true},
    {.name = "linear",
     .preset = {.family = NN_LINEAR, .buckets = 1u << 18, .classes = 2, .max_tokens = 400},
     .buckets = NEEDED,
     .ngrams_in_head = true},
    {.name = "bag",
     .preset = {.family = NN_BAG, .embed = 16, .buckets = 1u << 16, .classes = 2, .max_tokens = 400},
     .buckets = NEEDED,
     .encoder = &encoder_bag},
};

static bool family_known(enum nn_family family)
{
    return family >= NN_LSTM && family < NN_LSTM + NN_N_FAMILIES;
}

const struct family *family_of(const struct nn_shape *s)
{
    assert(family_known(s->family));
    return &families[s->family - NN_LSTM];
}

const char *nn_family_name(enum nn_family family)
{
    return family_known(family) ? families[family - NN_LSTM].name : "unknown";
}

struct status nn_family_parse(const char *name, enum nn_family *family)
{
    for (size_t i = 0; i < NN_N_FAMILIES; i++)
        if (!strcmp(families[i].name, name)) {
            *family = (enum nn_family)(NN_LSTM + i);
            return status_ok();
        }
    return status_errorf(ST_INVALID, "architecture \"%.32s\": must be lstm, lstm-plain, textcnn, linear or bag", name);
}

const struct nn_shape *nn_shape_preset(enum nn_family family)
{
    assert(family_known(family));
    return &families[family - NN_LSTM].preset;
}

struct member {
    const char *name;
    uint32_t value, min, max;
    enum need need;
};

static struct status check_member(const char *family, const struct member *m)
{
    if (m->need == UNUSED && m->value != 0)
        return status_errorf(ST_INVALID, "model shape: %s is %u, must be 0 for %s", m->name, m->value, family);
    if (m->need == UNUSED || (m->need == OPTIONAL && m->value == 0))
        return status_ok();
    if (m->value < m->min || m->value > m->max)
        return status_errorf(ST_INVALID, "model shape: %s is %u, must be %s%u to %u for %s", m->name, m->value,
                             m->need == OPTIONAL ? "0 or " : "", m->min, m->max, family);
    return status_ok();
}

struct status nn_shape_check(const struct nn_shape *s)
{
    if (!family_known(s->family))
        return status_errorf(ST_INVALID, "model shape: family %d is unknown", (int)s->family);
    const struct family *f = family_of(s);
    const struct member members[] = {
        {"vocab", s->vocab, 2, NN_MAX_VOCAB, f->characters},
        {"embed", s->embed, 1, NN_MAX_UNITS, f->encoder ? NEEDED : UNUSED},
        {"hidden", s->hidden, 1, NN_MAX_UNITS, f->units},
        {"buckets", s->buckets, 2, NN_MAX_BUCKETS, f->buckets},
        {"classes", s->classes, 2, NN_MAX_CLASSES, NEEDED},
        {"max_tokens", s->max_tokens, 1, NN_MAX_TOKENS, NEEDED},
    };
    struct status st = status_ok();

    for (size_t i = 0; i < COUNT_OF(members) && !st.code; i++)
        st = check_member(f->name, &members[i]);
    return st;
}
