/* explain.c - bloginferctl explain: what in a text made its label. On a terminal the text is shaded: green speaks for the
 * label that is explained, red against it, the stronger the brighter. */
#include "bloginfer/v1/classify.pb-c.h"
#include "ctl.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct settings {
    char *task, *version;
    int64_t ngrams;
};

static struct settings settings;

#define AT(member) offsetof(struct settings, member)
static const struct config_option options[] = {
    {"task", CONFIG_STR, AT(task), "sentiment", "sentiment or troll"},
    {"model-version", CONFIG_STR, AT(version), "", "a number, production, candidate or built-in; empty: as classify"},
    {"ngrams", CONFIG_INT, AT(ngrams), "10", "n-grams to show, the strongest first", 1, 1000},
};

static float strongest(const Bloginfer__V1__ExplainResponse *rep)
{
    float most = 1e-9f;

    for (size_t i = 0; i < rep->n_characters; i++)
        most = fmaxf(most, fabsf(rep->characters[i]->contribution));
    return most;
}

/* Of the 256 colours of a terminal, by how strong it speaks; 0: none. */
static int colour(float weight)
{
    static const int green[] = {0, 22, 28, 34, 40}, red[] = {0, 52, 88, 124, 160};
    int level = (int)(fabsf(weight) * 4 + 0.5f);

    level = level > 4 ? 4 : level;
    return weight > 0 ? green[level] : red[level];
}

static void print_text(const Bloginfer__V1__ExplainResponse *rep, bool terminal)
{
    float most = strongest(rep);
    size_t head = rep->n_characters * 3 / 4; /* of a text that was clipped: text_clip() */

    for (size_t i = 0; i < rep->n_characters; i++) {
        const Bloginfer__V1__CharacterContribution *c = rep->characters[i];
        int shade = terminal ? colour(c->contribution / most) : 0;
        char *text = text_clean(c->text);

        if (rep->clipped && i == head)
            fputs(" … ", stdout);
        if (shade)
            printf("\033[48;5;%d;97m%s\033[0m", shade, text);
        else
            fputs(text, stdout);
        free(text);
    }
    putchar('\n');
}

static void print_ngrams(const Bloginfer__V1__ExplainResponse *rep)
{
    struct table *t = table_new("N-GRAM", ">CONTRIBUTION", ">TIMES", ">FIRST AT", NULL);

    for (size_t i = 0; i < rep->n_ngrams; i++) {
        const Bloginfer__V1__NgramContribution *g = rep->ngrams[i];

        table_cell(t, "%s", g->text);
        table_cell(t, "%+.4f", (double)g->contribution);
        table_cell(t, "%zu", g->n_positions);
        table_cell(t, "%u", g->n_positions ? g->positions[0] : 0);
    }
    table_print(t, stdout, terminal_width(stdout));
}

static int by_strength(const void *a, const void *b)
{
    const Bloginfer__V1__CharacterContribution *const *x = a, *const *y = b;
    float p = fabsf((*x)->contribution), q = fabsf((*y)->contribution);

    return p < q ? 1 : p > q ? -1 : ((*x)->position > (*y)->position) - ((*x)->position < (*y)->position);
}

/* For a model without n-grams; reorders the answer. */
static void print_characters(const Bloginfer__V1__ExplainResponse *rep)
{
    struct table *t = table_new("CHARACTER", ">CONTRIBUTION", ">AT", NULL);
    size_t n = rep->n_characters < (size_t)settings.ngrams ? rep->n_characters : (size_t)settings.ngrams;

    qsort(rep->characters, rep->n_characters, sizeof(void *), by_strength);
    for (size_t i = 0; i < n; i++) {
        table_cell(t, "%s", rep->characters[i]->text);
        table_cell(t, "%+.4f", (double)rep->characters[i]->contribution);
        table_cell(t, "%u", rep->characters[i]->position);
    }
    table_print(t, stdout, terminal_width(stdout));
}

static void print(const Bloginfer__V1__ExplainResponse *rep)
{
    double text = (double)rep->score - (double)rep->bias - (double)rep->remainder;
    char *label = text_clean(rep->label), *about = text_clean(rep->about);

    if (rep->version)
        printf("%s, %s version %" PRIu64 ": prob %.4f\n\n", label, rep->task, rep->version, (double)rep->prob);
    else
        printf("%s, %s built-in: prob %.4f\n\n", label, rep->task, (double)rep->prob);
    print_text(rep, terminal_width(stdout) > 0);
    printf("\nscore of %s %+.4f = text %+.4f, bias %+.4f, remainder %+.4f\n\n", about, (double)rep->score, text,
           (double)rep->bias, (double)rep->remainder);
    if (rep->n_ngrams)
        print_ngrams(rep);
    else
        print_characters(rep);
    free(label);
    free(about);
}

static int explain(struct ctl *ctl, int n_words, char **words)
{
    Bloginfer__V1__ExplainRequest req = BLOGINFER__V1__EXPLAIN_REQUEST__INIT;
    const Bloginfer__V1__ExplainResponse *rep;

    (void)n_words;
    req.task = settings.task;
    req.version = settings.version;
    req.text = words[0];
    req.max_ngrams = (uint32_t)settings.ngrams;
    struct status st = ctl_call(ctl, CTL_INFERENCE, &bloginfer__v1__classify_service__descriptor, "Explain", &req,
                                (const void **)&rep);
    if (st.code)
        return ctl_fail(st);
    if (ctl->settings.json)
        return ctl_print_json(&rep->base);
    print(rep);
    return CTL_OK;
}

const struct ctl_command ctl_explain = {
    .name = "explain",
    .words = "TEXT",
    .summary = "shows what in a text made its label",
    .details =
        "On a terminal the text is shaded: green speaks for the label (positive, troll), red against it.\n"
        "score is log(prob / (1 - prob)): what the characters add, the bias without any text, and the remainder\n"
        "that the first-order shares of an LSTM or of convolutions leave over.",
    .min_words = 1,
    .max_words = 1,
    .run = explain,
    .options = options,
    .n_options = COUNT_OF(options),
    .settings = &settings,
};
