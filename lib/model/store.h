/* store.h - the versioned store of models in a folder, safe against a crash at any instant.
 *
 *     DIR/<task>/<version>/model.safetensors        version: 1, 2, 3, ... never used twice
 *     DIR/<task>/<version>/SHA256SUMS               digests of every file in the folder, as sha256sum(1) prints them
 *     DIR/<task>/<version>/...                      metrics.jsonl, curve.svg, whatever the publisher gave
 *     DIR/<task>/production, candidate              a pointer: the version's number and a newline, renamed into place
 *
 * A version is written beside (.new-*) and renamed into place whole. One process writes (the aggregator), any number
 * read, each in its own mount. Functions take the folder's path; they hold no state. */
#ifndef MODEL_STORE_H
#define MODEL_STORE_H

#include "base/base.h"
#include "model/model.h"

#include <stdint.h>

#define STORE_MODEL_FILE "model.safetensors"
#define STORE_TASK_MAX 32          /* bytes of a task's name: [a-z][a-z0-9_-]* */

enum store_pointer { STORE_PRODUCTION, STORE_CANDIDATE };

/* ST_INVALID: not a task's name. */
struct status store_task_check(const char *task);

struct store_file {
    const char *name;          /* a plain file name */
    const void *data;
    size_t size;
};

/* Writes a new version with these files (one of them STORE_MODEL_FILE) and returns its number. Durable when OK. */
struct status store_publish(const char *dir, const char *task, const struct store_file *files, size_t n_files,
                            uint64_t *version);

/* *versions: increasing, to free(). A task without a folder has none. */
struct status store_list(const char *dir, const char *task, uint64_t **versions, size_t *n);
struct status store_tasks(const char *dir, char ***tasks, size_t *n);    /* one block, to free() */

/* *version is 0 when the pointer is not set. */
struct status store_get_pointer(const char *dir, const char *task, enum store_pointer which, uint64_t *version);

/* ST_NOT_FOUND: no such version; ST_DATA_LOSS: it does not verify. Version 0 clears the pointer. */
struct status store_set_pointer(const char *dir, const char *task, enum store_pointer which, uint64_t version);

/* Checks the digests, then reads and checks the model. ST_NOT_FOUND, ST_DATA_LOSS. digest (may be NULL): of the model. */
struct status store_load(const char *dir, const char *task, uint64_t version, struct model **out,
                         uint8_t digest[SHA256_SIZE]);

/* Removes a version. ST_PRECONDITION: a pointer stands on it. */
struct status store_remove(const char *dir, const char *task, uint64_t version);

/* "DIR/task/version" or "DIR/task/version/file" into path (of size bytes). Returns path. */
char *store_path(char *path, size_t size, const char *dir, const char *task, uint64_t version, const char *file);

#endif
