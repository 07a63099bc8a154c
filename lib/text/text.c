/* text.c - the rules of text.h: one pass that checks and folds UTF-8, two table steps to an id, and a bitmap for the set
 * of n-grams, which gives them unique and sorted without comparing any. */
#include "text/text.h"

#include "gb2312.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define N_ASCII      128
#define FIRST_HASHED (TEXT_N_IDS - 256)
#define WINDOW       (1u << 16) /* buckets in one pass over the n-grams: 8 KiB of bitmap */
#define SHORT_TEXT   512        /* bytes of a text whose code points go on the stack */

static inline bool follows(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* The code point at s; returns its bytes, or 0 where s is not UTF-8 (RFC 3629, section 4). Three bytes, which is what
 * nearly all Chinese takes, are looked at first. */
static inline size_t utf8_next(const unsigned char *s, size_t left, uint32_t *point)
{
    if (s[0] < 0x80) {
        *point = s[0];
        return 1;
    }
    if ((s[0] & 0xf0) == 0xe0 && left >= 3 && follows(s[1]) && follows(s[2])) {
        *point = (s[0] & 0x0fu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
        return *point < 0x800 || (*point >= 0xd800 && *point <= 0xdfff) ? 0 : 3;
    }
    if ((s[0] & 0xe0) == 0xc0 && left >= 2 && follows(s[1])) {
        *point = (s[0] & 0x1fu) << 6 | (s[1] & 0x3fu);
        return *point < 0x80 ? 0 : 2;
    }
    if ((s[0] & 0xf8) == 0xf0 && left >= 4 && follows(s[1]) && follows(s[2]) && follows(s[3])) {
        *point = (s[0] & 0x07u) << 18 | (s[1] & 0x3fu) << 12 | (s[2] & 0x3fu) << 6 | (s[3] & 0x3fu);
        return *point < 0x10000 || *point > 0x10ffff ? 0 : 4;
    }
    return 0;
}

static bool is_blank(uint32_t p)
{
    return p == ' ' || (p >= '\t' && p <= '\r') || p == 0xa0 || p == 0x3000 || p == 0xfeff || p == 0x200b;
}

static uint32_t fold(uint32_t p)
{
    if (p >= 0xff01 && p <= 0xff5e)
        p -= 0xfee0;
    return p >= 'A' && p <= 'Z' ? p + ('a' - 'A') : p;
}

static struct status too_long(size_t size)
{
    return status_errorf(ST_INVALID, "text of %zu bytes: at most %d are read", size, TEXT_MAX_BYTES);
}

/* The rules of normalisation, once: into bytes, or where out is NULL into code points, with their places where these are
 * asked for. Inlined into its callers, so that each loses the others' parts. */
static inline __attribute__((always_inline)) struct status clean(const char *text, size_t size, char *out,
                                                                 uint32_t *points, uint32_t *places, size_t *n_out)
{
    const unsigned char *s = (const unsigned char *)text;
    bool blank = false;
    size_t n = 0, len;
    uint32_t p = 0, place = 0, blank_place = 0;

    for (size_t i = 0; i < size; i += len, place++) {
        len = utf8_next(s + i, size - i, &p);
        if (!len || !p)
            return status_errorf(ST_INVALID, "text: %s at byte %zu", len ? "a NUL" : "not UTF-8", i);
        if (is_blank(p)) {
            blank_place = blank ? blank_place : place;
            blank = n > 0;
            continue;
        }
        if (blank && places)
            places[n] = blank_place;
        if (blank && out)
            out[n++] = ' ';
        else if (blank)
            points[n++] = ' ';
        blank = false;
        if (places)
            places[n] = place;
        p = fold(p);
        if (!out) {
            points[n++] = p;
        } else if (p < N_ASCII) {
            out[n++] = (char)p;
        } else {
            memcpy(out + n, s + i, len);
            n += len;
        }
    }
    *n_out = n;
    return status_ok();
}

struct status text_normalise(const char *text, size_t size, char *out, size_t *out_size)
{
    if (size > TEXT_MAX_BYTES)
        return too_long(size);
    struct status st = clean(text, size, out, NULL, NULL, out_size);
    if (!st.code)
        out[*out_size] = '\0';
    return st;
}

size_t text_decode(const char *text, size_t size, uint32_t *points)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t n = 0, len;

    for (size_t i = 0; i < size; i += len) {
        len = utf8_next(s + i, size - i, &points[n++]);
        assert(len > 0);
    }
    return n;
}

size_t text_clip(uint32_t *points, size_t n, size_t limit)
{
    size_t head = limit * 3 / 4, tail = limit - head;

    if (n <= limit)
        return n;
    memmove(points + head, points + n - tail, tail * sizeof *points);
    return limit;
}

uint16_t text_id(uint32_t point)
{
    uint32_t rank = point < 0x10000 ? gb2312_rank[gb2312_page[point >> 8]][point & 0xff] : 0;

    if (point < N_ASCII)
        return (uint16_t)(1 + point);
    if (rank)
        return (uint16_t)(N_ASCII + rank);
    return (uint16_t)(FIRST_HASHED + (point * 0x9E3779B1u >> 24));
}

/* h(a, b) of the header before its last step. */
static inline uint32_t hash_pair(uint32_t a, uint32_t b)
{
    uint32_t h = a * 0x9E3779B1u ^ (b * 0x85EBCA6Bu + 0x27D4EB2Fu);

    h ^= h >> 15;
    h *= 0x2C1B3C6Du;
    return h ^ h >> 12;
}

/* The buckets of the n-grams that begin at point i; returns how many. m is 2^64 / d rounded up, which makes h mod d two
 * multiplications, exact for 32 bits (Lemire, Kaser and Kurz 2019). */
static inline size_t buckets_at(const uint32_t *points, size_t n, size_t i, uint64_t m, uint32_t d, uint32_t *buckets)
{
    size_t k = n - i < 3 ? n - i : 3;

    buckets[0] = hash_pair(points[i], 0);
    if (k > 1)
        buckets[1] = hash_pair(points[i], points[i + 1]);
    if (k > 2)
        buckets[2] = hash_pair(points[i] * 65599u + points[i + 1], points[i + 2] + 0x10000u);
    for (size_t j = 0; j < k; j++)
        buckets[j] = 1 + (uint32_t)((unsigned __int128)(m * buckets[j]) * d >> 64);
    return k;
}

/* A bit for each bucket of the window, and a bit for each word of those that is not zero. */
struct set {
    uint64_t bits[WINDOW / 64];
    uint64_t words[WINDOW / 64 / 64];
};

static inline void mark(struct set *set, uint32_t i)
{
    if (i < WINDOW) {
        set->bits[i / 64] |= UINT64_C(1) << (i % 64);
        set->words[i / 64 / 64] |= UINT64_C(1) << (i / 64 % 64);
    }
}

static size_t collect(const struct set *set, uint32_t first, uint32_t *ids)
{
    size_t n = 0;

    for (uint32_t k = 0; k < COUNT_OF(set->words); k++)
        for (uint64_t words = set->words[k]; words; words &= words - 1) {
            uint32_t word = k * 64 + (uint32_t)__builtin_ctzll(words);
            for (uint64_t bits = set->bits[word]; bits; bits &= bits - 1)
                ids[n++] = first + word * 64 + (uint32_t)__builtin_ctzll(bits);
        }
    return n;
}

size_t text_ngrams(const uint32_t *points, size_t n, uint32_t n_buckets, uint32_t *ids)
{
    const uint32_t d = n_buckets - 1;
    const uint64_t m = UINT64_MAX / d + 1; /* d = 1: wraps to 0, and every h mod 1 is 0 */
    struct set set;
    size_t n_ids = 0;

    for (uint64_t first = 0; first < n_buckets; first += WINDOW) {
        memset(&set, 0, sizeof set);
        for (size_t i = 0; i < n; i++) {
            uint32_t buckets[3];
            size_t k = buckets_at(points, n, i, m, d, buckets);
            for (size_t j = 0; j < k; j++)
                mark(&set, buckets[j] - (uint32_t)first); /* wraps below the window */
        }
        n_ids += collect(&set, (uint32_t)first, ids + n_ids);
    }
    return n_ids;
}

static struct status tokens_of(struct text_tokens *out, struct arena *arena, const uint32_t *points, size_t n,
                               uint32_t n_buckets)
{
    out->ids = arena_alloc(arena, n * sizeof *out->ids);
    out->ngrams = arena_alloc(arena, 3 * n * sizeof *out->ngrams);
    if (!out->ids || !out->ngrams)
        return status_errorf(ST_EXHAUSTED, "no room for the tokens of a text of %zu characters", n);
    for (size_t i = 0; i < n; i++)
        out->ids[i] = text_id(points[i]);
    out->n_ids = (uint32_t)n;
    out->n_ngrams = (uint32_t)text_ngrams(points, n, n_buckets, out->ngrams);
    return status_ok();
}

struct status text_tokenise(struct text_tokens *out, struct arena *arena, const char *text, size_t size, uint32_t limit,
                            uint32_t n_buckets)
{
    uint32_t few[SHORT_TEXT + 1], *points = few; /* scratch, so that the arena keeps only the tokens */
    size_t n = 0;

    if (size > TEXT_MAX_BYTES)
        return too_long(size);
    if (size > SHORT_TEXT)
        points = xmalloc((size + 1) * sizeof *points);
    struct status st = clean(text, size, NULL, points, NULL, &n);
    n = text_clip(points, n, limit);
    if (!n)
        points[n++] = ' ';
    if (!st.code)
        st = tokens_of(out, arena, points, n, n_buckets);
    if (points != few)
        free(points);
    return st;
}

struct status text_places(const char *text, size_t size, uint32_t *points, uint32_t *places, size_t *n)
{
    return size > TEXT_MAX_BYTES ? too_long(size) : clean(text, size, NULL, points, places, n);
}

uint32_t text_ngram(const uint32_t *points, size_t k, uint32_t n_buckets)
{
    const uint32_t d = n_buckets - 1;
    uint32_t buckets[3] = {0};

    buckets_at(points, k, 0, UINT64_MAX / d + 1, d, buckets);
    return buckets[k - 1];
}

size_t text_encode(uint32_t point, char *out)
{
    size_t n = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};

    out[n] = '\0';
    for (size_t i = n - 1; i > 0; i--, point >>= 6)
        out[i] = (char)(0x80 | (point & 0x3f));
    out[0] = (char)(first[n] | point);
    return n;
}
