/* convert.c - see convert.h. */
#include "convert.h"

#include <string.h>

static const struct {
    enum run_state state;
    Bloginfer__V1__RunState message;
} states[] = {
    {RUN_WAITING, BLOGINFER__V1__RUN_STATE__RUN_STATE_WAITING},
    {RUN_TRAINING, BLOGINFER__V1__RUN_STATE__RUN_STATE_TRAINING},
    {RUN_FINISHED, BLOGINFER__V1__RUN_STATE__RUN_STATE_FINISHED},
    {RUN_FAILED, BLOGINFER__V1__RUN_STATE__RUN_STATE_FAILED},
    {RUN_STOPPED, BLOGINFER__V1__RUN_STATE__RUN_STATE_STOPPED},
};

Bloginfer__V1__RunState convert_state(enum run_state s)
{
    for (size_t i = 0; i < COUNT_OF(states); i++)
        if (states[i].state == s)
            return states[i].message;
    return BLOGINFER__V1__RUN_STATE__RUN_STATE_UNSPECIFIED;
}

void convert_config(Bloginfer__V1__RunConfig *out, const struct run_config *c)
{
    bloginfer__v1__run_config__init(out);
    out->task = (char *)c->task;
    out->rounds = c->rounds;
    out->workers = c->workers;
    out->quorum = c->quorum;
    out->global_batch = c->global_batch;
    out->local_epochs = c->local_epochs;
    out->learning_rate = c->learning_rate;
    out->optimizer = (char *)c->optimizer;
    out->seed = c->seed;
    out->exchange_timeout_ms = c->exchange_timeout_ms;
    out->partition = (char *)c->partition;
    out->continue_from_production = c->continue_from_production;
    out->architecture = (char *)c->architecture;
    out->loss = (char *)c->loss;
}

void convert_shape(Bloginfer__V1__ModelShape *out, const struct nn_shape *s)
{
    bloginfer__v1__model_shape__init(out);
    out->vocab = s->vocab;
    out->embed = s->embed;
    out->hidden = s->hidden;
    out->buckets = s->buckets;
    out->classes = s->classes;
    out->max_tokens = s->max_tokens;
}

void convert_objective(Bloginfer__V1__Objective *out, const struct nn_objective *o)
{
    bloginfer__v1__objective__init(out);
    out->token_dropout = o->token_dropout;
    out->embed_dropout = o->embed_dropout;
    out->output_dropout = o->output_dropout;
    out->ngram_dropout = o->ngram_dropout;
    out->label_smoothing = o->label_smoothing;
    out->loss = (char *)nn_loss_name(o->loss);
}

void convert_round(Bloginfer__V1__RoundResult *out, const struct run_round *o)
{
    bloginfer__v1__round_result__init(out);
    out->round = o->round;
    out->train_loss = o->train_loss;
    out->eval_accuracy = o->eval_accuracy;
    out->eval_loss = o->eval_loss;
    out->eval_rows = o->eval_rows;
    out->samples = o->samples;
    out->workers = o->workers;
    out->updates = o->updates;
    out->rejected = o->rejected;
    out->bytes_up = o->bytes_up;
    out->bytes_down = o->bytes_down;
    out->seconds = o->seconds;
}

void convert_progress(Bloginfer__V1__RoundProgress *out, const struct run_view *v)
{
    bloginfer__v1__round_progress__init(out);
    out->round = v->round;
    out->exchange = v->exchange;
    out->exchanges = v->exchanges;
}

static bool convert_rounds(Bloginfer__V1__Run *out, const struct run_view *v, struct arena *arena)
{
    Bloginfer__V1__RoundResult *rounds = arena_zalloc(arena, v->n_rounds, sizeof *rounds);

    out->rounds = arena_zalloc(arena, v->n_rounds, sizeof *out->rounds);
    if (!rounds || !out->rounds)
        return false;
    for (uint32_t i = 0; i < v->n_rounds; i++) {
        convert_round(&rounds[i], &v->rounds[i]);
        out->rounds[i] = &rounds[i];
    }
    out->n_rounds = v->n_rounds;
    return true;
}

static bool convert_workers(Bloginfer__V1__Run *out, const struct run_view *v, struct arena *arena)
{
    Bloginfer__V1__WorkerState *workers = arena_zalloc(arena, v->n_workers, sizeof *workers);

    out->workers = arena_zalloc(arena, v->n_workers, sizeof *out->workers);
    if (!workers || !out->workers)
        return false;
    for (uint32_t i = 0; i < v->n_workers; i++) {
        bloginfer__v1__worker_state__init(&workers[i]);
        workers[i].worker_id = arena_printf(arena, "%s/%u", v->run_id, v->workers[i].shard_index);
        workers[i].shard_index = v->workers[i].shard_index;
        workers[i].connected = v->workers[i].connected;
        workers[i].train_rows = v->workers[i].train_rows;
        workers[i].eval_rows = v->workers[i].eval_rows;
        out->workers[i] = &workers[i];
        if (!workers[i].worker_id)
            return false;
    }
    out->n_workers = v->n_workers;
    return true;
}

