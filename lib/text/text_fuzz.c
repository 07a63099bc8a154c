/* text_fuzz.c - any bytes: normalising is idempotent, and tokens stay within the ranges that the models rely on. */
#include "text/text.h"

#include <stdlib.h>
#include <string.h>

static void require(int holds)
{
    if (!holds)
        abort();
}

static void check_tokens(const char *text, size_t size, uint32_t limit, uint32_t n_buckets)
{
    struct arena arena;
    struct text_tokens t;

    arena_init(&arena, 1 << 20);
    require(!text_tokenise(&t, &arena, text, size, limit, n_buckets).code);
    require(t.n_ids >= 1 && t.n_ids <= limit);
    for (uint32_t i = 0; i < t.n_ids; i++)
        require(t.ids[i] != TEXT_PAD && t.ids[i] < TEXT_N_IDS);
    require(t.n_ngrams >= 1 && t.n_ngrams <= 3 * t.n_ids);
    for (uint32_t i = 0; i < t.n_ngrams; i++)
        require(t.ngrams[i] >= 1 && t.ngrams[i] < n_buckets && (!i || t.ngrams[i] > t.ngrams[i - 1]));
    arena_fini(&arena);
}

/* The normalised text again, from places that rise and lie in the text. */
static void check_places(const char *text, size_t size, const char *clean)
{
    uint32_t *points = xmalloc((size + 1) * sizeof *points), *places = xmalloc((size + 1) * sizeof *places);
    char encoded[5];
    size_t n, at = 0;

    require(!text_places(text, size, points, places, &n).code && n <= size);
    for (size_t i = 0; i < n; i++) {
        size_t len = text_encode(points[i], encoded);
        require(!strncmp(clean + at, encoded, len) && places[i] < size && (!i || places[i] > places[i - 1]));
        at += len;
    }
    require(!clean[at]);
    free(points);
    free(places);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *clean = xmalloc(size + 1), *again = xmalloc(size + 1);
    size_t n, m;

    if (!text_normalise((const char *)data, size, clean, &n).code) {
        require(n <= size && strlen(clean) == n);
        require(!text_normalise(clean, n, again, &m).code && m == n && !memcmp(clean, again, n));
        check_tokens((const char *)data, size, 200, 1 << 16);
        check_tokens((const char *)data, size, 1, 2);
        check_places((const char *)data, size, clean);
    }
    free(clean);
    free(again);
    return 0;
}
