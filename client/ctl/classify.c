/* classify.c - bloginferctl classify: labels texts, from the command line or, line by line, from standard input. */
#include "bloginfer/v1/classify.pb-c.h"
#include "ctl.h"
#include "pbjson/pbjson.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 256 /* texts of a call: ClassifyRequest.texts */

struct settings {
    char *task;
};

static struct settings settings;

static const struct config_option options[] = {
    {"task", CONFIG_STR, offsetof(struct settings, task), "sentiment", "sentiment or troll"},
};

/* A line of JSON a text, so that a long input can be piped on. */
static void print_json(const Bloginfer__V1__ClassifyResponse *rep, char **texts)
{
    for (size_t i = 0; i < rep->n_results; i++) {
        json_t *object = pbjson_encode(&rep->results[i]->base);

        json_object_set_new(object, "text", json_string(texts[i]));
        json_object_set_new(object, "task", json_string(rep->task));
        json_object_set_new(object, "version", json_integer((json_int_t)rep->version));
        json_dumpf(object, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(object);
    }
}

static void print_table(const Bloginfer__V1__ClassifyResponse *rep, char **texts, bool first)
{
    struct table *t = table_new("LABEL", ">PROB", ">VERSION", "TEXT", NULL);

    if (!first)
        table_hide_headers(t);
    for (size_t i = 0; i < rep->n_results; i++) {
        table_cell(t, "%s", rep->results[i]->label);
        table_cell(t, "%.4f", rep->results[i]->prob);
        table_cell(t, "%" PRIu64, rep->version);
        table_cell(t, "%s", texts[i]);
    }
    table_print(t, stdout, terminal_width(stdout));
}

static struct status classify_batch(struct ctl *ctl, char **texts, size_t n, bool first)
{
    Bloginfer__V1__ClassifyRequest req = BLOGINFER__V1__CLASSIFY_REQUEST__INIT;
    const Bloginfer__V1__ClassifyResponse *rep;

    req.task = settings.task;
    req.texts = texts;
    req.n_texts = n;
    arena_reset(&ctl->arena);
    struct status st = ctl_call(ctl, CTL_INFERENCE, &bloginfer__v1__classify_service__descriptor, "Classify", &req,
                                (const void **)&rep);
    if (!st.code && rep->n_results != n)
        st = status_errorf(ST_INTERNAL, "%zu answers for %zu texts", rep->n_results, n);
    if (st.code)
        return st;
    if (ctl->settings.json)
        print_json(rep, texts);
    else
        print_table(rep, texts, first);
    return st;
}

/* Blank lines are skipped: they are no texts. */
static struct status classify_lines(struct ctl *ctl, FILE *in)
{
    char *lines[BATCH], *line = NULL;
    size_t n = 0, cap = 0;
    bool first = true, more = true;
    struct status st = status_ok();

    while (!st.code && more) {
        more = getline(&line, &cap, in) >= 0;
        if (more) {
            line[strcspn(line, "\r\n")] = '\0';
            if (*line)
                lines[n++] = xstrdup(line);
        }
        if (n && (n == BATCH || !more)) {
            st = classify_batch(ctl, lines, n, first);
            first = false;
            while (n)
                free(lines[--n]);
        }
    }
    free(line);
    return st;
}

static int classify(struct ctl *ctl, int n_words, char **words)
{
    struct status st = status_ok();

    if (n_words == 1 && !strcmp(words[0], "-"))
        st = classify_lines(ctl, stdin);
    else
        for (int i = 0; i < n_words && !st.code; i += BATCH)
            st = classify_batch(ctl, words + i, (size_t)(n_words - i < BATCH ? n_words - i : BATCH), i == 0);
    return st.code ? ctl_fail(st) : CTL_OK;
}

const struct ctl_command ctl_classify = {
    .name = "classify",
    .words = "TEXT... | -",
    .summary = "labels texts; - reads a text a line from standard input",
    .details = "PROB is the probability of the second label (positive, troll). With --json: a line of JSON a text.",
    .min_words = 1,
    .max_words = 100000,
    .run = classify,
    .options = options,
    .n_options = COUNT_OF(options),
    .settings = &settings,
};
