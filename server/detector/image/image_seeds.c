/* image_seeds.c - the first inputs of the fuzz targets: small pictures of every kind that the decoders tell apart, made
 * by the libraries' own writers.
 *
 *     image_seeds FOLDER     writes FOLDER/FORMAT_fuzz.seeds/ and, with all of them, FOLDER/image_fuzz.seeds/ */
#include "picture.h"

static const char *folder;

static void save_to(const char *target, const char *name, const uint8_t *file, size_t size)
{
    char *seeds = xasprintf("%s/%s_fuzz.seeds", folder, target), *path = xasprintf("%s/%s", seeds, name);

    or_die(fs_mkdirs(seeds));
    or_die(fs_write_atomic(path, file, size));
    free(path);
    free(seeds);
}

static void save(const char *format, int number, uint8_t *file, size_t size)
{
    char *name = xasprintf("%s-%02d", format, number);

    save_to(format, name, file, size);
    save_to("image", name, file, size);
    free(name);
    free(file);
}

static void save_jpegs(void)
{
    static const struct picture_jpeg kinds[] = {
        {20, 12, 3, false, 0}, {20, 12, 3, true, 0}, {20, 12, 1, false, 0}, {20, 12, 1, true, 6}, {20, 12, 4, false, 0},
        {20, 12, 4, true, 3},  {40, 36, 3, true, 8}, {9, 33, 3, false, 5},  {1, 1, 3, false, 2},
    };
    size_t size;

    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        uint8_t *file = picture_jpeg(&kinds[i], &size);
        save("jpeg", (int)i, file, size);
    }
}

/* Every kind twice: row by row, and interlaced. */
static void save_pngs(void)
{
    static const struct {
        int color, depth;
    } kinds[] = {
        {PNG_COLOR_TYPE_GRAY, 1},      {PNG_COLOR_TYPE_GRAY, 2},       {PNG_COLOR_TYPE_GRAY, 4},
        {PNG_COLOR_TYPE_GRAY, 8},      {PNG_COLOR_TYPE_GRAY, 16},      {PNG_COLOR_TYPE_PALETTE, 2},
        {PNG_COLOR_TYPE_PALETTE, 4},   {PNG_COLOR_TYPE_PALETTE, 8},    {PNG_COLOR_TYPE_RGB, 8},
        {PNG_COLOR_TYPE_RGB, 16},      {PNG_COLOR_TYPE_GRAY_ALPHA, 8}, {PNG_COLOR_TYPE_GRAY_ALPHA, 16},
        {PNG_COLOR_TYPE_RGB_ALPHA, 8}, {PNG_COLOR_TYPE_RGB_ALPHA, 16},
    };
    size_t size;

    for (int i = 0; i < 2 * (int)COUNT_OF(kinds); i++) {
        struct picture_png p = {20, 12, kinds[i / 2].color, kinds[i / 2].depth, i % 2, {0, 1, 2, 3, 0, 2, 1, 3}, i % 2};
        uint8_t *file = picture_png(&p, &size);
        save("png", i, file, size);
    }
}

static void save_webps(void)
{
    int number = 0;
    size_t size;

    for (int lossless = 0; lossless < 2; lossless++)
        for (int transparent = 0; transparent < 2; transparent++) {
            uint8_t *file = picture_webp(&(struct picture_webp){20, 12, lossless, transparent, 6 * transparent}, &size);
            save("webp", number++, file, size);
        }
    uint8_t *file = picture_webp_animation(20, 12, &size);
    save("webp", number, file, size);
}

static void save_gifs(void)
{
    size_t size;

    for (int i = 0; i < 4; i++) {
        struct picture_gif p = {20, 12, 4 * (i % 2), 3 * (i % 2), i >= 2, i % 2, i == 3};
        uint8_t *file = picture_gif(&p, &size);
        save("gif", i, file, size);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        or_die(status_errorf(ST_INVALID, "the folder for the seeds is needed"));
    folder = argv[1];
    save_jpegs();
    save_pngs();
    save_webps();
    save_gifs();
    return 0;
}
