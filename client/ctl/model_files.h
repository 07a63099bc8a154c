/* model_files.h - bloginferctl models export and import: a model from one site's store to another's. */
#ifndef CTL_MODEL_FILES_H
#define CTL_MODEL_FILES_H

#include "ctl.h"

/* Writes the model file of a version (0: production) whole or not at all; with f16 its tensors in half the bytes.
 * Returns the exit code. */
int model_files_export(struct ctl *ctl, char *task, uint64_t version, const char *path, bool f16);

/* Makes the file a new version and the candidate of its task. Returns the exit code. */
int model_files_import(struct ctl *ctl, const char *path);

#endif
