/* boxes.c - one candidate for every box and class over the threshold, as darknet does it. The exponentials are
 * only taken where the objectness alone is over the threshold, which in a photo is in a few cells of thousands. */
#include "boxes.h"

#include <math.h>
#include <stdlib.h>

#define MAX_CANDIDATES 200000 /* over the threshold; a picture that has more is noise */
#define MAX_COMPARED   2048   /* go into the suppression, which is quadratic */

static float logistic(float x)
{
    return 1 / (1 + expf(-x));
}

/* One anchor's box in one cell: cell[k * plane] are x, y, w, h, objectness and the classes. */
struct cell {
    const float *data;
    size_t plane;
    size_t x, y;
    float anchor_w, anchor_h; /* parts of the input */
    float scale_xy;
};

/* Where in its cell the middle is, 0..1, or a little outside of it with YOLO 4's scale. */
static float middle(const struct cell *cell, float raw)
{
    return cell->scale_xy * logistic(raw) - (cell->scale_xy - 1) / 2;
}

static struct box_object cell_box(const struct cell *cell, struct cfg_shape grid, const struct boxes_request *r)
{
    float width = r->width / r->frame.width, height = r->height / r->frame.height; /* of the whole input */
    float cx = (((float)cell->x + middle(cell, cell->data[0])) / (float)grid.w - r->frame.left) * width;
    float cy = (((float)cell->y + middle(cell, cell->data[cell->plane])) / (float)grid.h - r->frame.top) * height;
    float w = expf(fminf(cell->data[2 * cell->plane], 20)) * cell->anchor_w * width;
    float h = expf(fminf(cell->data[3 * cell->plane], 20)) * cell->anchor_h * height;

    return (struct box_object){.left = cx - w / 2, .top = cy - h / 2, .width = w, .height = h};
}

/* The divisor that makes exponentials of a cell's classes, less the largest, add up to 1; *largest is that. */
static float softmax_sum(const struct cell *cell, size_t n_classes, float *largest)
{
    const float *classes = cell->data + 5 * cell->plane;
    float sum = 0;

    *largest = classes[0];
    for (size_t k = 1; k < n_classes; k++)
        *largest = fmaxf(*largest, classes[k * cell->plane]);
    for (size_t k = 0; k < n_classes; k++)
        sum += expf(classes[k * cell->plane] - *largest);
    return sum;
}

static void find_in_cell(const struct cell *cell, const struct cfg_head *head, struct cfg_shape grid,
                         const struct boxes_request *r, struct vec *found)
{
    float objectness = logistic(cell->data[4 * cell->plane]);

    if (!(objectness >= r->threshold))
        return;
    struct box_object box = cell_box(cell, grid, r);
    float largest = 0, sum = head->softmax ? softmax_sum(cell, head->n_classes, &largest) : 1;
    for (size_t k = 0; k < head->n_classes; k++) {
        float raw = cell->data[(5 + k) * cell->plane];
        float confidence = objectness * (head->softmax ? expf(raw - largest) / sum : logistic(raw));
        struct box_object *to = confidence >= r->threshold ? vec_push(found) : NULL;
        if (to) {
            *to = box;
            to->confidence = confidence;
            to->class_id = (uint32_t)k;
        }
    }
}

static void find_in_head(const struct cfg *c, size_t index, const float *data, const struct boxes_request *r,
                         struct vec *found)
{
    const struct cfg_head *head = &c->heads[index];
    struct cfg_shape grid = c->layers[c->head_layer[index]].out;
    size_t plane = grid.h * grid.w;
    float unit_w = 1 / (float)(head->region ? grid.w : c->input.w);
    float unit_h = 1 / (float)(head->region ? grid.h : c->input.h);

    for (size_t a = 0; a < head->n_mask; a++) {
        const float *anchor = head->anchors + 2 * head->mask[a], *planes = data + a * (5 + head->n_classes) * plane;
        for (size_t i = 0; i < plane; i++) {
            struct cell cell = {planes + i,         plane,         i % grid.w, i / grid.w, anchor[0] * unit_w,
                                anchor[1] * unit_h, head->scale_xy};
            find_in_cell(&cell, head, grid, r, found);
        }
    }
}

/* By falling confidence; what is equal by class and place, so that the order never depends on the sort. */
static int compare(const void *pa, const void *pb)
{
    const struct box_object *a = pa, *b = pb;

    if (a->confidence != b->confidence)
        return a->confidence > b->confidence ? -1 : 1;
    if (a->class_id != b->class_id)
        return a->class_id < b->class_id ? -1 : 1;
    if (a->left != b->left)
        return a->left < b->left ? -1 : 1;
    return a->top < b->top ? -1 : a->top > b->top;
}

float boxes_overlap(const struct box_object *a, const struct box_object *b)
{
    float w = fminf(a->left + a->width, b->left + b->width) - fmaxf(a->left, b->left);
    float h = fminf(a->top + a->height, b->top + b->height) - fmaxf(a->top, b->top);

    if (w <= 0 || h <= 0)
        return 0;
    float both = w * h;
    return both / (a->width * a->height + b->width * b->height - both);
}

/* False when nothing of it lies in the picture. */
static bool clip(struct box_object *o, float width, float height)
{
    float right = fminf(o->left + o->width, width), bottom = fminf(o->top + o->height, height);

    o->left = fmaxf(o->left, 0);
    o->top = fmaxf(o->top, 0);
    o->width = right - o->left;
    o->height = bottom - o->top;
    return o->width > 0 && o->height > 0;
}

static bool is_suppressed(const struct box_object *kept, size_t n, const struct box_object *o, float nms)
{
    for (size_t i = 0; i < n; i++)
        if (kept[i].class_id == o->class_id && boxes_overlap(&kept[i], o) > nms)
            return true;
    return false;
}

size_t boxes_find(const struct cfg *c, const float *const *heads, const struct boxes_request *r,
                  struct box_object *objects)
{
    struct vec found = VEC_INIT(sizeof(struct box_object), MAX_CANDIDATES);
    size_t n = 0;

    for (size_t i = 0; i < c->n_heads; i++)
        find_in_head(c, i, heads[i], r, &found);
    if (found.n > 1)
        qsort(found.data, found.n, sizeof(struct box_object), compare);
    for (size_t i = 0; i < found.n && i < MAX_COMPARED && n < BOXES_MAX; i++) {
        const struct box_object *o = VEC_AT(&found, struct box_object, i);
        if (!is_suppressed(objects, n, o, r->nms))
            objects[n++] = *o;
    }
    vec_fini(&found);
    size_t n_inside = 0;
    for (size_t i = 0; i < n; i++)
        if (clip(&objects[i], r->width, r->height))
            objects[n_inside++] = objects[i];
    return n_inside;
}
