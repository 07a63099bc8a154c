/* publish.c - from a run's last parameters to a version in the registry: the model file, what happened round by round
 * (metrics.jsonl) and a picture of it (curve.svg). */
#include "curve.h"
#include "run_internal.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct classifier *run_production(const struct run *r, uint64_t *version)
{
    const char *dir = registry_dir(r->house->registry);
    struct classifier *c = NULL;
    struct model *m = NULL;
    struct status st = store_get_pointer(dir, r->config.task, STORE_PRODUCTION, version);

    if (!st.code && *version)
        st = store_load(dir, r->config.task, *version, &m, NULL);
    if (m)
        st = classifier_from_model(&c, m);
    if (c && !st.code)
        st = classifier_check_labels(c);
    if (st.code) {
        log_warn("production_not_read", log_s("task", r->config.task), log_s("error", st.msg));
        classifier_free(c);
        c = NULL;
    }
    if (!c)
        *version = 0;
    model_free(m);
    return c;
}

/* The run's last parameters with all that is known of them. */
static struct status describe(const struct run *r, const struct run_view *v, struct classifier **out)
{
    struct classifier *c;
    char created[CLOCK_STAMP_SIZE];
    struct status st = classifier_new(&c, r->config.task, classifier_task_labels(r->config.task), &r->shape);

    if (st.code)
        return st;
    memcpy(c->params, r->current->params, r->n_params * sizeof *c->params);
    snprintf(c->run, sizeof c->run, "%s", r->id);
    snprintf(c->source, sizeof c->source, "%s", r->source);
    snprintf(c->created, sizeof c->created, "%s", clock_stamp(clock_wall(), created));
    c->loss = run_objective(&r->config).loss;
    c->rounds = v->n_rounds;
    for (uint32_t i = 0; i < v->n_rounds; i++) {
        c->samples += v->rounds[i].samples;
        if (v->rounds[i].workers > c->workers)
            c->workers = v->rounds[i].workers;
    }
    const struct run_round *last = &v->rounds[v->n_rounds - 1];
    c->eval_rows = last->eval_rows;
    c->eval_accuracy = last->eval_rows ? last->eval_accuracy : NAN;
    c->eval_loss = last->eval_rows ? last->eval_loss : NAN;
    *out = c;
    return st;
}

/* One JSON object a round, each on its line. */
static char *metrics_lines(const struct run_view *v)
{
    struct buf lines = BUF_INIT(16 << 20);

    for (uint32_t i = 0; i < v->n_rounds; i++) {
        const struct run_round *o = &v->rounds[i];
        json_t *line =
            json_pack("{s:s s:i s:f s:f s:f s:I s:I s:i s:i s:i s:I s:I s:f}", "run", v->run_id, "round", (int)o->round,
                      "train_loss", o->train_loss, "eval_accuracy", o->eval_accuracy, "eval_loss", o->eval_loss,
                      "eval_rows", (json_int_t)o->eval_rows, "samples", (json_int_t)o->samples, "workers",
                      (int)o->workers, "updates", (int)o->updates, "rejected", (int)o->rejected, "bytes_up",
                      (json_int_t)o->bytes_up, "bytes_down", (json_int_t)o->bytes_down, "seconds", o->seconds);
        char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;

        if (text) {
            buf_puts(&lines, text);
            buf_putc(&lines, '\n');
        }
        free(text);
        json_decref(line);
    }
    return buf_take(&lines);
}

static char *draw(const struct run *r, const struct run_view *v)
{
    struct curve_point *points = xcalloc(v->n_rounds, sizeof *points);

    for (uint32_t i = 0; i < v->n_rounds; i++)
        points[i] = (struct curve_point){v->rounds[i].round, v->rounds[i].train_loss, v->rounds[i].eval_loss,
                                         v->rounds[i].eval_accuracy};
    char *title = xasprintf("%s, %u workers, %s", v->run_id, r->config.workers, r->source);
    char *svg = curve_svg(title, points, v->n_rounds);
    free(title);
    free(points);
    return svg;
}

static struct status encode(const struct classifier *c, char **data, size_t *size)
{
    struct model *m = classifier_to_model(c);
    struct status st = model_encode(m, data, size);

    model_free(m);
    return st;
}

struct status run_publish(struct run *r, uint64_t production, double baseline)
{
    struct registry_verdict verdict;
    struct classifier *c = NULL;
    struct run_view v;
    char *model = NULL;
    size_t model_size;

    run_view(r, &v);
    char *metrics = metrics_lines(&v), *svg = draw(r, &v);
    struct status st = describe(r, &v, &c);
    if (!st.code)
        st = encode(c, &model, &model_size);
    if (!st.code) {
        const struct store_file files[] = {{STORE_MODEL_FILE, model, model_size},
                                           {"metrics.jsonl", metrics, strlen(metrics)},
                                           {"curve.svg", svg, strlen(svg)}};

        st = registry_publish(r->house->registry,
                              &(struct registry_candidate){.task = r->config.task,
                                                           .run = r->id,
                                                           .files = files,
                                                           .n_files = COUNT_OF(files),
                                                           .accuracy = c->eval_accuracy,
                                                           .production_accuracy = baseline,
                                                           .production = production},
                              &verdict);
    }
    if (!st.code) {
        pthread_mutex_lock(&r->mu);
        r->version = verdict.version;
        r->promoted = verdict.promoted;
        pthread_mutex_unlock(&r->mu);
    }
    free(model);
    free(metrics);
    free(svg);
    classifier_free(c);
    run_view_fini(&v);
    return st;
}
