/* pictures.c - see pictures.h. */
#include "pictures.h"

#include <openssl/evp.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MADE_WIDTH  320
#define MADE_HEIGHT 240
#define MADE_BOXES  12

/* NULL: not a picture, by the ending of its name. */
static const char *type_of(const char *name)
{
    static const char *const types[][2] = {{".jpg", "image/jpeg"},
                                           {".jpeg", "image/jpeg"},
                                           {".png", "image/png"},
                                           {".webp", "image/webp"},
                                           {".gif", "image/gif"}};
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot && i < COUNT_OF(types); i++)
        if (!strcasecmp(dot, types[i][0]))
            return types[i][1];
    return NULL;
}

/* Takes the file's bytes over. */
static struct picture encode(char *data, size_t size, const char *type, bool raw)
{
    if (raw)
        return (struct picture){data, size, type};
    char *text = xmalloc((size + 2) / 3 * 4 + 3);
    int n = EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)data, (int)size);
    memcpy(text + n, "\"}", 3);
    free(data);
    return (struct picture){text, (size_t)n + 2, type};
}

static struct status load_one(struct pictures *p, const char *folder, const char *name, bool raw, size_t *memory)
{
    const char *type = type_of(name);
    char *path, *data;
    size_t size;

    if (!type)
        return status_ok();
    path = xasprintf("%s/%s", folder, name);
    struct status st = fs_read(path, PICTURES_MAX_BYTES, &data, &size);
    free(path);
    if (st.code)
        return st;
    struct picture made = encode(data, size, type, raw);
    p->all[p->n++] = made;
    *memory += made.size;
    if (*memory > PICTURES_MAX_MEMORY)
        return status_errorf(ST_EXHAUSTED, "%s: its pictures take more than %zu MiB", folder,
                             PICTURES_MAX_MEMORY >> 20);
    return st;
}

struct status pictures_load(struct pictures *out, const char *folder, bool raw)
{
    char **names = NULL;
    size_t n = 0, memory = 0;
    struct status st = fs_list(folder, PICTURES_MAX, &names, &n);

    *out = (struct pictures){xcalloc(n ? n : 1, sizeof *out->all), 0};
    for (size_t i = 0; i < n && !st.code; i++)
        st = load_one(out, folder, names[i], raw, &memory);
    free(names);
    if (!st.code && !out->n)
        st = status_errorf(ST_NOT_FOUND, "%s: no pictures (.jpg, .jpeg, .png, .webp, .gif) there", folder);
    if (st.code)
        pictures_free(out);
    return st;
}

static void draw_box(uint8_t *rgb, struct rng *rng)
{
    size_t x0 = rng_below(rng, MADE_WIDTH), y0 = rng_below(rng, MADE_HEIGHT), x1 = x0 + 20 + rng_below(rng, 100),
           y1 = y0 + 20 + rng_below(rng, 100);
    uint64_t colour = rng_next(rng);

    for (size_t y = y0; y < y1 && y < MADE_HEIGHT; y++)
        for (size_t x = x0; x < x1 && x < MADE_WIDTH; x++)
            memcpy(rgb + 3 * (y * MADE_WIDTH + x), &colour, 3);
}

static struct status make_one(struct picture *out, uint64_t seed, bool raw)
{
    static uint8_t rgb[3 * MADE_WIDTH * MADE_HEIGHT];
    png_image png = {
        .version = PNG_IMAGE_VERSION, .width = MADE_WIDTH, .height = MADE_HEIGHT, .format = PNG_FORMAT_RGB};
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
    char *file = xmalloc(size);
    struct rng rng;

    rng_init(&rng, seed);
    memset(rgb, 0xc0, sizeof rgb);
    for (int i = 0; i < MADE_BOXES; i++)
        draw_box(rgb, &rng);
    if (!png_image_write_to_memory(&png, file, &size, 0, rgb, 0, NULL)) {
        free(file);
        return status_errorf(ST_INTERNAL, "a picture cannot be made: %s", png.message);
    }
    *out = encode(file, size, "image/png", raw);
    return status_ok();
}

struct status pictures_make(struct pictures *out, size_t n, bool raw)
{
    struct status st = status_ok();

    *out = (struct pictures){xcalloc(n, sizeof *out->all), 0};
    for (size_t i = 0; i < n && !st.code; i++) {
        st = make_one(&out->all[i], i, raw);
        out->n += !st.code;
    }
    if (st.code)
        pictures_free(out);
    return st;
}

void pictures_free(struct pictures *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->all[i].data);
    free(p->all);
    *p = (struct pictures){NULL, 0};
}
