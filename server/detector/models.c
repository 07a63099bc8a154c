/* models.c - see models.h. Under the lock a reference is taken or a pointer is swapped, no more; a model that was replaced
 * goes with the last picture that holds it. */
#include "models.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FETCH_HINT "; ./bloginfer fetch gets the weights of yolov3-tiny"

struct place {
    char *name;
    bool required; /* named in the settings */
    struct served *served;
    struct status problem;
    struct loader_stamp tried;
};

struct models {
    struct served_config serve; /* this and all are set at birth */
    bool all;

    pthread_mutex_t mu; /* guards all below */
    struct place places[LOADER_MAX_MODELS];
    size_t n;
};

/* ---- names ---- */

static struct place *find_locked(struct models *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (!*name || strcmp(m->places[i].name, name) == 0)
            return &m->places[i];
    return NULL;
}

/* False: no room. */
static bool add_name(struct models *m, const char *name, bool required)
{
    bool ok = true;

    pthread_mutex_lock(&m->mu);
    if (!find_locked(m, name) || !*name) {
        ok = m->n < COUNT_OF(m->places);
        if (ok)
            m->places[m->n++] = (struct place){.name = xstrdup(name),
                                               .required = required,
                                               .problem = status_errorf(ST_UNAVAILABLE, "%s is being loaded", name)};
    }
    pthread_mutex_unlock(&m->mu);
    return ok;
}

static bool add_names(struct models *m, const char *names)
{
    bool ok = true;

    for (const char *p = names; *p && ok;) {
        size_t n = strcspn(p, ",");
        char *name = xstrndup(p, n);
        if (n)
            ok = add_name(m, name, true);
        free(name);
        p += n + (p[n] == ',');
    }
    return ok;
}

void models_find(struct models *m)
{
    char **names = NULL;
    size_t n = m->all ? loader_list(m->serve.path, &names) : 0;

    for (size_t i = 0; i < n; i++) {
        if (!add_name(m, names[i], false))
            log_warn("model_left_out", log_s("model", names[i]), log_i("most_models", LOADER_MAX_MODELS));
        free(names[i]);
    }
    free(names);
}

/* ---- opening ---- */

static void load_all(struct models *m)
{
    for (size_t i = 0; i < m->n; i++) {
        struct served *s = NULL;
        m->places[i].tried = loader_stamp(m->places[i].name, m->serve.path);
        struct status st = served_load(&s, m->places[i].name, &m->serve, NULL);
        if (st.code)
            models_refuse(m, i, st);
        else
            models_replace(m, i, s);
    }
}

struct status models_open(struct models **out, const struct models_config *config)
{
    struct status st = served_engine_check(&config->serve);

    if (st.code)
        return st;
    struct models *m = xcalloc(1, sizeof *m);
    pthread_mutex_init(&m->mu, NULL);
    m->serve = config->serve;
    m->all = strcmp(config->others, "all") == 0;
    add_name(m, config->model, true);
    if (!m->all && !add_names(m, config->others)) {
        models_close(m);
        return status_errorf(ST_INVALID, "at most %d models are served", LOADER_MAX_MODELS);
    }
    models_find(m);
    load_all(m);
    *out = m;
    return status_ok();
}

void models_close(struct models *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n; i++) {
        served_release(m->places[i].served);
        free(m->places[i].name);
    }
    pthread_mutex_destroy(&m->mu);
    free(m);
}

/* ---- what serves ---- */

/* "a, b and c" of those that serve. */
static struct status unknown_locked(const struct models *m, const char *name)
{
    char list[STATUS_MSG_SIZE] = "";
    size_t used = 0;

    for (size_t i = 0; i < m->n; i++)
        if (m->places[i].served && used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", m->places[i].name);
    return status_errorf(ST_NOT_FOUND, "no model \"%.40s\": there is %s", name, used ? list : "none");
}

struct status models_acquire(struct models *m, const char *name, struct served **out)
{
    struct status st = status_ok();

    pthread_mutex_lock(&m->mu);
    const struct place *p = find_locked(m, name ? name : "");
    if (!p)
        st = unknown_locked(m, name);
    else if (!p->served)
        st = status_errorf(ST_PRECONDITION, "the detector has no model: %s%s", p->problem.msg,
                           p->problem.code == ST_NOT_FOUND ? FETCH_HINT : "");
    else
        *out = served_acquire(p->served);
    pthread_mutex_unlock(&m->mu);
    return st;
}

size_t models_count(struct models *m)
{
    pthread_mutex_lock(&m->mu);
    size_t n = m->n;
    pthread_mutex_unlock(&m->mu);
    return n;
}

struct models_entry models_get(struct models *m, size_t i)
{
    pthread_mutex_lock(&m->mu);
    const struct place *p = &m->places[i];
    struct models_entry e = {p->name, p->served ? served_acquire(p->served) : NULL, p->problem, i == 0, p->tried};
    pthread_mutex_unlock(&m->mu);
    return e;
}

struct status models_ready(struct models *m)
{
    struct status st = status_ok();

    pthread_mutex_lock(&m->mu);
    for (size_t i = 0; i < m->n && !st.code; i++)
        if (m->places[i].required && !m->places[i].served)
            st = status_errorf(ST_PRECONDITION, "model %s: %s%s", m->places[i].name, m->places[i].problem.msg,
                               m->places[i].problem.code == ST_NOT_FOUND ? FETCH_HINT : "");
    pthread_mutex_unlock(&m->mu);
    return st;
}

/* ---- replacing ---- */

const struct served_config *models_config(const struct models *m)
{
    return &m->serve;
}

static void show(const struct served *s, double value)
{
    struct metric *m =
        metric_gauge("bloginfer_detector_engine", "The engine that serves a model.", "model,engine,precision,sha256");

    metric_set(m, value, s->model->name, s->kind->name, served_precision(s), s->model->sha256);
}

/* 1 while the newest files serve. */
static void show_current(const char *name, bool current)
{
    metric_set(metric_gauge("bloginfer_detector_model_current",
                            "1: the newest files of the model serve; 0: they do not.", "model"),
               current, name);
}

void models_replace(struct models *m, size_t i, struct served *served)
{
    pthread_mutex_lock(&m->mu);
    struct place *p = &m->places[i];
    struct served *old = p->served;
    p->served = served;
    p->problem = status_ok();
    pthread_mutex_unlock(&m->mu);
    if (old)
        show(old, 0);
    show(served, 1);
    show_current(p->name, true);
    served_release(old);
}

void models_refuse(struct models *m, size_t i, struct status why)
{
    pthread_mutex_lock(&m->mu);
    struct place *p = &m->places[i];
    bool serves = p->served != NULL;
    p->problem = why;
    pthread_mutex_unlock(&m->mu);
    show_current(p->name, false);
    log_error(serves ? "model_not_replaced" : "no_model", log_s("model", p->name), log_s("reason", why.msg));
}
