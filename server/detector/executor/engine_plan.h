/* engine_plan.h - an engine that executes a plan (plan.h). Kinds of engine differ in the types they ask for. */
#ifndef DETECTOR_ENGINE_PLAN_H
#define DETECTOR_ENGINE_PLAN_H

#include "executor/engine.h"
#include "executor/plan_run.h"

/* For a kind's create(). types: as in plan_new(). */
struct status engine_plan_create(struct engine **out, const struct engine_kind *kind, const struct network *net,
                                 const struct plan_types *types);

/* For a kind's table. */
struct status engine_plan_clone(struct engine **out, const struct engine *e);
void engine_plan_forward(struct engine *e, const float *picture);
void engine_plan_destroy(struct engine *e);

struct plan_run *engine_plan_run(const struct engine *e); /* NULL for an engine of another make */
const struct plan *engine_plan(const struct engine *e);

#endif
