/* convert.h - a run and what it is made of between their domain form (run.h) and their messages (federation.proto). Messages point into the arena
 * and into the view they were made from. */
#ifndef AGGREGATOR_CONVERT_H
#define AGGREGATOR_CONVERT_H

#include "run.h"

#include "bloginfer/v1/federation.pb-c.h"

/* ST_EXHAUSTED: the arena is full. *out is initialised here. */
struct status convert_run(Bloginfer__V1__Run *out, const struct run_view *v, struct arena *arena);
void convert_round(Bloginfer__V1__RoundResult *out, const struct run_round *o);
void convert_progress(Bloginfer__V1__RoundProgress *out, const struct run_view *v);
void convert_config(Bloginfer__V1__RunConfig *out, const struct run_config *c);
void convert_shape(Bloginfer__V1__ModelShape *out, const struct nn_shape *s);
void convert_objective(Bloginfer__V1__Objective *out, const struct nn_objective *o);
Bloginfer__V1__RunState convert_state(enum run_state s);

/* The other way; c may be NULL (all defaults). ST_INVALID: a text that does not fit its field. */
struct status convert_config_from(struct run_config *out, const Bloginfer__V1__RunConfig *c);

/* *out: to run_view_fini(). ST_INVALID: not what convert_run() makes. */
struct status convert_run_from(struct run_view *out, const Bloginfer__V1__Run *m);

#endif
