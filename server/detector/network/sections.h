/* sections.h - the text of a darknet cfg file as a list of sections with keys; knows nothing of what they mean.
 *
 * The format: "[name]" opens a section, "key = value" adds to it, lines that start with # or ; and empty lines are
 * skipped. A key twice in a section is refused: darknet takes the first, its forks the last. */
#ifndef DETECTOR_SECTIONS_H
#define DETECTOR_SECTIONS_H

#include "base/base.h"

#define SECTIONS_MAX_BYTES ((size_t)256 << 10)
#define SECTIONS_MAX       512
#define SECTIONS_MAX_KEYS  48

struct section_key {
    const char *name;
    const char *value;
    int line;
    bool used; /* somebody asked for it: see section_first_unused() */
};

struct section {
    const char *name; /* without the brackets */
    int line;
    struct section_key keys[SECTIONS_MAX_KEYS];
    size_t n_keys;
};

struct sections {
    char *text;      /* what the strings point into */
    struct vec list; /* of struct section */
};

/* ST_INVALID names the line. */
struct status sections_parse(struct sections *out, const char *text, size_t size);
void sections_fini(struct sections *s);

/* NULL when the section has no such key; marks it as used. */
const char *section_value(struct section *s, const char *name);

/* Every getter leaves an earlier error in *st alone, so that many can be checked at once. Messages name the line. */
long section_int(struct section *s, const char *name, long preset, long min, long max, struct status *st);
double section_float(struct section *s, const char *name, double preset, double min, double max, struct status *st);

/* The comma-separated numbers of a required key; returns how many, at most max_n. */
size_t section_ints(struct section *s, const char *name, long min, long max, int *values, size_t max_n,
                    struct status *st);
size_t section_floats(struct section *s, const char *name, double min, double max, float *values, size_t max_n,
                      struct status *st);

/* A key that nobody asked for and that is not among `ignored` (names between spaces), NULL when there is none. */
const struct section_key *section_first_unused(const struct section *s, const char *ignored);

#endif
