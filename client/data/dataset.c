/* dataset.c - the file formats of the data folder. */
#include "dataset.h"

#include "csv.h"

#include <stdlib.h>
#include <string.h>

void dataset_init(struct dataset *d)
{
    *d = (struct dataset){.rows = VEC_INIT(sizeof(struct dataset_row), DATASET_MAX_ROWS),
                          .texts = BUF_INIT(4 * DATASET_MAX_FILE)};
    d->scratch = xmalloc(TEXT_MAX_BYTES + 1);
}

void dataset_fini(struct dataset *d)
{
    vec_fini(&d->rows);
    buf_fini(&d->texts);
    free(d->scratch);
    d->scratch = NULL;
}

struct status dataset_add(struct dataset *d, const char *text, size_t size, uint32_t label)
{
    struct dataset_row *row;
    size_t offset = d->texts.size, n;

    if (text_normalise(text, size, d->scratch, &n).code) {
        d->n_skipped++;
        return status_ok();
    }
    row = buf_add(&d->texts, d->scratch, n + 1) ? vec_push(&d->rows) : NULL;
    if (!row)
        return status_errorf(ST_EXHAUSTED, "over %d rows or %zu MiB of text", DATASET_MAX_ROWS, d->texts.limit >> 20);
    *row = (struct dataset_row){offset, (uint32_t)n, label};
    return status_ok();
}

/* One line of data, without its line end. */
struct line {
    const char *text;
    size_t size;
    size_t number; /* from 1 */
    size_t next;   /* where the following one begins */
};

/* Steps to the next line; false at the end. Starts from a zeroed one. */
static bool line_next(struct line *l, const char *data, size_t size)
{
    const char *end;

    if (l->next >= size)
        return false;
    l->text = data + l->next;
    end = memchr(l->text, '\n', size - l->next);
    l->size = end ? (size_t)(end - l->text) : size - l->next;
    l->next += l->size + 1;
    l->number++;
    l->size -= l->size && l->text[l->size - 1] == '\r';
    return true;
}

static bool equals(const char *text, size_t size, const char *word)
{
    return size == strlen(word) && !memcmp(text, word, size);
}

struct status dataset_parse_tsv(struct dataset *d, const char *name, const char *data, size_t size,
                                const char *const labels[DATASET_N_LABELS])
{
    struct line l = {0};
    struct status st = status_ok();

    while (!st.code && line_next(&l, data, size)) {
        const char *tab = memrchr(l.text, '\t', l.size);
        size_t n_text = tab ? (size_t)(tab - l.text) : 0, n_label = tab ? l.size - n_text - 1 : 0;
        uint32_t label = 0;
        if (!l.size)
            continue;
        while (label < DATASET_N_LABELS && !(tab && equals(tab + 1, n_label, labels[label])))
            label++;
        if (label == DATASET_N_LABELS)
            return status_errorf(ST_INVALID, "%s line %zu: not a text, a tab and %s or %s", name, l.number, labels[0],
                                 labels[1]);
        st = dataset_add(d, l.text, n_text, label);
    }
    return status_prefix(st, "%s line %zu", name, l.number);
}

struct status dataset_parse_lines(struct dataset *d, const char *name, const char *data, size_t size, uint32_t label)
{
    struct line l = {0};
    struct status st = status_ok();

    while (!st.code && line_next(&l, data, size))
        st = dataset_add(d, l.text, l.size, label);
    return status_prefix(st, "%s line %zu", name, l.number);
}

static struct status add_record(struct dataset *d, const struct csv *c, size_t n_columns, size_t text, size_t label)
{
    const struct csv_field *l = &c->fields[label], *t = &c->fields[text];

    if (c->n_fields != n_columns)
        return status_errorf(ST_INVALID, "%s line %zu: %zu fields under %zu columns", c->name, c->record_line,
                             c->n_fields, n_columns);
    if (!equals(l->text, l->size, "0") && !equals(l->text, l->size, "1"))
        return status_errorf(ST_INVALID, "%s line %zu: a label other than 0 and 1", c->name, c->record_line);
    return status_prefix(dataset_add(d, t->text, t->size, l->text[0] == '1'), "%s line %zu", c->name, c->record_line);
}

struct status dataset_parse_csv(struct dataset *d, const char *name, const char *data, size_t size)
{
    size_t n_columns, text, label;
    struct csv c;
    struct status st;
    bool more;

    csv_init(&c, name, data, size);
    st = csv_next(&c, &more);
    n_columns = c.n_fields;
    text = csv_find(&c, "TEXT");
    label = csv_find(&c, "label");
    if (!st.code && (text == SIZE_MAX || label == SIZE_MAX))
        st = status_errorf(ST_INVALID, "%s line 1: no columns TEXT and label", name);
    while (!st.code) {
        st = csv_next(&c, &more);
        if (st.code || !more)
            break;
        st = add_record(d, &c, n_columns, text, label);
    }
    csv_fini(&c);
    return st;
}
