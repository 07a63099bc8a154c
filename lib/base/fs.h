/* fs.h - files, whole and bounded; writes that are either complete or not there. */
#ifndef BASE_FS_H
#define BASE_FS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* *data: the caller's, to free(); size bytes and a NUL. ST_EXHAUSTED when the file is over limit bytes. */
struct status fs_read(const char *path, size_t limit, char **data, size_t *size);

/* Writes beside, fsyncs, renames into place, fsyncs the folder: after OK it survives a crash, before it the old
 * content stays. */
struct status fs_write_atomic(const char *path, const void *data, size_t size);

struct status fs_mkdirs(const char *path);      /* like mkdir -p */
struct status fs_sync_dir(const char *path);    /* fsync of the folder itself */
struct status fs_remove_tree(const char *path); /* like rm -rf; OK when it is not there */
bool fs_exists(const char *path);

/* The names in a folder, sorted, without dot files; *names is one block, to free(). ST_EXHAUSTED over limit. */
struct status fs_list(const char *path, size_t limit, char ***names, size_t *n);

#endif
