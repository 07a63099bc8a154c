/* loader.h - from a model's name to a model: looks its files up along a list of folders, checks them, corrects what is
 * known to be wrong, and knows the threshold that suits it. */
#ifndef DETECTOR_LOADER_H
#define DETECTOR_LOADER_H

#include "network.h"

#include <stdbool.h>

struct model {
    char *name; /* "yolov3-tiny" */
    struct network *network;
    char **labels; /* (classes,), views into label_text */
    char *label_text;
    float threshold;                  /* the model's own default */
    char sha256[2 * SHA256_SIZE + 1]; /* of the weights file */
    char digest[2 * SHA256_SIZE + 1]; /* of all its files: another one is another model */
    char description[256];            /* remarks for a person; no paths */
};

/* Looks for NAME.cfg, NAME.weights and NAME.names (else coco.names), each on its own, in the folders of `path`,
 * separated by colons; the first hit counts. NAME.ranges is
 * optional (ranges.h). ST_NOT_FOUND, ST_INVALID: the message may go to clients, since it names
 * files without their folders. ST_INVALID for a name that is not a plain file name, too. */
struct status loader_load(struct model **out, const char *name, const char *path);
void model_free(struct model *m);

/* What loader_load() would read now, without reading it: changes when a file is written, replaced, or found elsewhere. */
struct loader_stamp {
    struct {
        uint64_t device, inode, size; /* all zero: there is no such file */
        int64_t changed;
    } files[4];
};

struct loader_stamp loader_stamp(const char *name, const char *path);
bool loader_stamp_equal(const struct loader_stamp *a, const struct loader_stamp *b);

#define LOADER_MAX_MODELS 16

/* The models whose cfg and weights are both in one of the folders, by name; (*names)[0..n-1] and *names are to be freed.
 * Those over LOADER_MAX_MODELS are left out, with a line in the log. */
size_t loader_list(const char *path, char ***names);

#endif
