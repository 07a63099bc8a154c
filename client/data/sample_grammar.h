/* sample_grammar.h - what the built-in sample is made of. Alternatives in a string are separated by '|'.
 *
 * A pattern is text with slots: <1> and <0> are clauses of that label, each of another aspect of the topic; <+> and <->
 * closings of label 1 and 0; <s> how it came about; <f> a fact; <n> a neutral remark; <v> and <x> are words of degree or
 * ways to begin. Label 1 is positive, or a troll's. Every alternative may be empty. */
#ifndef CLIENT_DATA_SAMPLE_GRAMMAR_H
#define CLIENT_DATA_SAMPLE_GRAMMAR_H

#include <stddef.h>

#define GRAMMAR_MAX_ASPECTS 16

struct grammar_aspect {
    const char *clauses[2]; /* by label */
};

struct grammar_topic {
    const char *scene;
    const char *fact;
    struct grammar_aspect aspects[GRAMMAR_MAX_ASPECTS]; /* the unused ones are zero */
};

struct grammar {
    const struct grammar_topic *topics;
    size_t n_topics;
    const char *patterns[2]; /* by label */
    const char *either;      /* patterns of texts that say nothing of their label */
    const char *closings[2]; /* by label */
    const char *neutral;
    const char *fillers[2]; /* <v>, <x> */
};

extern const struct grammar grammar_sentiment, grammar_troll;

#endif
