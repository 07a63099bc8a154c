/* network_seeds.c - the first inputs of the fuzz targets: the tests' networks, their weights, and ranges that ship.
 *
 *     network_seeds FOLDER     writes FOLDER/cfg_fuzz.seeds/, weights_fuzz.seeds/ and ranges_fuzz.seeds/ */
#include "small_model.h"

static const char *folder;

static void save(const char *target, int number, const void *data, size_t size)
{
    char *seeds = xasprintf("%s/%s_fuzz.seeds", folder, target), *path = xasprintf("%s/%d", seeds, number);

    or_die(fs_mkdirs(seeds));
    or_die(fs_write_atomic(path, data, size));
    free(path);
    free(seeds);
}

/* The first byte names the network and says that the rest is repeated up to its size; see weights_fuzz.c. */
static void save_weights(void)
{
    struct cfg *c = small_cfg_parse();

    for (int version = 1; version <= 2; version++)
        for (int network = 0; network < 4; network++) {
            size_t size;
            uint8_t *file = small_weights(c, version, &size), input[401];
            input[0] = (uint8_t)(0x80 | network);
            memcpy(input + 1, file, sizeof input - 1);
            save("weights", 4 * version + network, input, sizeof input);
            free(file);
        }
    free(c);
}

static void save_ranges(void)
{
    static const char digest[] = "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c";
    struct ranges r = {.n_images = 64, .n_layers = 4};
    struct buf text = BUF_INIT(RANGES_MAX_BYTES);

    memcpy(r.weights, digest, sizeof digest);
    memcpy(r.images, digest, sizeof digest);
    for (int i = 0; i < 4; i++)
        r.layers[i] = (struct range){-1.5f - (float)i, 2e3f, -1, 1e-3f, i % 2};
    ranges_print(&r, &text);
    save("ranges", 0, text.data, text.size);
    buf_fini(&text);
}

int main(int argc, char **argv)
{
    static const char *const texts[] = {small_cfg, small_cfg_yolo2, small_cfg_yolo4};

    if (argc != 2)
        or_die(status_errorf(ST_INVALID, "the folder for the seeds is needed"));
    folder = argv[1];
    for (int i = 0; i < (int)COUNT_OF(texts); i++)
        save("cfg", i, texts[i], strlen(texts[i]));
    save_weights();
    save_ranges();
    return 0;
}
