/* model_settings.h - the handlers of ModelRegistryService for what is set for all tasks together; registry.c has the
 * table. */
#ifndef AGGREGATOR_MODEL_SETTINGS_H
#define AGGREGATOR_MODEL_SETTINGS_H

#include "registry_internal.h"

rpc_unary_fn model_settings_list, model_settings_change;

#endif
