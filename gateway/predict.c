/* predict.c - POST /predict and /{model}/predict: one text to its label, through ClassifyService. */
#include "bloginfer/v1/classify.pb-c.h"
#include "gateway.h"
#include "json.h"

static void reply(struct http_call *call, const Bloginfer__V1__ClassifyResponse *rep, const char *model)
{
    const Bloginfer__V1__Classification *one = rep->results[0];
    json_t *body = json_object();

    if (model)
        json_object_set_new(body, "output", json_string(one->label));
    json_object_set_new(body, "label", json_string(one->label));
    json_object_set_new(body, "prob", json_rounded((double)one->prob, 6));
    json_object_set_new(body, "version", json_integer((json_int_t)rep->version));
    if (model)
        json_object_set_new(body, "model", json_string(model));
    json_reply(call, 200, body);
}

/* False: the request has been answered. */
static bool ask(struct http_call *call, const Bloginfer__V1__ClassifyRequest *req, bool named, const void **rep)
{
    struct gateway *g = http_service(call);
    const ProtobufCServiceDescriptor *service = &bloginfer__v1__classify_service__descriptor;
    struct status st = backend_ask(&g->inference, call, g->deadline_ms, service, "Classify", req, rep);

    if (named && st.code == ST_NOT_FOUND) {
        http_reply_error(call, 400, "Invalid model!", "INVALID_ARGUMENT");
        return false;
    }
    return backend_answer(call, &st);
}

/* model: of the path; NULL: there is none. */
static struct status classify(struct http_call *call, const char *text, const char *task, const char *model)
{
    Bloginfer__V1__ClassifyRequest req = BLOGINFER__V1__CLASSIFY_REQUEST__INIT;
    const Bloginfer__V1__ClassifyResponse *rep;
    char *texts[] = {(char *)text};
    const void *out;

    req.task = task ? (char *)task : "";
    req.texts = texts;
    req.n_texts = 1;
    if (!ask(call, &req, model != NULL, &out))
        return status_ok();
    rep = out;
    if (rep->n_results != 1)
        return status_errorf(ST_INTERNAL, "inference answered %zu results for one text", rep->n_results);
    reply(call, rep, model);
    return status_ok();
}

struct status predict_post(struct http_call *call)
{
    const char *body, *text, *task;
    json_t *in = NULL;
    struct status st;
    size_t size;

    body = http_body(call, &size);
    st = json_parse(body, size, &in);
    if (!st.code)
        st = json_text(in, "text", PREDICT_MAX_TEXT, true, &text);
    if (!st.code)
        st = json_text(in, "task", 64, false, &task);
    if (!st.code)
        st = classify(call, text, task, NULL);
    json_decref(in);
    return st;
}

struct status predict_model_post(struct http_call *call)
{
    const char *body, *input = NULL, *text = NULL, *model = http_param(call, "model");
    json_t *in = NULL;
    struct status st;
    size_t size;

    body = http_body(call, &size);
    st = json_parse(body, size, &in);
    if (!st.code)
        st = json_text(in, "input", PREDICT_MAX_TEXT, false, &input);
    if (!st.code)
        st = json_text(in, "text", PREDICT_MAX_TEXT, false, &text);
    if (!st.code && !input == !text)
        st = status_errorf(ST_INVALID, "the text has to be there once, as \"input\" or as \"text\"");
    if (!st.code)
        st = classify(call, input ? input : text, model, model);
    json_decref(in);
    return st;
}
