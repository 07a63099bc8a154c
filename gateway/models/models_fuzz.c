/* models_fuzz.c - bodies of PUT /params, If-Match, a trainer's answers and Last-Event-ID: whatever bytes come, they are
 * taken apart or refused. */
#include "models/models.h"

#include "bloginfer/v1/registry.pb-c.h"
#include "json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void params(const char *text, size_t size, const char *task)
{
    params_request req = BLOGINFER__V1__CHANGE_MODEL_PARAMETERS_REQUEST__INIT;
    struct arena arena;
    const char *etag;
    json_t *body;

    if (json_parse(text, size, &body).code)
        return;
    arena_init(&arena, 1 << 20);
    if (!params_parse(body, task, &arena, &req, &etag).code)
        for (size_t i = 0; i < req.n_changes; i++)
            if (!req.changes[i]->task || !req.changes[i]->parameters)
                abort();
    arena_fini(&arena);
    json_decref(body);
}

static void headers(const char *text)
{
    struct arena arena;
    char **etags;
    bool ended;
    size_t n;

    arena_init(&arena, 1 << 16);
    if (!params_if_match(text, &arena, &etags, &n).code)
        for (size_t i = 0; i < n; i++)
            if (!etags[i][0])
                abort();
    event_seen(text, &ended);
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;
    json_t *run = NULL;
    int http_code = 0;

    if (size < 2)
        return 0;
    text = malloc(size);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    params(text, size - 1, data[0] & 1 ? "troll" : NULL);
    headers(text);
    if (!train_answer(data[0] & 2 ? 202 : 409, text, size - 1, &run, &http_code).code != (run != NULL) ||
        http_code < 200)
        abort();
    json_decref(run);
    free(text);
    return 0;
}
