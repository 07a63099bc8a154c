/* predict.c - POST /predict: one text to its label, through ClassifyService. */
#include "bloginfer/v1/classify.pb-c.h"
#include "gateway.h"
#include "json.h"

static struct status classify(struct http_call *call, const char *text, const char *task)
{
    struct gateway *g = http_service(call);
    Bloginfer__V1__ClassifyRequest req = BLOGINFER__V1__CLASSIFY_REQUEST__INIT;
    const Bloginfer__V1__ClassifyResponse *rep;
    const void *out;
    char *texts[] = {(char *)text};

    req.task = task ? (char *)task : "";
    req.texts = texts;
    req.n_texts = 1;
    if (!backend_call(&g->inference, call, g->deadline_ms, &bloginfer__v1__classify_service__descriptor, "Classify",
                      &req, &out))
        return status_ok();
    rep = out;
    if (rep->n_results != 1)
        return status_errorf(ST_INTERNAL, "inference answered %zu results for one text", rep->n_results);
    json_reply(call, 200,
               json_pack("{s:s, s:o, s:I}", "label", rep->results[0]->label, "prob",
                         json_rounded((double)rep->results[0]->prob, 6), "version", (json_int_t)rep->version));
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
        st = classify(call, text, task);
    json_decref(in);
    return st;
}
