/* model_parameters.h - bloginferctl models parameters: what is set for a task's models while they serve. */
#ifndef CTL_MODEL_PARAMETERS_H
#define CTL_MODEL_PARAMETERS_H

#include "ctl.h"

/* Shows them, after the changes "name=value" were made. Returns the exit code. */
int model_parameters(struct ctl *ctl, char *task, int n_changes, char **changes);

#endif
