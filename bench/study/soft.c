/* soft.c - see soft.h. */
#include "soft.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE ((size_t)256 << 20)
#define KEY_SIZE (2 * SHA1_SIZE + 1)

static char *key_of(const struct corpus_row *row, char *key)
{
    uint8_t digest[SHA1_SIZE];

    sha1(row->text, row->size, digest);
    return hex_encode(digest, sizeof digest, key);
}

struct status soft_write(const char *path, const struct corpus_part *part, const float *probs, uint32_t fold,
                         uint32_t n_folds)
{
    struct buf b = BUF_INIT(MAX_FILE);
    char key[KEY_SIZE];

    for (size_t i = 0; i < part->n; i++)
        if (!n_folds || i % n_folds == fold)
            buf_printf(&b, "%s %.6f\n", key_of(&part->rows[i], key), (double)probs[2 * i + 1]);
    struct status st = b.full ? status_errorf(ST_EXHAUSTED, "%s: over %zu bytes", path, MAX_FILE)
                              : fs_write_atomic(path, b.data ? b.data : "", b.size);
    buf_fini(&b);
    return st;
}

struct line {
    char key[KEY_SIZE];
    double p;
};

static int by_key(const void *a, const void *b)
{
    return strcmp(a, b); /* a line begins with its key */
}

static struct status read_lines(const char *path, struct vec *lines)
{
    char *data = NULL, *rest, *text;
    size_t size;
    struct status st = fs_read(path, MAX_FILE, &data, &size);

    rest = data;
    while (!st.code && (text = strsep(&rest, "\n"))) {
        struct line *line = *text ? vec_push(lines) : NULL;
        if (*text && (!line || sscanf(text, "%40s %lf", line->key, &line->p) != 2 || !(line->p >= 0 && line->p <= 1)))
            st = status_errorf(ST_INVALID, "%s: \"%.60s\" is not a digest and a probability", path, text);
    }
    free(data);
    return st;
}

/* The mean over the lines of that key, which lie side by side; negative: none. */
static double mean_of(const struct vec *lines, const char *key)
{
    const struct line *found = lines->n ? bsearch(key, lines->data, lines->n, sizeof *found, by_key) : NULL;
    const struct line *first = lines->data, *end = first + lines->n;
    double sum = 0, n = 0;

    if (!found)
        return -1;
    while (found > first && !strcmp(found[-1].key, key))
        found--;
    for (; found < end && !strcmp(found->key, key); found++, n++)
        sum += found->p;
    return sum / n;
}

static struct status set_targets(const struct vec *lines, double weight, const struct corpus_part *part,
                                 struct nn_example *rows, float *targets)
{
    char key[KEY_SIZE];

    for (size_t i = 0; i < part->n; i++) {
        double p = mean_of(lines, key_of(&part->rows[i], key)), label = part->rows[i].label == 1;
        if (p < 0)
            return status_errorf(ST_NOT_FOUND, "no teacher knows the text %.40s", key);
        targets[2 * i + 1] = (float)(weight * p + (1 - weight) * label);
        targets[2 * i] = 1 - targets[2 * i + 1];
        rows[i].target = targets + 2 * i;
    }
    return status_ok();
}

struct status soft_read(const char *paths, double weight, const struct corpus_part *part, struct nn_example *rows,
                        float **targets)
{
    struct vec lines = VEC_INIT(sizeof(struct line), 100000000);
    char *list = xstrdup(paths), *rest = list, *path;
    struct status st = status_ok();

    while (!st.code && (path = strsep(&rest, ":")))
        st = read_lines(path, &lines);
    *targets = xcalloc(2 * part->n + 1, sizeof **targets);
    if (lines.n)
        qsort(lines.data, lines.n, sizeof(struct line), by_key);
    if (!st.code)
        st = set_targets(&lines, weight, part, rows, *targets);
    vec_fini(&lines);
    free(list);
    return st;
}
