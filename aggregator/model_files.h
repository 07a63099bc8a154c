/* model_files.h - the handlers of ModelRegistryService that move whole model files; registry.c has the table. */
#ifndef AGGREGATOR_MODEL_FILES_H
#define AGGREGATOR_MODEL_FILES_H

#include "registry_internal.h"

#define MODEL_FILES_IMPORT_MAX ((size_t)256 << 20)

rpc_stream_fn model_files_export, model_files_import;

#endif