/* The texts of a configuration, copied: the view may be gone when the message is sent. */
static bool convert_texts(Bloginfer__V1__RunConfig *out, const struct run_config *c, struct arena *arena)
{
    out->task = arena_strdup(arena, c->task);
    out->optimizer = arena_strdup(arena, c->optimizer);
    out->partition = arena_strdup(arena, c->partition);
    out->architecture = arena_strdup(arena, c->architecture);
    out->loss = arena_strdup(arena, c->loss);
    return out->task && out->optimizer && out->partition && out->architecture && out->loss;
}

struct status convert_run(Bloginfer__V1__Run *out, const struct run_view *v, struct arena *arena)
{
    bloginfer__v1__run__init(out);
    out->config = arena_alloc(arena, sizeof *out->config);
    out->progress = arena_alloc(arena, sizeof *out->progress);
    out->run_id = arena_strdup(arena, v->run_id);
    out->message = arena_strdup(arena, v->message);
    if (!out->config || !out->progress || !out->run_id || !out->message || !convert_rounds(out, v, arena) ||
        !convert_workers(out, v, arena))
        return status_errorf(ST_EXHAUSTED, "run %s is too large for one message", v->run_id);
    convert_config(out->config, &v->config);
    if (!convert_texts(out->config, &v->config, arena))
        return status_errorf(ST_EXHAUSTED, "run %s is too large for one message", v->run_id);
    convert_progress(out->progress, v);
    out->state = convert_state(v->state);
    out->version = v->version;
    out->promoted = v->promoted;
    out->started_ms = v->started_ms;
    out->ended_ms = v->ended_ms;
    return status_ok();
}

static struct status copy_text(char *out, size_t size, const char *name, const char *text)
{
    if (strlen(text) >= size)
        return status_errorf(ST_INVALID, "%s: longer than %zu bytes", name, size - 1);
    memcpy(out, text, strlen(text) + 1);
    return status_ok();
}

struct status convert_config_from(struct run_config *out, const Bloginfer__V1__RunConfig *c)
{
    struct status st;

    memset(out, 0, sizeof *out);
    if (!c)
        return status_ok();
    if ((st = copy_text(out->task, sizeof out->task, "task", c->task)).code ||
        (st = copy_text(out->optimizer, sizeof out->optimizer, "optimizer", c->optimizer)).code ||
        (st = copy_text(out->partition, sizeof out->partition, "partition", c->partition)).code ||
        (st = copy_text(out->architecture, sizeof out->architecture, "architecture", c->architecture)).code ||
        (st = copy_text(out->loss, sizeof out->loss, "loss", c->loss)).code)
        return st;
    out->rounds = c->rounds;
    out->workers = c->workers;
    out->quorum = c->quorum;
    out->global_batch = c->global_batch;
    out->local_epochs = c->local_epochs;
    out->learning_rate = c->learning_rate;
    out->seed = c->seed;
    out->exchange_timeout_ms = c->exchange_timeout_ms;
    out->continue_from_production = c->continue_from_production;
    return status_ok();
}

static void rounds_from(struct run_view *out, const Bloginfer__V1__Run *m)
{
    out->rounds = xcalloc(m->n_rounds, sizeof *out->rounds);
    out->n_rounds = (uint32_t)m->n_rounds;
    for (size_t i = 0; i < m->n_rounds; i++) {
        const Bloginfer__V1__RoundResult *o = m->rounds[i];

        out->rounds[i] = (struct run_round){.round = o->round,
                                            .train_loss = o->train_loss,
                                            .eval_accuracy = o->eval_accuracy,
                                            .eval_loss = o->eval_loss,
                                            .eval_rows = o->eval_rows,
                                            .samples = o->samples,
                                            .workers = o->workers,
                                            .updates = o->updates,
                                            .rejected = o->rejected,
                                            .bytes_up = o->bytes_up,
                                            .bytes_down = o->bytes_down,
                                            .seconds = o->seconds};
    }
}

struct status convert_run_from(struct run_view *out, const Bloginfer__V1__Run *m)
{
    struct status st = run_id_check(m->run_id);

    memset(out, 0, sizeof *out);
    if (st.code || (st = convert_config_from(&out->config, m->config)).code ||
        (st = run_config_complete(&out->config)).code ||
        (st = copy_text(out->message, sizeof out->message, "message", m->message)).code)
        return st;
    memcpy(out->run_id, m->run_id, strlen(m->run_id) + 1);
    for (size_t i = 0; i < COUNT_OF(states); i++)
        if (states[i].message == m->state)
            out->state = states[i].state;
    if (!out->state || m->n_rounds > out->config.rounds)
        return status_errorf(ST_INVALID, "run %s: state %d with %zu rounds", m->run_id, (int)m->state, m->n_rounds);
    out->version = m->version;
    out->promoted = m->promoted;
    out->started_ms = m->started_ms;
    out->ended_ms = m->ended_ms;
    rounds_from(out, m);
    return status_ok();
}
