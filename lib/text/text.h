/* text.h - from UTF-8 to what the text models read: normalised code points, character ids, hashed n-gram ids.
 *
 * Everything here is fixed by rule, so that nothing is ever collected from a worker's texts:
 * - normalisation: U+FF01..FF5E to ASCII, A-Z to a-z, U+3000 and U+00A0 to space, runs of white space (also U+FEFF,
 *   U+200B) to one space, none at either end;
 * - ids: 0 is padding, then the 128 ASCII code points, then the 7,445 characters of GB 2312 in its own order (row, then
 *   cell), then 256 ids that every other code point p is hashed into: the highest 8 bits of p * 0x9E3779B1 mod 2^32;
 * - n-grams: unique 1-, 2- and 3-grams of code points, each hashed into 1..n_buckets-1 by h(p, 0), h(p, q) and
 *   h(p * 65599 + q, r + 0x10000), in arithmetic mod 2^32:
 *     h(a, b):  x = a * 0x9E3779B1 ^ (b * 0x85EBCA6B + 0x27D4EB2F);  x ^= x >> 15;  x *= 0x2C1B3C6D;  x ^= x >> 12;
 *               1 + x mod (n_buckets - 1).
 * All functions are pure and thread-safe. */
#ifndef TEXT_TEXT_H
#define TEXT_TEXT_H

#include "base/base.h"

#include <stddef.h>
#include <stdint.h>

#define TEXT_RULE      "ascii+gb2312+hash256" /* goes into a model's metadata; a model with another rule is refused */
#define TEXT_PAD       0
#define TEXT_N_IDS     (1 + 128 + 7445 + 256)
#define TEXT_MAX_BYTES (64 << 10) /* of one text, before normalisation */

/* The checked, normalised text, NUL-terminated. ST_INVALID: not UTF-8 (RFC 3629: no surrogates, no overlong forms),
 * a NUL inside, or over TEXT_MAX_BYTES. An all-blank text gives "". out: size + 1 bytes are enough. */
struct status text_normalise(const char *text, size_t size, char *out, size_t *out_size);

/* Decodes valid UTF-8 (what text_normalise() gave) into code points; points has room for `size` of them. */
size_t text_decode(const char *text, size_t size, uint32_t *points);

/* Keeps the first 3/4 and the last 1/4 of `limit` when there are more; returns the new count. */
size_t text_clip(uint32_t *points, size_t n, size_t limit);

uint16_t text_id(uint32_t point);

/* Unique hashed ids in increasing order; ids has room for 3 * n. n_buckets 0: no n-grams, else at least 2. Returns their
 * count.
 * Time: one pass over the points for every 65,536 buckets. */
size_t text_ngrams(const uint32_t *points, size_t n, uint32_t n_buckets, uint32_t *ids);

/* One text as a model reads it. */
struct text_tokens {
    uint16_t *ids; /* (n_ids,), 1 <= n_ids <= limit; an empty text is one space */
    uint32_t n_ids;
    uint32_t *ngrams; /* (n_ngrams,), increasing */
    uint32_t n_ngrams;
};

/* All of the above in one go; limit at least 1, n_buckets as in text_ngrams(). Both arrays are taken from the arena, at
 * most 14 * limit bytes and what it adds for alignment. ST_INVALID as text_normalise(); ST_EXHAUSTED: the arena is full. */
struct status text_tokenise(struct text_tokens *out, struct arena *arena, const char *text, size_t size, uint32_t limit,
                            uint32_t n_buckets);

/* ---- back from tokens to the text, for whoever explains an answer ---- */

/* The normalised code points, each with its place in the text as it was given, counted in code points from 0; of a run
 * of white space the place is that of the first. Both arrays have room for `size`. ST_INVALID as text_normalise(). */
struct status text_places(const char *text, size_t size, uint32_t *points, uint32_t *places, size_t *n);

/* The hashed id of the n-gram of the first k points, k 1 to 3, as in text_ngrams(). */
uint32_t text_ngram(const uint32_t *points, size_t k, uint32_t n_buckets);

/* The code point in UTF-8 with a NUL; out has room for 5. Returns its bytes. */
size_t text_encode(uint32_t point, char *out);

#endif
