/* pictures.h - what the users send: the pictures of a folder, or a few made on the spot, encoded once and shared by all. */
#ifndef LOADTEST_PICTURES_H
#define LOADTEST_PICTURES_H

#include "base/base.h"

#include <stdbool.h>

#define PICTURES_MAX        4096
#define PICTURES_MAX_BYTES  ((size_t)64 << 20) /* of one */
#define PICTURES_MAX_MEMORY ((size_t)2 << 30)  /* of all, as they are sent */

/* As base64: what follows `"image": "` in the body of a request, with the quote and brace that end it. */
struct picture {
    char *data;
    size_t size;
    const char *type; /* "image/jpeg" */
};

struct pictures {
    struct picture *all;
    size_t n;
};

/* The .jpg, .jpeg, .png, .webp and .gif files of a folder, by name. ST_NOT_FOUND: there are none. raw: as they are, not
 * in base64. */
struct status pictures_load(struct pictures *out, const char *folder, bool raw);

/* PNG pictures of coloured boxes, different from each other. */
struct status pictures_make(struct pictures *out, size_t n, bool raw);

void pictures_free(struct pictures *p);

#endif
