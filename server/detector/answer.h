/* answer.h - what was found in a picture, and what a model is, as messages; all in an arena, borrowing the model's names.
 * ST_EXHAUSTED: the arena is full. */
#ifndef DETECTOR_ANSWER_H
#define DETECTOR_ANSWER_H

#include "detector.h"

#include "bloginfer/v1/detect.pb-c.h"

/* rep: initialised; its id is left alone. */
struct status answer_fill(Bloginfer__V1__DetectResponse *rep, const struct served *model, const struct detection *found,
                          bool want_timing, struct arena *arena);

/* rep: initialised. e->served may be NULL. */
struct status answer_describe(Bloginfer__V1__DescribeDetectorResponse *rep, const struct models_entry *e,
                              const struct stages_config *stages, struct arena *arena);

#endif
