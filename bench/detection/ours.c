/* ours.c - the detector's engines as a program that is asked line by line, so that bench/detection/run.py can let them
 * take turns with the peers on one core.
 *
 *     detection_ours --engines                  the engines there are
 *     detection_ours MODEL ENGINE FOLDERS       (FOLDERS separated by colons, as bloginfer-detector --models)
 *
 *     forward N         the CPU times of N forward passes of a fixed input, ms
 *     detect T FILE...  for each file a line: class score left top width height ... of every box over T
 *     memory            resident megabytes
 *
 * The whole request is measured on the real service instead. */
#include "boxes.h"
#include "executor/engine.h"
#include "image/image.h"
#include "image/resize.h"
#include "network/loader.h"
#include "nn/nn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LINE  (1 << 20)
#define MAX_IMAGE ((size_t)10 << 20)
#define NMS       0.45f

struct ours {
    struct model *model;
    struct engine *engine;
    float *input; /* (3, h, w) */
};

static _Noreturn void usage(const char *what)
{
    fprintf(stderr, "detection_ours: %s\n", what);
    exit(2);
}

static void open_ours(struct ours *o, const char *model, const char *engine, const char *folders)
{
    const struct engine_kind *kind = engine_kind_find(engine);
    struct rng rng;

    if (!kind)
        usage("there is no such engine");
    or_die(loader_load(&o->model, model, folders));
    or_die(kind->create(&o->engine, o->model->network));
    size_t n = cfg_shape_size(o->model->network->cfg->input);
    o->input = xaligned(n, sizeof *o->input);
    rng_init(&rng, 1);
    for (size_t i = 0; i < n; i++)
        o->input[i] = (float)rng_uniform(&rng);
    for (int i = 0; i < 3; i++)
        engine_forward(o->engine, o->input);
}

static int list_engines(void)
{
    for (size_t i = 0; engine_kind_at(i); i++)
        printf("%s\n", engine_kind_at(i)->name);
    return 0;
}

static void forward(struct ours *o, long n)
{
    for (long i = 0; i < n; i++) {
        int64_t start = clock_process();
        engine_forward(o->engine, o->input);
        printf("%.4f ", (double)(clock_process() - start) / 1e6);
    }
    printf("\n");
}

static void detect(struct ours *o, const char *path, float threshold)
{
    static struct box_object objects[BOXES_MAX];
    const struct cfg *c = o->model->network->cfg;
    const struct image_limits limits = {.max_bytes = MAX_IMAGE, .max_pixels = 40000000};
    struct image image;
    size_t size;
    char *file;

    or_die(fs_read(path, MAX_IMAGE, &file, &size));
    or_die(image_decode(&image, (const uint8_t *)file, size, &limits));
    struct boxes_request request = {
        .threshold = threshold, .nms = NMS, .width = (float)image.width, .height = (float)image.height};
    request.frame = resize_to_planes(o->input, (uint32_t)c->input.w, (uint32_t)c->input.h, &image, RESIZE_PLAIN);
    engine_forward(o->engine, o->input);
    size_t n = boxes_find(c, o->engine->heads, &request, objects);
    for (size_t i = 0; i < n; i++) {
        const struct box_object *b = &objects[i];
        printf("%u %.6f %.3f %.3f %.3f %.3f ", b->class_id, (double)b->confidence, (double)b->left, (double)b->top,
               (double)b->width, (double)b->height);
    }
    printf("\n");
    image_fini(&image);
    free(file);
}

static void memory(void)
{
    long total, resident;
    FILE *f = fopen("/proc/self/statm", "r");

    if (!f || fscanf(f, "%ld %ld", &total, &resident) != 2)
        usage("/proc/self/statm cannot be read");
    fclose(f);
    printf("%.1f\n", (double)resident * 4096 / 1e6);
}

static void answer(struct ours *o, char *line)
{
    char *rest, *command = strtok_r(line, " \n", &rest), *word = strtok_r(NULL, " \n", &rest);

    if (command && word && strcmp(command, "forward") == 0)
        forward(o, atol(word));
    else if (command && word && strcmp(command, "detect") == 0)
        for (char *file = strtok_r(NULL, " \n", &rest); file; file = strtok_r(NULL, " \n", &rest))
            detect(o, file, strtof(word, NULL));
    else if (command && strcmp(command, "memory") == 0)
        memory();
    else
        usage("commands: forward N, detect T FILE..., memory");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static char line[MAX_LINE];
    struct ours o;

    nn_setup_blas(argv);
    if (argc == 2 && strcmp(argv[1], "--engines") == 0)
        return list_engines();
    if (argc != 4)
        usage("MODEL ENGINE FOLDERS");
    or_die(log_init("bench", "error"));
    open_ours(&o, argv[1], argv[2], argv[3]);
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin))
        answer(&o, line);
    engine_free(o.engine);
    model_free(o.model);
    free(o.input);
    return 0;
}
