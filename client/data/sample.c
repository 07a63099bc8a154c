/* sample.c - expands the grammar's patterns with a seeded generator until there are enough distinct texts. */
#include "sample.h"

#include "sample_grammar.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SEED      20240229
#define COIN_PART 20 /* one text in so many has a coin's label */
#define MAX_TEXT  2048
#define N_SLOTS   (1 << 14)

static_assert(N_SLOTS >= 2 * SAMPLE_ROWS, "room to find a free slot");

/* One text in the making. */
struct writer {
    const struct grammar *grammar;
    const struct grammar_topic *topic;
    struct rng rng;
    uint32_t used; /* bit a: the text has spoken of aspect a */
    struct buf text;
};

struct alternative {
    const char *text;
    size_t size;
};

static struct alternative pick(struct rng *rng, const char *alternatives)
{
    const char *s = alternatives, *end;
    uint64_t n = 1;

    for (const char *c = s; *c; c++)
        n += *c == '|';
    for (uint64_t i = rng_below(rng, n); i > 0; i--)
        s = strchr(s, '|') + 1;
    end = strchrnul(s, '|');
    return (struct alternative){s, (size_t)(end - s)};
}

/* An aspect the text has not spoken of. */
static const struct grammar_aspect *pick_aspect(struct writer *w)
{
    const struct grammar_aspect *aspects = w->topic->aspects;
    uint32_t n = 0, a;

    while (n < GRAMMAR_MAX_ASPECTS && aspects[n].clauses[0])
        n++;
    assert((uint32_t)__builtin_popcount(w->used) < n);
    do
        a = (uint32_t)rng_below(&w->rng, n);
    while (w->used >> a & 1);
    w->used |= UINT32_C(1) << a;
    return &aspects[a];
}

static const char *alternatives_of(struct writer *w, char slot)
{
    switch (slot) {
    case '0':
    case '1':
        return pick_aspect(w)->clauses[slot - '0'];
    case '-':
        return w->grammar->closings[0];
    case '+':
        return w->grammar->closings[1];
    case 's':
        return w->topic->scene;
    case 'f':
        return w->topic->fact;
    case 'n':
        return w->grammar->neutral;
    case 'v':
        return w->grammar->fillers[0];
    default:
        assert(slot == 'x');
        return w->grammar->fillers[1];
    }
}

/* Slots nest two deep: a pattern's clause, and its adverb. */
static void expand(struct writer *w, struct alternative a)
{
    for (size_t i = 0; i < a.size; i++) {
        if (a.text[i] != '<') {
            buf_putc(&w->text, a.text[i]);
            continue;
        }
        assert(i + 2 < a.size && a.text[i + 2] == '>');
        expand(w, pick(&w->rng, alternatives_of(w, a.text[i + 1])));
        i += 2;
    }
}

static void write_text(struct writer *w, uint32_t label)
{
    const struct grammar *g = w->grammar;
    const char *patterns = rng_below(&w->rng, COIN_PART) ? g->patterns[label] : g->either;

    w->topic = &g->topics[rng_below(&w->rng, g->n_topics)];
    w->used = 0;
    buf_clear(&w->text);
    expand(w, pick(&w->rng, patterns));
    assert(!w->text.full);
}

/* Whether the text was not written before; n_slots of `seen`, a power of two, are hashes, 0 being free. */
static bool is_new(uint64_t *seen, size_t n_slots, const struct buf *text)
{
    uint8_t digest[SHA1_SIZE];
    uint64_t hash;
    size_t i;

    sha1(text->data, text->size, digest);
    memcpy(&hash, digest, sizeof hash);
    for (i = hash & (n_slots - 1); seen[i]; i = (i + 1) & (n_slots - 1))
        if (seen[i] == hash)
            return false;
    seen[i] = hash;
    return true;
}

static const struct grammar *grammar_of(const char *task)
{
    return !strcmp(task, "sentiment") ? &grammar_sentiment : !strcmp(task, "troll") ? &grammar_troll : NULL;
}

struct status sample_add(struct dataset *d, const char *task)
{
    struct writer w = {.grammar = grammar_of(task), .text = BUF_INIT(MAX_TEXT)};
    struct status st = status_ok();
    uint64_t *seen;

    if (!w.grammar)
        return status_errorf(ST_NOT_FOUND, "no built-in sample for task \"%.64s\"", task);
    seen = xcalloc(N_SLOTS, sizeof *seen);
    rng_init(&w.rng, SEED);
    for (uint32_t row = 0; row < SAMPLE_ROWS && !st.code; row++) {
        do
            write_text(&w, row % 2);
        while (!is_new(seen, N_SLOTS, &w.text));
        st = dataset_add(d, w.text.data, w.text.size, row % 2);
    }
    buf_fini(&w.text);
    free(seen);
    return st;
}
