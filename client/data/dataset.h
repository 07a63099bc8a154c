/* dataset.h - labelled texts as they come from files: read, checked and normalised, in the order of the source.
 *
 * Limits: DATASET_MAX_FILE bytes a file, TEXT_MAX_BYTES a text, DATASET_MAX_ROWS rows. A text that is not UTF-8, holds
 * a NUL or is too long is left out and counted; a row that is not of the format is ST_INVALID, named by file and line.
 * Not thread-safe. */
#ifndef CLIENT_DATA_DATASET_H
#define CLIENT_DATA_DATASET_H

#include "base/base.h"
#include "text/text.h"

#include <stddef.h>
#include <stdint.h>

#define DATASET_MAX_FILE ((size_t)256 << 20)
#define DATASET_MAX_ROWS 1000000
#define DATASET_N_LABELS 2

struct dataset_row {
    size_t offset; /* of the normalised text in the dataset's block; a NUL follows it */
    uint32_t size;
    uint32_t label; /* below DATASET_N_LABELS */
};

struct dataset {
    struct vec rows;  /* of struct dataset_row */
    struct buf texts; /* the block */
    size_t n_skipped; /* texts left out */
    char *scratch;    /* TEXT_MAX_BYTES + 1 */
};

void dataset_init(struct dataset *d);
void dataset_fini(struct dataset *d);

static inline const struct dataset_row *dataset_at(const struct dataset *d, size_t i)
{
    return VEC_AT(&d->rows, const struct dataset_row, i);
}

/* Adds one text, or counts it as left out. ST_EXHAUSTED over DATASET_MAX_ROWS. */
struct status dataset_add(struct dataset *d, const char *text, size_t size, uint32_t label);

/* The three formats, from memory; name is for messages.
 * tsv: TEXT, a tab, and one of the two label names; the last tab of a line counts. Empty lines are passed over.
 * csv: a header with the columns TEXT and label, label being 0 or 1.
 * lines: one text a line, all of the same label. */
struct status dataset_parse_tsv(struct dataset *d, const char *name, const char *data, size_t size,
                                const char *const labels[DATASET_N_LABELS]);
struct status dataset_parse_csv(struct dataset *d, const char *name, const char *data, size_t size);
struct status dataset_parse_lines(struct dataset *d, const char *name, const char *data, size_t size, uint32_t label);

#endif
