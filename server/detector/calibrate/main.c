/* main.c - bloginfer-calibrate MODEL FOLDER: writes MODEL.ranges beside the model's weights. */
#include "calibrate.h"
#include "nn/nn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct settings {
    char *models, *data, *home, *out, *log_level;
};

#define AT(member) offsetof(struct settings, member)
static const struct config_option options[] = {
    {"models", CONFIG_STR, AT(models), "",
     "folders with .cfg and .weights files, separated by colons; searched before DATA/models and HOME/data/models", 0,
     0, NULL},
    {"data", CONFIG_STR, AT(data), "", "a folder of own data (with a folder models)", 0, 0, NULL},
    {"home", CONFIG_STR, AT(home), "var", "the folder that ./bloginfer fetch fills", 0, 0, NULL},
    {"out", CONFIG_STR, AT(out), "", "the file to write; empty: MODEL.ranges in HOME/data/models", 0, 0, NULL},
    {"log-level", CONFIG_ENUM, AT(log_level), "warn", "least important line to log", 0, 0, "debug|info|warn|error"},
};

static void told(const char *what, size_t done, size_t of)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%-24s %4zu of %zu%s", what, done, of, done == of ? "\n" : "");
    else if (done == of)
        fprintf(stderr, "%s: %zu\n", what, of);
}

static void print_summary(const struct calibration *cal, const struct cfg *c)
{
    printf("%5s %6s %9s %10s %10s %10s %10s %8s\n", "layer", "size", "channels", "min", "max", "low", "high", "error");
    for (size_t i = 0; i < c->n_layers; i++) {
        const struct range *r = &cal->ranges.layers[i];
        const struct cfg_layer *l = &c->layers[i];
        if (l->kind == CFG_CONVOLUTION)
            printf("%5zu %4zux%zu %9zu %10.4g %10.4g %10.4g %10.4g %7.3f%%%s\n", i, l->size, l->size, l->out.c,
                   (double)r->min, (double)r->max, (double)r->low, (double)r->high, 100 * (double)cal->errors[i],
                   r->keep_float ? " float" : "");
    }
}

static char *search_path(const struct settings *s)
{
    return xasprintf("%s%s%s%s%s/data/models:/usr/share/darknet/cfg:/usr/share/darknet/data", s->models,
                     *s->models ? ":" : "", s->data, *s->data ? "/models:" : "", s->home);
}

static struct status write_ranges(const struct calibration *cal, const char *model, const char *file)
{
    struct buf text = BUF_INIT(RANGES_MAX_BYTES);

    buf_printf(&text, "# What the layers of %s put out over %zu pictures, for the quantised engines; bloginfer %s.\n",
               model, cal->ranges.n_images, BLOGINFER_VERSION);
    ranges_print(&cal->ranges, &text);
    struct status st = fs_write_atomic(file, text.data, text.size);
    buf_fini(&text);
    return st;
}

static struct status run(const struct settings *s, const char *name, const char *folder)
{
    char *path = search_path(s),
         *file = *s->out ? xstrdup(s->out) : xasprintf("%s/data/models/%s.ranges", s->home, name);
    struct calibration *cal = xcalloc(1, sizeof *cal);
    struct pictures pictures = {NULL};
    struct model *m = NULL;
    struct status st = loader_load(&m, name, path);

    if (!st.code)
        st = pictures_open(&pictures, folder, m->network->cfg->input);
    if (!st.code)
        st = calibrate(cal, m, &pictures, told);
    if (!st.code)
        st = write_ranges(cal, name, file);
    if (!st.code) {
        print_summary(cal, m->network->cfg);
        printf("%zu pictures; written to %s\n", pictures.n, file);
    }
    pictures_close(&pictures);
    model_free(m);
    free(cal);
    free(file);
    free(path);
    return st;
}

int main(int argc, char **argv)
{
    static const struct config_program program = {"bloginfer-calibrate", "measures a model's ranges over pictures",
                                                  "MODEL FOLDER"};
    struct settings s = {0};
    const struct config_part parts[] = {{options, COUNT_OF(options), &s}};

    nn_setup_blas(argv);
    or_die(config_load(&program, parts, COUNT_OF(parts), &argc, argv));
    or_die(log_init("calibrate", s.log_level));
    if (argc != 3)
        or_die(status_errorf(ST_INVALID, "two words are needed: the model's name and a folder of pictures"));
    or_die(run(&s, argv[1], argv[2]));
    config_free(parts, COUNT_OF(parts));
    return 0;
}
