/* search.h - full-text search for Chinese and everything else with PostgreSQL's own types and no extension of it: this
 * makes the text of a tsvector and of a tsquery (https://www.postgresql.org/docs/15/datatype-textsearch.html), to be bound
 * as values.
 *
 * Texts are compared after NFKC and case folding (https://unicode.org/reports/tr15/): ＡＢＣ is abc. Scripts that put no
 * spaces between words (Han, Kana, Hangul) are cut into single characters and overlapping pairs; 杭州西湖 is found by 杭州, 西湖,
 * 州西湖 and 湖, not by 湖杭. Other words are found by their beginning. Marks and signs between words do not count.
 * All functions are pure and thread-safe. */
#ifndef BLOG_SEARCH_H
#define BLOG_SEARCH_H

#include "base/base.h"

#include <stddef.h>

#define SEARCH_MAX_INDEXED                                                                                             \
    ((size_t)96 << 10)      /* bytes of a part; what comes after is not found. A tsvector has at most 1 MiB */
#define SEARCH_MAX_WORD  64 /* code points of a word; the rest of a longer one does not count */
#define SEARCH_MAX_TERMS 16 /* of a query; further ones do not count */

/* A title, the tags, the body; the words of one part never make a phrase with those of the next. */
struct search_part {
    const char *text;
    size_t size;
    char weight; /* 'A' to 'D', as ts_rank() takes them */
};

/* Adds the text of a tsvector, "" for no words. Order counts for the first 16,383 words of all parts, PostgreSQL's limit.
 * ST_INVALID: not UTF-8; ST_EXHAUSTED: over out's limit; 12 bytes for each of the text are enough. */
struct status search_document(struct buf *out, const struct search_part *parts, size_t n);

/* Adds the text of a tsquery that asks for all that the reader typed; "" when there is no word in it. Errors as above. */
struct status search_query(struct buf *out, const char *text, size_t size);

#endif
