/* ranges.c - the text of a ranges file to numbers and back. */
#include "ranges.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ABS   1e9 /* of any value; a network that goes beyond is broken */
#define MAX_WORDS 8
#define MAX_LINE  400

extern const char ranges_yolov3_tiny[], ranges_yolov3_tiny_end[];
extern const char ranges_yolo_fastest_xl[], ranges_yolo_fastest_xl_end[];

struct line {
    int number;
    char *words[MAX_WORDS];
    size_t n;
    char text[MAX_LINE];
};

struct cursor {
    const char *at, *end;
    int number;
};

/* The next line that says something, cut into words; n = 0 at the end. */
static struct status next_line(struct cursor *c, struct line *l)
{
    for (l->n = 0; l->n == 0 && c->at < c->end;) {
        const char *newline = memchr(c->at, '\n', (size_t)(c->end - c->at)), *stop = newline ? newline : c->end;
        size_t size = (size_t)(stop - c->at);
        l->number = ++c->number;
        if (size >= MAX_LINE || memchr(c->at, 0, size))
            return status_errorf(ST_INVALID, "line %d: longer than %d bytes or not text", l->number, MAX_LINE - 1);
        memcpy(l->text, c->at, size);
        l->text[size] = 0;
        l->text[strcspn(l->text, "#\r")] = 0;
        char *save = NULL;
        for (char *word = strtok_r(l->text, " \t", &save); word; word = strtok_r(NULL, " \t", &save)) {
            if (l->n == MAX_WORDS)
                return status_errorf(ST_INVALID, "line %d: more than %d words", l->number, MAX_WORDS);
            l->words[l->n++] = word;
        }
        c->at = newline ? newline + 1 : c->end;
    }
    return status_ok();
}

static bool scan_count(const char *word, size_t max, size_t *value)
{
    char *end;

    if (*word < '0' || *word > '9')
        return false;
    errno = 0;
    unsigned long v = strtoul(word, &end, 10);
    *value = v;
    return *end == 0 && errno == 0 && v <= max;
}

/* Decimal only: strtod() would also take nan, inf and hexadecimal. */
static bool scan_value(const char *word, float *value)
{
    char *end;
    double v = strtod(word, &end);

    *value = (float)v;
    return *end == 0 && strspn(word, "+-.0123456789eE") == strlen(word) && fabs(v) <= MAX_ABS;
}

static bool scan_digest(const char *word, char *digest)
{
    if (strlen(word) != RANGES_HEX - 1 || strspn(word, "0123456789abcdef") != RANGES_HEX - 1)
        return false;
    memcpy(digest, word, RANGES_HEX);
    return true;
}

static bool is_line(const struct line *l, const char *keyword, size_t n)
{
    return l->n == n && strcmp(l->words[0], keyword) == 0;
}

static bool take_layer(struct ranges *r, size_t index, const struct line *l)
{
    struct range *to = &r->layers[index];
    size_t number;

    if (l->n < 5 || l->n > 6 || !scan_count(l->words[0], CFG_MAX_LAYERS, &number) || number != index)
        return false;
    to->keep_float = l->n == 6;
    return (l->n == 5 || strcmp(l->words[5], "float") == 0) && scan_value(l->words[1], &to->min) &&
           scan_value(l->words[2], &to->max) && scan_value(l->words[3], &to->low) &&
           scan_value(l->words[4], &to->high) && to->min <= to->low && to->low <= to->high && to->high <= to->max;
}

/* What line number k (of those that say something) has to be. */
static struct status take_line(struct ranges *r, size_t k, const struct line *l)
{
    size_t version;
    bool ok;

    if (k == 0)
        ok = is_line(l, "bloginfer-ranges", 2) && scan_count(l->words[1], 1, &version) && version == 1;
    else if (k == 1)
        ok = is_line(l, "weights", 2) && scan_digest(l->words[1], r->weights);
    else if (k == 2)
        ok = is_line(l, "images", 3) && scan_digest(l->words[1], r->images) &&
             scan_count(l->words[2], 100000000, &r->n_images);
    else if (k == 3)
        ok = is_line(l, "layers", 2) && scan_count(l->words[1], CFG_MAX_LAYERS, &r->n_layers);
    else
        ok = k - 4 < r->n_layers && take_layer(r, k - 4, l);
    return ok ? status_ok() : status_errorf(ST_INVALID, "line %d: not what a file of ranges has there", l->number);
}

struct status ranges_parse(struct ranges **out, const char *text, size_t size)
{
    struct cursor c = {text, text + size, 0};
    struct line l = {0};
    size_t k = 0;

    if (size > RANGES_MAX_BYTES)
        return status_errorf(ST_INVALID, "it has %zu bytes, at most %zu are taken", size, RANGES_MAX_BYTES);
    struct ranges *r = xcalloc(1, sizeof *r);
    struct status st = next_line(&c, &l);
    for (; !st.code && l.n > 0; k++) {
        st = take_line(r, k, &l);
        if (!st.code)
            st = next_line(&c, &l);
    }
    if (!st.code && (k < 4 || k != 4 + r->n_layers))
        st = status_errorf(ST_INVALID, "it ends after line %d, before all layers have their ranges", c.number);
    if (st.code)
        free(r);
    else
        *out = r;
    return st;
}

void ranges_print(const struct ranges *r, struct buf *out)
{
    buf_printf(out, "bloginfer-ranges 1\nweights %s\nimages %s %zu\nlayers %zu\n", r->weights, r->images, r->n_images,
               r->n_layers);
    for (size_t i = 0; i < r->n_layers; i++) {
        const struct range *l = &r->layers[i];
        buf_printf(out, "%zu %.9g %.9g %.9g %.9g%s\n", i, (double)l->min, (double)l->max, (double)l->low,
                   (double)l->high, l->keep_float ? " float" : "");
    }
}

struct ranges *ranges_known(const char *weights_sha256)
{
    static const struct {
        const char *text, *end;
    } known[] = {
        {ranges_yolov3_tiny, ranges_yolov3_tiny_end},
        {ranges_yolo_fastest_xl, ranges_yolo_fastest_xl_end},
    };

    for (size_t i = 0; i < COUNT_OF(known); i++) {
        struct ranges *r = NULL;
        or_die(ranges_parse(&r, known[i].text, (size_t)(known[i].end - known[i].text)));
        if (r && strcmp(r->weights, weights_sha256) == 0)
            return r;
        free(r);
    }
    return NULL;
}
