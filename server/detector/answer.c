/* answer.c - see answer.h. */
#include "answer.h"

#include <string.h>

static struct status no_room(void)
{
    return status_errorf(ST_EXHAUSTED, "the answer does not fit into the call's memory");
}

struct object {
    Bloginfer__V1__DetectedObject message;
    Bloginfer__V1__Box box;
};

static void fill_object(struct object *to, const struct box_object *from, char **labels)
{
    bloginfer__v1__detected_object__init(&to->message);
    bloginfer__v1__box__init(&to->box);
    to->box.left = from->left;
    to->box.top = from->top;
    to->box.width = from->width;
    to->box.height = from->height;
    to->message.box = &to->box;
    to->message.label = labels[from->class_id];
    to->message.confidence = from->confidence;
}

static bool fill_objects(Bloginfer__V1__DetectResponse *rep, const struct detection *found, const struct model *model,
                         struct arena *arena)
{
    size_t n = found->n_objects;
    struct object *objects = arena_alloc(arena, (n ? n : 1) * sizeof *objects);

    rep->objects = arena_alloc(arena, (n ? n : 1) * sizeof *rep->objects);
    if (!objects || !rep->objects)
        return false;
    for (size_t i = 0; i < n; i++) {
        fill_object(&objects[i], &found->objects[i], model->labels);
        rep->objects[i] = &objects[i].message;
    }
    rep->n_objects = n;
    return true;
}

static bool fill_timing(Bloginfer__V1__DetectResponse *rep, const struct detection *found, struct arena *arena)
{
    Bloginfer__V1__DetectTiming *t = arena_alloc(arena, sizeof *t);

    if (!t)
        return false;
    bloginfer__v1__detect_timing__init(t);
    t->queue_us = (uint64_t)(1e6 * found->seconds[STAGE_QUEUE]);
    t->decode_us = (uint64_t)(1e6 * found->seconds[STAGE_DECODE]);
    t->resize_us = (uint64_t)(1e6 * found->seconds[STAGE_RESIZE]);
    t->forward_us = (uint64_t)(1e6 * found->seconds[STAGE_FORWARD]);
    t->boxes_us = (uint64_t)(1e6 * found->seconds[STAGE_BOXES]);
    rep->timing = t;
    return true;
}

struct status answer_fill(Bloginfer__V1__DetectResponse *rep, const struct served *model, const struct detection *found,
                          bool want_timing, struct arena *arena)
{
    rep->model = model->model->name;
    rep->image_width = found->width;
    rep->image_height = found->height;
    if (!fill_objects(rep, found, model->model, arena) || (want_timing && !fill_timing(rep, found, arena)))
        return no_room();
    return status_ok();
}

/* Copies: the answer may outlive the version. */
static bool describe_served(Bloginfer__V1__DescribeDetectorResponse *rep, const struct served *s, struct arena *arena)
{
    const struct cfg *c = s->model->network->cfg;
    size_t n = c->heads[0].n_classes;
    bool ok = (rep->labels = arena_alloc(arena, n * sizeof *rep->labels)) != NULL;

    for (size_t i = 0; ok && i < n; i++)
        ok = (rep->labels[i] = arena_strdup(arena, s->model->labels[i])) != NULL;
    rep->n_labels = ok ? n : 0;
    rep->input_width = (uint32_t)c->input.w;
    rep->input_height = (uint32_t)c->input.h;
    rep->default_threshold = s->threshold;
    rep->weights_sha256 = arena_strdup(arena, s->model->sha256);
    rep->description = arena_strdup(arena, s->model->description);
    rep->engine = (char *)s->kind->name;
    rep->precision = (char *)served_precision(s);
    rep->forward_ms = (float)(1e3 * s->forward_seconds);
    rep->loaded_at_ms = s->loaded_at / CLOCK_MS;
    return ok && rep->weights_sha256 && rep->description;
}

struct status answer_describe(Bloginfer__V1__DescribeDetectorResponse *rep, const struct models_entry *e,
                              const struct stages_config *stages, struct arena *arena)
{
    bool ok = !e->served || describe_served(rep, e->served, arena);

    rep->model = (char *)e->name;
    rep->resize = (char *)resize_mode_name(stages->resize);
    rep->is_default = e->is_default;
    rep->ready = e->served != NULL;
    if (e->problem.code)
        rep->problem = arena_strdup(arena, e->problem.msg);
    return ok && rep->problem ? status_ok() : no_room();
}
