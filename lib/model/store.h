/* store.h - the versioned store of models in a folder, safe against a crash at any instant.
 *
 *     DIR/<task>/<version>/model.safetensors        version: 1, 2, 3, ... never used twice, also not after a removal
 *     DIR/<task>/<version>/SHA256SUMS               digests of every file in the folder, as sha256sum(1) prints them
 *     DIR/<task>/<version>/...                      metrics.jsonl, curve.svg, whatever the publisher gave
 *     DIR/<task>/production, candidate              a pointer: the version's number and a newline, renamed into place
 *     DIR/<task>/parameters.json                    what an operator has set for the task: parameters.h
 *     DIR/<task>/.promoted                          versions that production has stood on, a line each: where to roll back
 *     DIR/<task>/.last                              the highest version that was ever removed: numbers start above it
 *
 * A version is written beside (.new-*) and renamed into place whole; it is removed by renaming it away first (.del-*).
 * What a crash leaves beside is swept at the next publish. One process writes (the aggregator; its threads and a second
 * process by mistake wait for each other), any number read, each in its own mount. Functions take the folder's path;
 * they hold no state. Messages of ST_INVALID, ST_NOT_FOUND, ST_PRECONDITION and ST_DATA_LOSS never hold a path. */
#ifndef MODEL_STORE_H
#define MODEL_STORE_H

#include "base/base.h"
#include "model/model.h"
#include "model/parameters.h"

#include <stdint.h>

#define STORE_MODEL_FILE   "model.safetensors"
#define STORE_SUMS_FILE    "SHA256SUMS"
#define STORE_TASK_MAX     32 /* bytes of a task's name: [a-z][a-z0-9_-]* */
#define STORE_NAME_MAX     64 /* bytes of a file's name: [A-Za-z0-9_-][A-Za-z0-9._-]* */
#define STORE_MAX_FILES    16 /* of a version */
#define STORE_MAX_VERSIONS 100000
#define STORE_MAX_TASKS    256
#define STORE_DIR_MAX      3800 /* bytes of the folder's path, so that every path below fits PATH_MAX */

enum store_pointer { STORE_PRODUCTION, STORE_CANDIDATE };

/* ST_INVALID: not a task's name. */
struct status store_task_check(const char *task);

struct store_file {
    const char *name; /* a plain file name */
    const void *data;
    size_t size;
};

/* Writes a new version with these files (one of them STORE_MODEL_FILE) and returns its number. Durable when OK.
 * ST_INVALID: names that are not plain, or twice, or no model file; the content is the caller's business. */
struct status store_publish(const char *dir, const char *task, const struct store_file *files, size_t n_files,
                            uint64_t *version);

/* *versions: increasing, to free(). A task without a folder has none. */
struct status store_list(const char *dir, const char *task, uint64_t **versions, size_t *n);

/* Sorted; one block, to free(). A folder that is not there has none. */
struct status store_tasks(const char *dir, char ***tasks, size_t *n);

/* *version is 0 when the pointer is not set. ST_DATA_LOSS: the file holds no number. */
struct status store_get_pointer(const char *dir, const char *task, enum store_pointer which, uint64_t *version);

/* Whether every file of the version is what was published. ST_NOT_FOUND: no such version; ST_DATA_LOSS: it is not. */
struct status store_verify(const char *dir, const char *task, uint64_t version);

/* Verifies the version (every file's digest, and the model), then moves the pointer. Durable when OK.
 * ST_NOT_FOUND: no such version; ST_DATA_LOSS: it does not verify. Version 0 clears the pointer. */
struct status store_set_pointer(const char *dir, const char *task, enum store_pointer which, uint64_t version);

/* Where production can go back to: the newest version below it that production has stood on and that is still there.
 * *version is 0 when there is none. */
struct status store_previous(const char *dir, const char *task, uint64_t *version);

/* Reads the model file, checks it against its digest, then the model itself: the bytes that were checked are those
 * that are used. ST_NOT_FOUND, ST_DATA_LOSS. digest (may be NULL): of the model file. */
struct status store_load(const char *dir, const char *task, uint64_t version, struct model **out,
                         uint8_t digest[SHA256_SIZE]);

/* What a version says of itself, cheaply: the model's header (see model_read_header()), the file's size and the
 * recorded digest, which is not compared. ST_NOT_FOUND, ST_DATA_LOSS. */
struct status store_info(const char *dir, const char *task, uint64_t version, struct model **header,
                         uint64_t *size_bytes, uint8_t digest[SHA256_SIZE]);

/* The task's parameters; the defaults where none were set. ST_DATA_LOSS: the file is damaged. */
struct status store_get_parameters(const char *dir, const char *task, struct model_parameters *out);

/* Replaces them at once; durable when OK. The task needs no version. ST_INVALID: out of range. */
struct status store_set_parameters(const char *dir, const char *task, const struct model_parameters *p);

/* Removes a version. ST_PRECONDITION: a pointer stands on it. ST_NOT_FOUND. */
struct status store_remove(const char *dir, const char *task, uint64_t version);

/* "DIR/task/version" or "DIR/task/version/file" (file NULL: without) into path. Returns path. */
char *store_path(char *path, size_t size, const char *dir, const char *task, uint64_t version, const char *file);

#endif
