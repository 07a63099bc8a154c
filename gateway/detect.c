/* detect.c - POST /api/object_detection: a picture in base64 to the objects in it, through DetectService. */
#include "base64.h"
#include "bloginfer/v1/detect.pb-c.h"
#include "gateway.h"
#include "json.h"

#include <string.h>

#define MAX_ID       256
#define MAX_DATA_URL 64 /* "data:image/jpeg;base64," and the like */

size_t detect_max_body(int64_t max_image_bytes)
{
    return (size_t)max_image_bytes / 3 * 4 + 8192;
}

/* Behind "data:...;base64,", which browsers put before it. */
static const char *skip_data_url(const char *text)
{
    static const char mark[] = ";base64,";
    const char *at = strncmp(text, "data:", 5) ? NULL : strstr(text, mark);

    return at && at - text < MAX_DATA_URL ? at + sizeof mark - 1 : text;
}

static struct status too_large(struct http_call *call)
{
    http_reply_error(call, 413, "\"image\" is over the limit of this gateway", "RESOURCE_EXHAUSTED");
    return status_ok();
}

/* The picture of the request, decoded into the arena of the call; none when there is an answer already. */
static struct status read_image(struct http_call *call, const json_t *in, ProtobufCBinaryData *image)
{
    struct gateway *g = http_service(call);
    const char *text;
    struct status st = json_text(in, "image", SIZE_MAX, true, &text);
    size_t size;

    if (st.code)
        return st;
    text = skip_data_url(text);
    size = strlen(text);
    if (!size)
        return status_errorf(ST_INVALID, "\"image\" is empty");
    if (BASE64_DECODED_MAX(size) > (size_t)g->max_image_bytes + 2)
        return too_large(call);
    image->data = arena_alloc(http_arena(call), BASE64_DECODED_MAX(size) + 1);
    if (!image->data)
        return status_errorf(ST_EXHAUSTED, "\"image\" does not fit in memory");
    st = base64_decode(text, size, image->data, &image->len);
    if (!st.code && image->len > (size_t)g->max_image_bytes) {
        image->len = 0;
        return too_large(call);
    }
    return status_prefix(st, "\"image\"");
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

static void detect(struct http_call *call, Bloginfer__V1__DetectRequest *req)
{
    struct gateway *g = http_service(call);
    const void *out;

    if (backend_call(&g->detector, call, g->deadline_ms, &bloginfer__v1__detect_service__descriptor, "Detect", req,
                     &out))
        json_reply(call, 200, json_pack("{s:s, s:o}", "id", req->id, "objects", objects_json(out)));
}

struct status detect_post(struct http_call *call)
{
    Bloginfer__V1__DetectRequest req = BLOGINFER__V1__DETECT_REQUEST__INIT;
    const char *body, *id;
    double threshold = 0;
    json_t *in = NULL;
    struct status st;
    size_t size;

    body = http_body(call, &size);
    st = json_parse(body, size, &in);
    if (!st.code)
        st = json_text(in, "id", MAX_ID, true, &id);
    if (!st.code)
        st = json_number(in, "threshold", 0.001, 1, 0, &threshold);
    if (!st.code)
        st = read_image(call, in, &req.image);
    if (!st.code && req.image.len) {
        req.id = arena_strdup(http_arena(call), id);
        req.threshold = (float)threshold;
        json_decref(in); /* a picture more of memory, before the long wait */
        in = NULL;
        if (req.id)
            detect(call, &req);
        else
            st = status_errorf(ST_EXHAUSTED, "\"id\" does not fit in memory");
    }
    json_decref(in);
    return st;
}
