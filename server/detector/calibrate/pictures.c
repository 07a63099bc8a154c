/* pictures.c - files are read again for every pass: a thousand decoded inputs would not fit. */
#include "pictures.h"

#include "image/image.h"
#include "image/resize.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FILE_BYTES ((size_t)64 << 20)
#define MAX_PIXELS     100000000

static struct status read_picture(const char *path, struct cfg_shape shape, float *input, uint8_t digest[SHA256_SIZE])
{
    const struct image_limits limits = {MAX_FILE_BYTES, MAX_PIXELS, (uint32_t)shape.w, (uint32_t)shape.h};
    struct image im;
    char *data = NULL;
    size_t size = 0;
    struct status st = fs_read(path, MAX_FILE_BYTES, &data, &size);

    if (!st.code)
        st = image_decode(&im, (const uint8_t *)data, size, &limits);
    if (!st.code) {
        resize_to_planes(input, (uint32_t)shape.w, (uint32_t)shape.h, &im, RESIZE_PLAIN);
        image_fini(&im);
        sha256(data, size, digest);
    }
    free(data);
    return st;
}

static char *path_of(const struct pictures *p, size_t i)
{
    return xasprintf("%s/%s", p->folder, p->names[i]);
}

struct status pictures_read(const struct pictures *p, size_t i, float *input)
{
    uint8_t digest[SHA256_SIZE];
    char *path = path_of(p, i);
    struct status st = read_picture(path, p->shape, input, digest);

    free(path);
    return status_prefix(st, "%s", p->names[i]);
}

/* Leaves those in the list that are pictures. */
static void sift(struct pictures *p)
{
    uint8_t *digests = xcalloc(p->n + 1, SHA256_SIZE), all[SHA256_SIZE];
    float *input = xaligned(cfg_shape_size(p->shape), sizeof *input);
    size_t n = 0;

    for (size_t i = 0; i < p->n; i++) {
        char *path = path_of(p, i);
        struct status st = read_picture(path, p->shape, input, digests + n * SHA256_SIZE);
        if (st.code)
            log_warn("skipped", log_s("file", path), log_s("reason", st.msg));
        else
            p->names[n++] = p->names[i];
        free(path);
    }
    p->n = n;
    sha256(digests, n * SHA256_SIZE, all);
    hex_encode(all, sizeof all, p->sha256);
    free(input);
    free(digests);
}

struct status pictures_open(struct pictures *out, const char *folder, struct cfg_shape shape)
{
    *out = (struct pictures){.folder = xstrdup(folder), .shape = shape};
    struct status st = fs_list(folder, PICTURES_MAX, &out->names, &out->n);

    if (!st.code) {
        sift(out);
        if (out->n == 0)
            st = status_errorf(ST_INVALID, "%s has no pictures", folder);
    }
    if (st.code)
        pictures_close(out);
    return st;
}

void pictures_close(struct pictures *p)
{
    free(p->names);
    free(p->folder);
    *p = (struct pictures){NULL};
}
