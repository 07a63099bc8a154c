/* checkpoint.c - see checkpoint.h. The file's metadata holds the message Run, packed and in hexadecimal, beside the few
 * words that only the aggregator needs; its tensors are params, optimizer.m and optimizer.v. */
#include "checkpoint.h"

#include "convert.h"
#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUN_MESSAGE_MAX ((size_t)1 << 20)

static char *pack_run(const struct run_view *v, struct status *st)
{
    struct arena arena;
    Bloginfer__V1__Run m;
    char *hex = NULL;

    arena_init(&arena, RUN_MESSAGE_MAX);
    *st = convert_run(&m, v, &arena);
    if (!st->code) {
        m.n_workers = 0; /* who is connected dies with the process */
        size_t size = bloginfer__v1__run__get_packed_size(&m);
        uint8_t *packed = xmalloc(size);

        bloginfer__v1__run__pack(&m, packed);
        hex = hex_encode(packed, size, xmalloc(2 * size + 1));
        free(packed);
    }
    arena_fini(&arena);
    return hex;
}

static void set_number(struct model *m, const char *key, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRIu64, value);
    model_set(m, key, text);
}

static void add_tensors(struct model *m, const struct checkpoint *c)
{
    uint64_t dims = c->n_params;
    const struct nn_optimizer *o = &c->optimizer;

    model_reserve(m, c->n_params * (1 + (size_t) !!o->m + (size_t) !!o->v));
    model_add(m, "params", &dims, 1, c->params);
    if (o->m)
        model_add(m, "optimizer.m", &dims, 1, o->m);
    if (o->v)
        model_add(m, "optimizer.v", &dims, 1, o->v);
}

struct status checkpoint_save(const char *path, const struct checkpoint *c)
{
    struct status st;
    struct model *m = model_new();
    char *data = NULL, *run = pack_run(&c->view, &st);
    size_t size;

    if (!st.code) {
        model_set(m, "format", "bloginfer.checkpoint.v1");
        model_set(m, "run", run);
        set_number(m, "incarnation", c->incarnation);
        set_number(m, "steps_planned", c->steps_planned);
        set_number(m, "step", c->optimizer.step);
        if (c->params)
            add_tensors(m, c);
        st = model_encode(m, &data, &size);
    }
    if (!st.code)
        st = fs_write_atomic(path, data, size);
    free(data);
    free(run);
    model_free(m);
    return status_prefix(st, "checkpoint of run %s", c->view.run_id);
}

static struct status damaged(const char *what)
{
    return status_errorf(ST_DATA_LOSS, "%s is missing or damaged", what);
}

static struct status get_number(const struct model *m, const char *key, uint64_t *value)
{
    const char *text = model_get(m, key);
    char *end;

    if (!text || !*text || text[0] == '-')
        return damaged(key);
    *value = strtoull(text, &end, 10);
    return *end ? damaged(key) : status_ok();
}

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

static struct status unpack_run(const struct model *m, struct run_view *v)
{
    const char *hex = model_get(m, "run");
    size_t size = hex ? strlen(hex) / 2 : 0;

    if (!size || strlen(hex) % 2 || size > RUN_MESSAGE_MAX)
        return damaged("run");
    uint8_t *packed = xmalloc(size);
    for (size_t i = 0; i < size; i++) {
        int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);

        if (high < 0 || low < 0) {
            free(packed);
            return damaged("run");
        }
        packed[i] = (uint8_t)(high << 4 | low);
    }
    Bloginfer__V1__Run *message = bloginfer__v1__run__unpack(NULL, size, packed);
    struct status st = message ? convert_run_from(v, message) : damaged("run");
    if (message)
        bloginfer__v1__run__free_unpacked(message, NULL);
    free(packed);
    if (st.code)
        st.code = ST_DATA_LOSS;
    return st;
}

static float *copy_tensor(const struct model *m, const char *name, size_t n)
{
    const struct model_tensor *t = model_find(m, name);

    if (!t || t->n != n)
        return NULL;
    float *copy = xaligned(n, sizeof *copy);
    return memcpy(copy, t->data, n * sizeof *copy);
}

static struct status load_tensors(const struct model *m, struct checkpoint *c)
{
    const struct model_tensor *params = model_find(m, "params");
    enum nn_optimizer_kind kind;
    struct status st = nn_optimizer_kind_parse(c->view.config.optimizer, &kind);

    if (st.code || !params)
        return st;
    c->n_params = params->n;
    uint64_t step = c->optimizer.step;
    nn_optimizer_init(&c->optimizer, kind, c->n_params);
    c->optimizer.step = step;
    c->optimizer.clip_norm = c->view.config.local_epochs ? 0 : 1.0;
    const struct {
        const char *name;
        float **at;
    } moments[] = {{"optimizer.m", &c->optimizer.m}, {"optimizer.v", &c->optimizer.v}};
    for (size_t i = 0; i < COUNT_OF(moments); i++) {
        if (!*moments[i].at)
            continue;
        float *copy = copy_tensor(m, moments[i].name, c->n_params);
        if (!copy)
            return damaged(moments[i].name);
        free(*moments[i].at);
        *moments[i].at = copy;
    }
    c->params = copy_tensor(m, "params", c->n_params);
    return status_ok();
}

struct status checkpoint_load(const char *path, struct checkpoint *c)
{
    struct model *m;
    struct status st = model_read(&m, path);

    memset(c, 0, sizeof *c);
    if (st.code)
        return st;
    const char *format = model_get(m, "format");
    if (!format || strcmp(format, "bloginfer.checkpoint.v1") != 0)
        st = damaged("format");
    if (!st.code)
        st = unpack_run(m, &c->view);
    if (!st.code && !(st = get_number(m, "incarnation", &c->incarnation)).code &&
        !(st = get_number(m, "steps_planned", &c->steps_planned)).code)
        st = get_number(m, "step", &c->optimizer.step);
    if (!st.code)
        st = load_tensors(m, c);
    model_free(m);
    if (st.code)
        checkpoint_fini(c);
    return status_prefix(st, "%s", path);
}

void checkpoint_fini(struct checkpoint *c)
{
    run_view_fini(&c->view);
    nn_optimizer_fini(&c->optimizer);
    free(c->params);
    c->params = NULL;
}
