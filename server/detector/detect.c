/* detect.c - the handlers; all work and all limits of pictures are in detector.c. */
#include "detect.h"

#include "bloginfer/v1/detect.pb-c.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ID       256
#define MESSAGE_ROOM 4096 /* of a request beside its image */

static struct status out_of_room(void)
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

static struct status fill_objects(Bloginfer__V1__DetectResponse *rep, const struct detection *found,
                                  const struct model *model, struct arena *arena)
{
    size_t n = found->n_objects;
    struct object *objects = arena_zalloc(arena, n ? n : 1, sizeof *objects);

    rep->objects = arena_zalloc(arena, n ? n : 1, sizeof(Bloginfer__V1__DetectedObject *));
    if (!objects || !rep->objects)
        return out_of_room();
    for (size_t i = 0; i < n; i++) {
        fill_object(&objects[i], &found->objects[i], model->labels);
        rep->objects[i] = &objects[i].message;
    }
    rep->n_objects = n;
    return status_ok();
}

static struct status handle_detect(struct rpc_call *call, const void *in, void *out)
{
    struct detect_service *service = rpc_service(call);
    const Bloginfer__V1__DetectRequest *req = in;
    Bloginfer__V1__DetectResponse *rep = out;

    if (strlen(req->id) > MAX_ID)
        return status_errorf(ST_INVALID, "id has %zu bytes, at most %d are taken", strlen(req->id), MAX_ID);
    if (rpc_cancelled(call))
        return status_errorf(ST_CANCELLED, "nobody waits for the answer any more");
    struct detection *found = arena_alloc(rpc_arena(call), sizeof *found);
    if (!found)
        return out_of_room();
    struct status st =
        detector_detect(service->detector, req->image.data, req->image.len, req->threshold, rpc_deadline(call), found);
    if (st.code)
        return st;
    const struct model *model = detector_model(service->detector);
    rep->id = req->id;
    rep->model = model->name;
    rep->image_width = found->width;
    rep->image_height = found->height;
    return fill_objects(rep, found, model, rpc_arena(call));
}

static struct status handle_describe(struct rpc_call *call, const void *in, void *out)
{
    struct detect_service *service = rpc_service(call);
    const struct model *model = detector_model(service->detector);
    Bloginfer__V1__DescribeDetectorResponse *rep = out;

    (void)in;
    if (!model)
        return detector_ready(service->detector);
    const struct cfg *c = model->network->cfg;
    rep->model = model->name;
    rep->input_width = (uint32_t)c->input.w;
    rep->input_height = (uint32_t)c->input.h;
    rep->labels = model->labels;
    rep->n_labels = c->heads[0].n_classes;
    rep->default_threshold = detector_threshold(service->detector);
    rep->weights_sha256 = (char *)model->sha256;
    rep->description = (char *)model->description;
    return status_ok();
}

struct status detect_service_add(struct rpc_server *server, struct detect_service *service, struct detector *detector,
                                 int64_t max_image_bytes)
{
    size_t max_request = (size_t)max_image_bytes + MESSAGE_ROOM;

    service->detector = detector;
    service->methods[0] = (struct rpc_method)RPC_UNARY("Detect", handle_detect, .max_request = max_request,
                                                       .arena_limit = 2 * max_request + (1 << 20));
    service->methods[1] =
        (struct rpc_method)RPC_UNARY("DescribeDetector", handle_describe, .max_request = MESSAGE_ROOM);
    return rpc_server_add(server, &bloginfer__v1__detect_service__descriptor, service->methods,
                          COUNT_OF(service->methods), service);
}

void detect_service_show(struct rpc_server *server, const struct detect_service *service)
{
    bool serving = detector_ready(service->detector).code == ST_OK;

    rpc_server_set_serving(server, DETECT_SERVICE, serving);
    rpc_server_set_serving(server, "", serving);
}
