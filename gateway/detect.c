/* detect.c - POST /api/object_detection: a picture to the objects in it, and GET /api/detectors: the models that find
 * them; through DetectService. */
#include "bloginfer/v1/detect.pb-c.h"
#include "gateway.h"
#include "json.h"
#include "picture.h"

#define FORM_ROOM 8192 /* of a body, for what is not the picture */

size_t detect_max_body(int64_t max_image_bytes)
{
    return ((size_t)max_image_bytes + 2) / 3 * 4 + FORM_ROOM;
}

static json_t *objects_json(const Bloginfer__V1__DetectResponse *rep)
{
    json_t *objects = json_array();

    for (size_t i = 0; i < rep->n_objects; i++) {
        const Bloginfer__V1__DetectedObject *o = rep->objects[i];
        static const Bloginfer__V1__Box none = BLOGINFER__V1__BOX__INIT;
        const Bloginfer__V1__Box *box = o->box ? o->box : &none;

        json_array_append_new(
            objects, json_pack("{s:s, s:o, s:{s:o, s:o, s:o, s:o}}", "label", o->label, "accuracy",
                               json_rounded((double)o->confidence, 6), "rectangle", "height",
                               json_rounded((double)box->height, 2), "left", json_rounded((double)box->left, 2), "top",
                               json_rounded((double)box->top, 2), "width", json_rounded((double)box->width, 2)));
    }
    return objects;
}

static json_t *ms(uint64_t us)
{
    return json_rounded((double)us / 1e3, 3);
}

/* What an answer has besides the objects when it was asked for. */
static void add_timing(json_t *answer, const Bloginfer__V1__DetectResponse *rep)
{
    static const Bloginfer__V1__DetectTiming none = BLOGINFER__V1__DETECT_TIMING__INIT;
    const Bloginfer__V1__DetectTiming *t = rep->timing ? rep->timing : &none;

    json_object_set_new(answer, "model", json_string(rep->model));
    json_object_set_new(
        answer, "size",
        json_pack("{s:I, s:I}", "height", (json_int_t)rep->image_height, "width", (json_int_t)rep->image_width));
    json_object_set_new(answer, "timing_ms",
                        json_pack("{s:o, s:o, s:o, s:o, s:o}", "queue", ms(t->queue_us), "decode", ms(t->decode_us),
                                  "resize", ms(t->resize_us), "forward", ms(t->forward_us), "boxes", ms(t->boxes_us)));
}

/* Of a request that waits for its turn in the detector only the message is left here. */
static struct status detect(struct http_call *call, const struct picture *p)
{
    Bloginfer__V1__DetectRequest req = BLOGINFER__V1__DETECT_REQUEST__INIT;
    struct gateway *g = http_service(call);
    struct rpc_message *message;
    const void *out;

    req.id = (char *)p->id;
    req.model = (char *)(p->model ? p->model : "");
    req.threshold = (float)p->threshold;
    req.want_timing = p->timing;
    req.image = (ProtobufCBinaryData){p->size, p->data};
    struct status st = rpc_message_new(&message, &req);
    if (st.code)
        return st;
    http_drop_body(call, rpc_message_size(message));
    if (backend_call_message(&g->detector, call, g->deadline_ms, &bloginfer__v1__detect_service__descriptor, "Detect",
                             message, &out)) {
        json_t *answer = json_pack("{s:s, s:o}", "id", p->id, "objects", objects_json(out));

        if (p->timing)
            add_timing(answer, out);
        json_reply(call, 200, answer);
    }
    rpc_message_free(message);
    return st;
}

struct status detect_post(struct http_call *call)
{
    struct gateway *g = http_service(call);
    struct picture p;
    struct status st = picture_read(call, (size_t)g->max_image_bytes, &p);

    return st.code || !p.data ? st : detect(call, &p);
}

static json_t *detector_json(const Bloginfer__V1__DescribeDetectorResponse *m)
{
    return json_pack("{s:s, s:b, s:b, s:s, s:s, s:o, s:{s:I, s:I}, s:I, s:s, s:o, s:s, s:s, s:s, s:I}", "model",
                     m->model, "default", m->is_default, "ready", m->ready, "engine", m->engine, "precision",
                     m->precision, "threshold", json_rounded((double)m->default_threshold, 4), "input", "height",
                     (json_int_t)m->input_height, "width", (json_int_t)m->input_width, "classes",
                     (json_int_t)m->n_labels, "resize", m->resize, "forward_ms", json_rounded((double)m->forward_ms, 3),
                     "description", m->description, "problem", m->problem, "sha256", m->weights_sha256, "loaded_at_ms",
                     (json_int_t)m->loaded_at_ms);
}

struct status detectors_get(struct http_call *call)
{
    static const Bloginfer__V1__ListDetectorsRequest req = BLOGINFER__V1__LIST_DETECTORS_REQUEST__INIT;
    struct gateway *g = http_service(call);
    const Bloginfer__V1__ListDetectorsResponse *rep;
    json_t *models;
    const void *out;

    if (!backend_call(&g->detector, call, g->deadline_ms, &bloginfer__v1__detect_service__descriptor, "ListDetectors",
                      &req, &out))
        return status_ok();
    rep = out;
    models = json_array();
    for (size_t i = 0; i < rep->n_models; i++)
        json_array_append_new(models, detector_json(rep->models[i]));
    json_reply(call, 200, json_pack("{s:o}", "detectors", models));
    return status_ok();
}
