/* search.c - see search.h. Both sides cut a text into the same runs: of one script that is written without spaces, or of
 * the letters and digits of a word. Lexemes hold nothing else, so that their quotes need no escapes. */
#include "search.h"

#include <stdlib.h>
#include <utf8proc.h>

#define MAX_POSITION 16383
#define PART_GAP     8 /* positions between parts */

/* Consecutive code points that belong together. */
struct run {
    const utf8proc_uint8_t *at; /* size bytes */
    size_t size, n;             /* n code points */
    bool dense;                 /* written without spaces */
};

/* What a cut text is given to, run by run. False: enough. */
typedef bool run_taker(void *ctx, const struct run *run);

/* ---- from a text to runs ---- */

static bool is_dense(utf8proc_int32_t c)
{
    return (c >= 0x3040 && c <= 0x30FF)      /* Hiragana, Katakana */
           || (c >= 0x3105 && c <= 0x318E)   /* Bopomofo, Hangul letters */
           || (c >= 0x31A0 && c <= 0x31FF)   /* their extensions */
           || (c >= 0x3400 && c <= 0x9FFF)   /* Han */
           || (c >= 0xAC00 && c <= 0xD7A3)   /* Hangul syllables */
           || (c >= 0xF900 && c <= 0xFAFF)   /* Han, compatibility */
           || (c >= 0x20000 && c <= 0x3FFFF) /* Han, further planes */
           || c == 0x3005 || c == 0x3007;    /* 々 〇 */
}

static bool is_word(utf8proc_int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);

    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO) || is_dense(c);
}

/* The run that begins at the first word character from `at` on; n 0: there is none before the end. */
static struct run next_run(const utf8proc_uint8_t *at, const utf8proc_uint8_t *end)
{
    struct run run = {at, 0, 0, false};
    utf8proc_int32_t c;

    while (at < end) {
        utf8proc_ssize_t size = utf8proc_iterate(at, end - at, &c);
        bool word = size > 0 && is_word(c);
        size = size > 0 ? size : 1;
        if (run.n && (!word || is_dense(c) != run.dense))
            break;
        at += size;
        if (!word) {
            run.at = at;
            continue;
        }
        run.dense = is_dense(c);
        run.n++;
        run.size += (size_t)size;
    }
    return run;
}

/* Normalises and cuts. */
static struct status runs_each(const char *text, size_t size, run_taker *take, void *ctx)
{
    utf8proc_uint8_t *folded;
    utf8proc_ssize_t n =
        utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, &folded,
                     UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE);

    if (n < 0)
        return status_errorf(ST_INVALID, "the text is not valid UTF-8");
    const utf8proc_uint8_t *end = folded + n;
    for (struct run run = next_run(folded, end); run.n && take(ctx, &run); run = next_run(run.at + run.size, end))
        ;
    free(folded);
    return status_ok();
}

/* The bytes of the first n code points. */
static size_t prefix_size(const struct run *run, size_t n)
{
    size_t size = 0;

    for (utf8proc_int32_t c; n && size < run->size; n--)
        size += (size_t)utf8proc_iterate(run->at + size, (utf8proc_ssize_t)(run->size - size), &c);
    return size;
}

/* What is left of a run without its first code point. */
static struct run tail(const struct run *run)
{
    size_t first = prefix_size(run, 1);

    return (struct run){run->at + first, run->size - first, run->n - 1, run->dense};
}

/* ---- documents ---- */

struct document {
    struct buf *out;
    uint32_t position; /* of the next word */
    char weight;
};

static void lexeme_add(struct document *d, const utf8proc_uint8_t *at, size_t size)
{
    uint32_t position = d->position < MAX_POSITION ? d->position : MAX_POSITION;

    buf_printf(d->out, "'%.*s':%u%c ", (int)size, (const char *)at, position, d->weight);
}

static bool document_take(void *ctx, const struct run *run)
{
    struct document *d = ctx;

    if (!run->dense) {
        lexeme_add(d, run->at, prefix_size(run, SEARCH_MAX_WORD));
        d->position++;
    }
    for (struct run rest = *run; run->dense && rest.n; rest = tail(&rest)) {
        lexeme_add(d, rest.at, prefix_size(&rest, 1));
        if (rest.n > 1)
            lexeme_add(d, rest.at, prefix_size(&rest, 2));
        d->position++;
    }
    return !d->out->full;
}

/* At most SEARCH_MAX_INDEXED bytes, and no part of a character. */
static size_t indexed_size(const struct search_part *part)
{
    size_t size = part->size < SEARCH_MAX_INDEXED ? part->size : SEARCH_MAX_INDEXED;

    while (size && size < part->size && ((unsigned char)part->text[size] & 0xC0) == 0x80)
        size--;
    return size;
}

struct status search_document(struct buf *out, const struct search_part *parts, size_t n)
{
    struct document d = {out, 1, 'D'};
    struct status st = status_ok();

    for (size_t i = 0; i < n && !st.code; i++) {
        d.weight = parts[i].weight;
        st = runs_each(parts[i].text, indexed_size(&parts[i]), document_take, &d);
        d.position += PART_GAP;
    }
    if (!st.code && out->full)
        return status_errorf(ST_EXHAUSTED, "the text is too large for the search");
    return st;
}

/* ---- queries ---- */

struct query {
    struct buf *out;
    unsigned n_terms;
};

/* Pairs in a row, or the one character. */
static void dense_add(struct buf *out, const struct run *run)
{
    const char *between = "(";

    if (run->n == 1) {
        buf_printf(out, "'%.*s'", (int)run->size, (const char *)run->at);
        return;
    }
    for (struct run rest = *run; rest.n > 1; rest = tail(&rest)) {
        buf_printf(out, "%s'%.*s'", between, (int)prefix_size(&rest, 2), (const char *)rest.at);
        between = " <-> ";
    }
    buf_putc(out, ')');
}

static bool query_take(void *ctx, const struct run *run)
{
    struct query *q = ctx;

    if (q->n_terms)
        buf_puts(q->out, " & ");
    if (run->dense)
        dense_add(q->out, run);
    else
        buf_printf(q->out, "'%.*s':*", (int)prefix_size(run, SEARCH_MAX_WORD), (const char *)run->at);
    return ++q->n_terms < SEARCH_MAX_TERMS && !q->out->full;
}

struct status search_query(struct buf *out, const char *text, size_t size)
{
    struct query q = {out, 0};
    struct status st = runs_each(text, size, query_take, &q);

    if (!st.code && out->full)
        return status_errorf(ST_EXHAUSTED, "the words to search for are too many");
    return st;
}
