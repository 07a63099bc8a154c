/* sample.h - the built-in sample: made-up Chinese reviews and comments for a machine without data or network.
 *
 * A small grammar (sample_grammar.c) writes SAMPLE_ROWS distinct texts of a task, half of each label, always the same.
 * It is no substitute for real texts and says so wherever it is used. It is not trivial either: most texts carry clauses
 * of both labels, and order and connectives decide; one in twenty is lukewarm or curt, and its label is a coin's. */
#ifndef CLIENT_DATA_SAMPLE_H
#define CLIENT_DATA_SAMPLE_H

#include "dataset.h"

#define SAMPLE_ROWS 6000

/* task: "sentiment" or "troll". */
struct status sample_add(struct dataset *d, const char *task);

#endif
