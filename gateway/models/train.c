/* train.c - POST /api/train: asks the trainer, the only launcher of workers, over HTTP. libcurl wants more stack than a
 * connection's thread has left, so that each of these rare requests gets a thread for as long as it takes. */
#include "bloginfer/v1/federation.pb-c.h"
#include "caller.h"
#include "json.h"
#include "models.h"
#include "pbjson/pbjson.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT_ONCE    4
#define STACK      ((size_t)1 << 20)
#define ANSWER_MAX ((size_t)1 << 20)

struct order {
    const char *url, *body, *request_id;
    int64_t timeout_ms;
    CURLcode result;
    long http_code;
    struct buf answer;
};

static size_t take(char *data, size_t size, size_t n, void *answer)
{
    return buf_add(answer, data, size * n) ? size * n : 0;
}

static void perform(struct order *o, CURL *curl, struct curl_slist *headers)
{
    curl_easy_setopt(curl, CURLOPT_URL, o->url);
    curl_easy_setopt(curl, CURLOPT_DEFAULT_PROTOCOL, "http");
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)o->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, o->body);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &o->answer);
    o->result = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &o->http_code);
}

static void *order_thread(void *arg)
{
    struct order *o = arg;
    char id[96];
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");

    snprintf(id, sizeof id, "X-Request-Id: %s", o->request_id);
    if (headers)
        curl_slist_append(headers, id);
    o->result = CURLE_FAILED_INIT;
    if (curl && headers)
        perform(o, curl, headers);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return NULL;
}

/* ---- the answer ---- */

static struct status refusal(long code, const json_t *body, int *http_code)
{
    static const struct {
        long http;
        enum code code;
    } known[] = {{400, ST_INVALID}, {403, ST_DENIED}, {404, ST_NOT_FOUND}, {409, ST_EXISTS}, {412, ST_PRECONDITION}};
    const char *message = json_string_value(json_object_get(body, "message"));

    *http_code = code == 503 ? 503 : code == 504 ? 504 : 502;
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (known[i].http == code && message) {
            *http_code = code == 412 ? 409 : (int)code;
            return status_errorf(known[i].code, "%s", message);
        }
    return *http_code == 502 ? status_errorf(ST_INTERNAL, "the trainer failed; the log has it under this request's id")
                             : status_errorf(ST_UNAVAILABLE, "the trainer cannot start a run now, try again");
}

struct status train_answer(long code, const char *body, size_t size, json_t **out, int *http_code)
{
    struct status st = status_ok();
    json_t *object = NULL;
    json_error_t error;

    *out = NULL;
    object = json_loadb(body, size, JSON_REJECT_DUPLICATES, &error);
    if ((code == 200 || code == 202) && json_is_object(object)) {
        *http_code = (int)code;
        *out = object;
        return st;
    }
    st = refusal(code, object, http_code);
    json_decref(object);
    return st;
}

static struct status reply(struct http_call *call, const struct order *o)
{
    json_t *run = NULL;
    int http_code;
    struct status st;

    if (o->result != CURLE_OK) {
        bool late = o->result == CURLE_OPERATION_TIMEDOUT;

        log_warn("trainer_failed", log_s("id", http_request_id(call)), log_s("error", curl_easy_strerror(o->result)));
        http_reply_error(call, late ? 504 : 503,
                         late ? "trainer did not answer in time: ask again with the same run_id"
                              : "trainer cannot be reached, try again",
                         code_name(late ? ST_DEADLINE : ST_UNAVAILABLE));
        return status_ok();
    }
    st = train_answer(o->http_code, o->answer.data ? o->answer.data : "", o->answer.size, &run, &http_code);
    if (!st.code) {
        const char *run_id = json_string_value(json_object_get(run, "run_id"));

        if (run_id && run_id_valid(run_id))
            http_set_header(call, "Location", arena_printf(http_arena(call), "/api/runs/%s", run_id));
        json_reply(call, http_code, run);
        return st;
    }
    if (http_code == 502)
        log_error("trainer_failed", log_s("id", http_request_id(call)), log_i("code", o->http_code));
    http_reply_error(call, http_code, st.msg, code_name(st.code));
    return status_ok();
}

/* ---- the request ---- */

static struct status check(json_t *body, struct arena *a)
{
    Bloginfer__V1__RunConfig config = BLOGINFER__V1__RUN_CONFIG__INIT;
    const json_t *run_id = json_object_get(body, "run_id");
    struct status st;
    json_t *rest;

    if (run_id && (!json_is_string(run_id) || !run_id_valid(json_string_value(run_id))))
        return status_errorf(ST_INVALID, "\"run_id\" has to be 1 to %d characters of a-z, 0-9 and -", RUN_ID_MAX);
    rest = json_copy(body);
    json_object_del(rest, "run_id");
    st = pbjson_decode(&config.base, rest, a);
    json_decref(rest);
    return st;
}

static struct status ask_trainer(struct http_call *call, const char *body)
{
    static atomic_int n_under_way;
    const struct gateway *g = http_service(call);
    const int64_t waited_ms = (clock_now() - http_received(call)) / CLOCK_MS;
    struct order o = {.url = arena_printf(http_arena(call), "%s/train", g->trainer),
                      .body = body,
                      .request_id = http_request_id(call),
                      .timeout_ms = g->deadline_ms > waited_ms ? g->deadline_ms - waited_ms : 1,
                      .answer = BUF_INIT(ANSWER_MAX)};
    struct status st;

    if (atomic_fetch_add(&n_under_way, 1) < AT_ONCE) {
        pthread_join(thread_start("gw-trainer", STACK, order_thread, &o), NULL);
        st = reply(call, &o);
    } else {
        http_reply_error(call, 503, "too many ask for runs at once, try again", code_name(ST_EXHAUSTED));
        st = status_ok();
    }
    atomic_fetch_sub(&n_under_way, 1);
    buf_fini(&o.answer);
    return st;
}

struct status train_post(struct http_call *call)
{
    struct status st = caller_require(call, ROLE_ADMIN);
    json_t *body = NULL;
    char *text;

    if (!st.code)
        st = ask_body(call, &body);
    if (!st.code)
        st = check(body, http_arena(call));
    text = st.code ? NULL : json_dumps(body, JSON_COMPACT);
    if (!st.code)
        st = text ? ask_trainer(call, text) : status_errorf(ST_INVALID, "the body cannot be written as JSON");
    free(text);
    json_decref(body);
    return st;
}
