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

/* The code point at s; returns its bytes, or 0 where s is not UTF-8 (RFC 3629, section 4). */
static size_t utf8_next(const unsigned char *s, size_t left, uint32_t *point)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc0 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf8 ? 4 : 0;
    uint32_t p = len == 1 ? s[0] : s[0] & (0x7f >> len);

    if (!len || len > left)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        p = p << 6 | (s[i] & 0x3f);
    }
    if (p < smallest[len] || p > 0x10ffff || (p >= 0xd800 && p <= 0xdfff))
        return 0;
    *point = p;
    return len;
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

struct status text_normalise(const char *text, size_t size, char *out, size_t *out_size)
{
    const unsigned char *s = (const unsigned char *)text;
    bool blank = false;
    size_t n = 0, len;
    uint32_t p = 0;

    if (size > TEXT_MAX_BYTES)
        return status_errorf(ST_INVALID, "text of %zu bytes: at most %d are read", size, TEXT_MAX_BYTES);
    for (size_t i = 0; i < size; i += len) {
        len = utf8_next(s + i, size - i, &p);
        if (!len || !p)
            return status_errorf(ST_INVALID, "text: %s at byte %zu", len ? "a NUL" : "not UTF-8", i);
        if (is_blank(p)) {
            blank = n > 0;
            continue;
        }
        if (blank)
            out[n++] = ' ';
        blank = false;
        p = fold(p);
        if (p < N_ASCII) {
            out[n++] = (char)p;
        } else {
            memcpy(out + n, s + i, len);
            n += len;
        }
    }
    out[n] = '\0';
    *out_size = n;
    return status_ok();
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

static uint32_t hash_pair(uint32_t a, uint32_t b, uint32_t n_buckets)
{
    uint32_t h = a * 0x9E3779B1u ^ (b * 0x85EBCA6Bu + 0x27D4EB2Fu);

    h ^= h >> 15;
    h *= 0x2C1B3C6Du;
    h ^= h >> 12;
    return 1 + h % (n_buckets - 1);
}

static void mark(uint64_t *set, uint32_t first, uint32_t bucket)
{
    uint32_t i = bucket - first; /* wraps below the window */

    if (i < WINDOW)
        set[i / 64] |= UINT64_C(1) << (i % 64);
}

static size_t collect(const uint64_t *set, uint32_t first, uint32_t *ids)
{
    size_t n = 0;

    for (uint32_t word = 0; word < WINDOW / 64; word++)
        for (uint64_t bits = set[word]; bits; bits &= bits - 1)
            ids[n++] = first + word * 64 + (uint32_t)__builtin_ctzll(bits);
    return n;
}

size_t text_ngrams(const uint32_t *points, size_t n, uint32_t n_buckets, uint32_t *ids)
{
    uint64_t set[WINDOW / 64];
    size_t n_ids = 0;

    for (uint64_t first = 0; first < n_buckets; first += WINDOW) {
        memset(set, 0, sizeof set);
        for (size_t i = 0; i < n; i++) {
            mark(set, (uint32_t)first, hash_pair(points[i], 0, n_buckets));
            if (i + 1 < n)
                mark(set, (uint32_t)first, hash_pair(points[i], points[i + 1], n_buckets));
            if (i + 2 < n)
                mark(set, (uint32_t)first,
                     hash_pair(points[i] * 65599u + points[i + 1], points[i + 2] + 0x10000u, n_buckets));
        }
        n_ids += collect(set, (uint32_t)first, ids + n_ids);
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
    struct status st;
    uint32_t *points;
    char *clean;
    size_t n = 0;

    if (size > TEXT_MAX_BYTES)
        return status_errorf(ST_INVALID, "text of %zu bytes: at most %d are read", size, TEXT_MAX_BYTES);
    points = xmalloc((size + 1) * (sizeof *points + 1)); /* scratch, so that the arena keeps only the tokens */
    clean = (char *)(points + size + 1);
    st = text_normalise(text, size, clean, &n);
    if (st.code)
        goto out;
    n = text_clip(points, text_decode(clean, n, points), limit);
    if (!n)
        points[n++] = ' ';
    st = tokens_of(out, arena, points, n, n_buckets);
out:
    free(points);
    return st;
}
