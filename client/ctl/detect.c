/* detect.c - bloginferctl detect: the objects in a picture. */
#include "bloginfer/v1/detect.pb-c.h"
#include "ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMAGE_LIMIT ((size_t)64 << 20) /* the detector's own limit is lower */
#define ID_MAX      256

struct settings {
    double threshold;
    char *model;
    bool timing;
};

static struct settings settings;

static const struct config_option options[] = {
    {"threshold", CONFIG_FLOAT, offsetof(struct settings, threshold), "0",
     "lowest confidence that is shown, 0.001 to 1; 0: the model's own", 0, 1},
    {"model", CONFIG_STR, offsetof(struct settings, model), "", "name of the model; empty: the detector's default"},
    {"timing", CONFIG_BOOL, offsetof(struct settings, timing), "false", "also shows how long each stage took"},
};

static void print_objects(const Bloginfer__V1__DetectResponse *rep)
{
    struct table *t = table_new("LABEL", ">CONFIDENCE", ">LEFT", ">TOP", ">WIDTH", ">HEIGHT", NULL);

    for (size_t i = 0; i < rep->n_objects; i++) {
        const Bloginfer__V1__DetectedObject *o = rep->objects[i];

        table_cell(t, "%s", o->label);
        table_cell(t, "%.4f", o->confidence);
        table_cell(t, "%.0f", o->box ? o->box->left : 0);
        table_cell(t, "%.0f", o->box ? o->box->top : 0);
        table_cell(t, "%.0f", o->box ? o->box->width : 0);
        table_cell(t, "%.0f", o->box ? o->box->height : 0);
    }
    table_print(t, stdout, 0);
    char *model = text_clean(rep->model);
    printf("%zu objects in %u x %u pixels by %s\n", rep->n_objects, rep->image_width, rep->image_height, model);
    free(model);
    if (rep->timing)
        printf("%.2f ms in the queue, decoding %.2f, resizing %.2f, network %.2f, boxes %.2f\n",
               (double)rep->timing->queue_us / 1e3, (double)rep->timing->decode_us / 1e3,
               (double)rep->timing->resize_us / 1e3, (double)rep->timing->forward_us / 1e3,
               (double)rep->timing->boxes_us / 1e3);
}

static int detect(struct ctl *ctl, int n_words, char **words)
{
    Bloginfer__V1__DetectRequest req = BLOGINFER__V1__DETECT_REQUEST__INIT;
    const Bloginfer__V1__DetectResponse *rep;
    const char *slash = strrchr(words[0], '/');
    char id[ID_MAX], *image;
    size_t size;
    struct status st = fs_read(words[0], IMAGE_LIMIT, &image, &size);

    (void)n_words;
    if (st.code)
        return ctl_fail(st);
    snprintf(id, sizeof id, "%s", slash ? slash + 1 : words[0]);
    req.id = id;
    req.image.data = (uint8_t *)image;
    req.image.len = size;
    req.threshold = (float)settings.threshold;
    req.model = settings.model;
    req.want_timing = settings.timing;
    st = ctl_call(ctl, CTL_DETECTOR, &bloginfer__v1__detect_service__descriptor, "Detect", &req, (const void **)&rep);
    free(image);
    if (st.code)
        return ctl_fail(st);
    if (ctl->settings.json)
        return ctl_print_json(&rep->base);
    print_objects(rep);
    return CTL_OK;
}

const struct ctl_command ctl_detect = {
    .name = "detect",
    .words = "FILE",
    .summary = "finds the objects in a JPEG, PNG, WebP or GIF file",
    .details = "Boxes are in pixels of the picture, from its top left corner.",
    .min_words = 1,
    .max_words = 1,
    .run = detect,
    .options = options,
    .n_options = COUNT_OF(options),
    .settings = &settings,
};
