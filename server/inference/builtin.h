/* builtin.h - the models that the program brings along, so that a fresh machine classifies before it has trained
 * anything. Version 0 of their tasks; the first version that stands in production takes their place (served.h).
 * builtin/NAME.md tells what each was trained on and what it is good for. */
#ifndef INFERENCE_BUILTIN_H
#define INFERENCE_BUILTIN_H

#include "served.h"

#define BUILTIN_MODELS 2

void builtin_models(struct served_builtin models[BUILTIN_MODELS]);

#endif
