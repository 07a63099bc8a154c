/* explain.c - POST /explain: what in a text made its label, through ClassifyService; the answer's fields are those of
 * ExplainResponse. */
#include "bloginfer/v1/classify.pb-c.h"
#include "gateway.h"
#include "json.h"
#include "pbjson/pbjson.h"

#define DEFAULT_NGRAMS 20
#define MOST_NGRAMS    1000

struct status explain_post(struct http_call *call)
{
    struct gateway *g = http_service(call);
    Bloginfer__V1__ExplainRequest req = BLOGINFER__V1__EXPLAIN_REQUEST__INIT;
    const char *text = NULL, *task = NULL, *version = NULL;
    double ngrams = DEFAULT_NGRAMS;
    const void *out;
    json_t *in = NULL;
    size_t size;
    const char *body = http_body(call, &size);
    struct status st = json_parse(body, size, &in);

    if (!st.code)
        st = json_text(in, "text", PREDICT_MAX_TEXT, true, &text);
    if (!st.code)
        st = json_text(in, "task", 64, false, &task);
    if (!st.code)
        st = json_text(in, "version", 64, false, &version);
    if (!st.code)
        st = json_number(in, "max_ngrams", 1, MOST_NGRAMS, DEFAULT_NGRAMS, &ngrams);
    if (!st.code) {
        req.text = (char *)text;
        req.task = task ? (char *)task : "";
        req.version = version ? (char *)version : "";
        req.max_ngrams = (uint32_t)ngrams;
        if (backend_call(&g->inference, call, g->deadline_ms, &bloginfer__v1__classify_service__descriptor, "Explain",
                         &req, &out))
            json_reply(call, 200, pbjson_encode(out));
    }
    json_decref(in);
    return st;
}
