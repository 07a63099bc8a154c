/* model_parameters.h - the handlers of ModelRegistryService for a task's parameters; registry.c has the table. */
#ifndef AGGREGATOR_MODEL_PARAMETERS_H
#define AGGREGATOR_MODEL_PARAMETERS_H

#include "registry_internal.h"

rpc_unary_fn model_parameters_get, model_parameters_change;

#endif
