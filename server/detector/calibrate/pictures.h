/* pictures.h - a folder of pictures as inputs of a network, decoded and resized as the service does it. */
#ifndef DETECTOR_PICTURES_H
#define DETECTOR_PICTURES_H

#include "network/ranges.h"

#define PICTURES_MAX 1000

struct pictures {
    char *folder;
    char **names; /* (n,), sorted */
    size_t n;
    struct cfg_shape shape;
    char sha256[RANGES_HEX]; /* of the files' SHA-256 one after another */
};

/* Takes every file that can be decoded. ST_INVALID: there is none; ST_EXHAUSTED: over PICTURES_MAX files. */
struct status pictures_open(struct pictures *out, const char *folder, struct cfg_shape shape);
void pictures_close(struct pictures *p);

/* input (3, h, w). */
struct status pictures_read(const struct pictures *p, size_t i, float *input);

#endif
